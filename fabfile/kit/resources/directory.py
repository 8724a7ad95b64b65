"""A directory with an owner and a mode."""

from dataclasses import dataclass

from ..patchwork import files, recorded
from ..quote import sh, words
from .base import Resource, as_owner, stat_fields


@dataclass(frozen=True)
class Directory(Resource):
    """A directory at *path* that belongs to *owner* and *group* (the owner's own where it is empty), with *mode*.

    With *adopt* false, a folder with something in it that belongs to somebody else is refused.
    """

    path: str
    owner: str = "root"
    group: str = ""
    mode: str = "0755"  # empty: as it is
    adopt: bool = True

    undo = "rmdir {0.path}, once it is empty"

    def probe(self):
        return sh(
            """
            p={}
            if [ -L "$p" ]; then echo 'a symbolic link'
            elif [ -d "$p" ]; then stat -c '%U %G %a' "$p"; [ -z "$(ls -A "$p")" ] || echo not empty
            elif [ -e "$p" ]; then stat -c 'a %F' "$p"
            else echo absent; fi
            """,
            self.path,
        )

    def parse(self, output):
        if output.strip() == "absent":
            return {"owner": None, "group": None, "mode": None}
        if output.startswith("a "):
            return {"foreign": output.strip()}
        head, _, rest = output.partition("\n")
        return {**stat_fields(head), "inside": rest.strip()}

    def desired(self):
        desired = {"owner": self.owner, "group": self.group, "mode": self.mode}
        return {name: value for name, value in desired.items() if value}

    def conflict(self, actual):
        if not self.adopt and actual.get("inside") and actual["owner"] != self.owner:
            return f"this folder is {actual['owner']}'s, and not empty; choose another, or give it to {self.owner} yourself"
        if "foreign" in actual:
            return f"there is something else ({actual['foreign']}) where a directory should be; move it away, then run this again"
        return None

    def apply(self, actual):
        make = recorded(files.directory, words([self.path]), mode=self.mode or None)
        # Only root can make one below a folder of root's, and only there is that safe; chown -h follows no link.
        return sh(
            """
            p={} parent={}
            until [ -d "$parent" ]; do parent=${parent%/*}; parent=${parent:-/}; done
            if [ ! -e "$p" ] && [ "$(stat -c %u "$parent")" = 0 ]; then mkdir -p "$p"; fi
            [ ! -e "$p" ] || chown -h {} "$p"
            {}
            """,
            self.path,
            self.path.rpartition("/")[0] or "/",
            f"{self.owner}:{self.group}",
            as_owner(self.owner, self.path, make),
        )

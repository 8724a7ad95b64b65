"""A directory with an owner and a mode."""

from dataclasses import dataclass

from ..patchwork import files, recorded
from ..quote import script, sh, words
from .base import Resource, as_owner, stat_fields


@dataclass(frozen=True)
class Directory(Resource):
    """A directory with this owner and mode.

    Args:
        path: where it is. Missing parents are created.
        owner: the name of a user.
        group: the name of a group; empty means the owner's own group.
        mode: four octal digits; empty keeps the mode that the directory has.
        adopt: whether to take over a directory that has files in it and another owner.
    """

    path: str
    owner: str = "root"
    group: str = ""
    mode: str = "0755"
    adopt: bool = True

    undo = "rmdir {0.path}, once it is empty"

    def probe(self):
        return script(
            """
            if [ -L "$path" ]; then echo 'a symbolic link'
            elif [ -d "$path" ]; then
                stat -c '%U %G %a' "$path"
                [ -z "$(ls -A "$path")" ] || echo not empty
            elif [ -e "$path" ]; then stat -c 'a %F' "$path"
            else echo absent; fi
            """,
            path=self.path,
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
            return (
                f"the directory is {actual['owner']}'s and not empty; "
                f"choose another one, or change its owner to {self.owner} yourself"
            )
        if "foreign" in actual:
            return (
                f"{actual['foreign']} is in the place of the directory; "
                "move it away and run this again"
            )
        return None

    def apply(self, actual):
        make = recorded(files.directory, words([self.path]), mode=self.mode or None)
        # Only root can create a directory in a directory of root's, and only there is it safe.
        code = script(
            """
            until [ -d "$parent" ]; do parent=${parent%/*}; parent=${parent:-/}; done
            if [ ! -e "$path" ] && [ "$(stat -c %u "$parent")" = 0 ]; then mkdir -p "$path"; fi
            [ ! -e "$path" ] || chown -h "$owner" "$path"
            create
            """,
            path=self.path,
            parent=self.path.rpartition("/")[0] or "/",
            owner=f"{self.owner}:{self.group}",
            create=as_owner(self.owner, self.path, make),
        )
        return sh("(\n{})", code)  # other resources use this code as a part of theirs

"""A directory with an owner and a mode."""

from dataclasses import dataclass

from ..patchwork import files, recorded
from ..quote import Shell, program, script, sh, words
from .base import Resource, stat_fields
from .home import as_owner


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
        # Root may look at what is there, but not touch it.
        no_user = self._look(Shell(":"))
        return as_owner(self.owner, self._look(self._replaceable()), no_user=no_user)

    def _look(self, find_replaceable):
        return script(
            """
            if [ -L "$path" ]; then echo 'a symbolic link'
            elif [ -d "$path" ]; then
                stat -c '%U %G %a' "$path"
                [ -r "$path" ] &&
                    [ -z "$(find "$path" -mindepth 1 -maxdepth 1 -print -quit)" ] ||
                    echo 'not empty'
                find_replaceable
            elif [ -e "$path" ]; then stat -c 'a %F' "$path"
            else echo absent; fi
            """,
            path=self.path,
            find_replaceable=find_replaceable,
        )

    def parse(self, output):
        if output.strip() == "absent":
            return {"owner": None, "group": None, "mode": None}
        if output.startswith("a "):
            return {"foreign": output.strip()}
        head, *rest = output.splitlines()
        inside = "not empty" if "not empty" in rest else ""
        return {**stat_fields(head), "inside": inside, "replaceable": "replaceable" in rest}

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
        if actual.get("replaceable") and actual["owner"] != self.owner:
            # Root would follow a link that the user puts there meanwhile.
            return (
                f"the directory is {actual['owner']}'s, in a place of {self.owner}'s; "
                f"run: chown {self.owner}: {self.path}"
            )
        return None

    def apply(self, actual):
        make = recorded(files.directory, words([self.path]), mode=self.mode or None)
        own = sh("\n[ -z {} ] || chgrp {} {}", self.group, self.group, self.path)
        code = program(
            "make-directory",
            directory=self.path,
            parent=self.path.rpartition("/")[0] or "/",
            owner=f"{self.owner}:{self.group}",
            mode=self.mode,
            replaceable=as_owner(self.owner, self._replaceable()),
            create=as_owner(self.owner, make + own),
        )
        return sh("(\n{})", code)  # other resources use this code as a part of theirs

    def _replaceable(self):
        """Return shell code that says whether the owner could replace a parent of the path."""
        if self.owner == "root":
            return Shell(":")
        return script(
            """
            folder=$parent
            until [ -d "$folder" ]; do folder=${folder%/*}; folder=${folder:-/}; done
            folder=$(cd -P "$folder" 2>/dev/null && pwd -P) || folder=/
            while :; do
                if [ -w "$folder" ] || [ "$(stat -c %u "$folder")" = "$(id -u)" ]; then
                    echo replaceable
                    break
                fi
                [ "$folder" != / ] || break
                folder=${folder%/*}
                folder=${folder:-/}
            done
            """,
            parent=self.path.rpartition("/")[0] or "/",
        )

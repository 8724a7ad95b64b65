"""A directory with an owner and a mode."""

from dataclasses import dataclass

from ..patchwork import files, recorded
from ..quote import sh, words
from .base import Resource


@dataclass(frozen=True)
class Directory(Resource):
    """A directory at *path* that belongs to *owner* and *group* (the owner's own where it is empty), with *mode*."""

    path: str
    owner: str = "root"
    group: str = ""
    mode: str = "0755"

    def probe(self):
        return sh(
            """
            p={}
            if [ -L "$p" ]; then echo 'a symbolic link'
            elif [ -d "$p" ]; then stat -c '%U %G %a' "$p"
            elif [ -e "$p" ]; then stat -c 'a %F' "$p"
            else echo absent; fi
            """,
            self.path,
        )

    def parse(self, output):
        fields = output.split()
        if output.strip() == "absent":
            return {"owner": None, "group": None, "mode": None}
        if len(fields) != 3 or not fields[2].isdigit():
            return {"foreign": output.strip()}
        return {"owner": fields[0], "group": fields[1], "mode": fields[2].zfill(4)}

    def want(self):
        return {"owner": self.owner, "mode": self.mode} | ({"group": self.group} if self.group else {})

    def refuse(self, seen):
        what = seen.get("foreign")
        return (
            f"there is something else ({what}) where a directory should be; move it away, then run this again" if what else None
        )

    def apply(self, seen):
        group = words([self.group]) if self.group else sh('"$(id -gn {})"', self.owner)
        return recorded(files.directory, words([self.path]), user=words([self.owner]), group=group, mode=self.mode)

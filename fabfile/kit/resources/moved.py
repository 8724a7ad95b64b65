"""A file that is moved out of the way of ours."""

from dataclasses import dataclass

from ..quote import sh
from .base import Resource, as_owner


@dataclass(frozen=True)
class MovedAside(Resource):
    """What *owner* has at *path* is at *to* instead; where something is there already, that is refused."""

    path: str
    to: str
    owner: str = "root"

    undo = "mv {0.to} {0.path}"

    def probe(self):
        return sh('for p in {} {}; do [ -e "$p" ] || [ -L "$p" ] && echo there || echo absent; done', self.path, self.to)

    def parse(self, output):
        state, other = output.split()
        return {"state": state, "other": other}

    def want(self):
        return {"state": "absent"}

    def refuse(self, seen):
        if seen["state"] == seen["other"] == "there":
            return f"it should be moved to {self.to}, and something is there already; move one of them away"
        return None

    def apply(self, seen):
        return as_owner(self.owner, self.path, sh("mv -T {} {}", self.path, self.to))

"""A file of ours that is not wanted any more."""

from dataclasses import dataclass

from ..quote import sh, words
from .base import Resource
from .file import MARK


@dataclass(frozen=True)
class Withdrawn(Resource):
    """No file of ours is at *path*, and none of *links* leads to it; what is there without `MARK` is not ours, and stays."""

    path: str
    links: tuple[str, ...] = ()

    undo = "the task that wrote {0.path} writes it again"

    def probe(self):
        return sh(
            """
            p={}
            if [ -f "$p" ] && [ ! -L "$p" ] && grep -qF {} "$p"; then echo there
            elif [ -e "$p" ]; then echo 'not ours'
            else for link in {}; do [ "$(readlink -m "$link")" != "$p" ] || echo there; done; fi
            """,
            self.path,
            MARK,
            words(self.links or [""]),
        )

    def parse(self, output):
        return {"state": "there" if "there" in output.split() else "absent"}

    def want(self):
        return {"state": "absent"}

    def apply(self, seen):
        return sh(
            """
            for link in {}; do [ "$(readlink -m "$link")" != {} ] || rm -f "$link"; done
            rm -f {}
            """,
            words(self.links or [""]),
            self.path,
            self.path,
        )

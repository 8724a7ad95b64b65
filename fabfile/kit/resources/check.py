"""A question whose answer decides whether to begin at all."""

from collections.abc import Callable
from dataclasses import dataclass

from .base import Resource


@dataclass(frozen=True)
class Check(Resource):
    """Something that must hold before the first change; nothing here can mend it.

    *judge* takes what the shell text *question* prints and returns (problem, warning), each a text with what to do, or "".
    """

    name: str
    question: str
    judge: Callable[[str], tuple[str, str]]

    only_asks = True

    def probe(self):
        return self.question

    def parse(self, output):
        problem, warning = self.judge(output)
        return {"problem": problem, "warning": warning}

    def want(self):
        return {"problem": ""}

    def refuse(self, seen):
        return seen["problem"] or None

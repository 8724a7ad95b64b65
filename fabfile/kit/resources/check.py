"""A question whose answer decides whether to begin at all."""

import time
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


def clock(output):
    """Judge the clock of the host, which ``date +%s`` tells, by ours."""
    ahead = int(output) - time.time()
    if abs(ahead) < 300:
        return "", ""
    way = "ahead of" if ahead > 0 else "behind"
    return (
        f"its clock is {abs(ahead) / 60:.0f} minutes {way} yours; certificates and apt would fail: timedatectl set-ntp true",
        "",
    )

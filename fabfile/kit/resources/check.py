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

    read_only = True

    def probe(self):
        return self.question

    def parse(self, output):
        problem, warning = self.judge(output)
        return {"problem": problem, "warning": warning}

    def desired(self):
        return {"problem": ""}

    def conflict(self, actual):
        return actual["problem"] or None


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

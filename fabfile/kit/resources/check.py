"""A condition that must hold before the first change."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from .base import Resource


@dataclass(frozen=True)
class Verdict:
    """What a judge says about a host's answer; made by `ok`, `warn` and `fail`.

    Args:
        problem: what is wrong and what would be right; the run ends before its first change.
        warning: what the operator should know; the run continues.
    """

    problem: str = ""
    warning: str = ""


def ok() -> Verdict:
    """Return the verdict that the condition holds."""
    return Verdict()


def warn(message: str) -> Verdict:
    """Return the verdict that the condition holds, with a warning."""
    return Verdict(warning=message)


def fail(message: str) -> Verdict:
    """Return the verdict that the condition does not hold."""
    return Verdict(problem=message)


@dataclass(frozen=True)
class Check(Resource):
    """A condition that holds; a check never changes anything.

    For example::

        def memory(output):
            free = int(output)
            return ok() if free > 512 else fail(f"{free} MiB are free; 512 MiB are needed")

        yield Check("memory", "free -m | awk '/^Mem/ { print $7 }'", memory)

    Args:
        name: what is checked, for the report.
        question: read-only shell text.
        judge: takes what *question* prints and returns a `Verdict`.
    """

    name: str
    question: str
    judge: Callable[[str], Verdict]

    read_only = True

    def probe(self):
        return self.question

    def parse(self, output):
        verdict = self.judge(output)
        return {"problem": verdict.problem, "warning": verdict.warning}

    def desired(self):
        return {"problem": ""}

    def conflict(self, actual):
        return actual["problem"] or None


def clock(output: str) -> Verdict:
    """Judge the host's clock by the operator's.

    Args:
        output: what ``date +%s`` printed on the host.
    """
    ahead = int(output) - time.time()
    if abs(ahead) < 300:
        return ok()
    direction = "ahead of" if ahead > 0 else "behind"
    return fail(
        f"the server's clock is {abs(ahead) / 60:.0f} minutes {direction} yours, so certificates"
        " and apt would fail; run timedatectl set-ntp true on the server"
    )

"""The plan of one run: the desired state in order, the actual state, and what would change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from .errors import PlanFailed
from .ledger import Ledger, Notes
from .report import FAILED, OK, UNKNOWN, WARNING, WOULD, Report
from .resources.base import CANNOT_KNOW, Handler, Resource
from .rollback import VerifyLogin
from .shell import Answer, Shell
from .terminal import indented

GO_ON = "Fix this and run the same command again; it continues from here."


@dataclass(frozen=True)
class Section:
    """The resources that follow belong to *task*, or without one to the task before."""

    task: str = ""


@dataclass(frozen=True)
class Flush:
    """Runs the pending handlers now instead of at the end."""


@dataclass
class Item:
    """A resource of a plan, the task that yielded it, and its state.

    Args:
        actual: its actual state; None while that is unknown.
        applied: whether this run has changed it.
    """

    task: str
    resource: Resource
    actual: Any = None
    applied: bool = False

    @property
    def known(self) -> bool:
        """Whether its actual state is known."""
        return self.actual is not None

    @property
    def drifted(self) -> bool:
        """Whether its actual state is known and not the desired one."""
        return self.actual is not None and bool(self.resource.changed(self.actual))


@dataclass
class Segment:
    """Items that are applied in order, and what is done after them."""

    items: list[Item] = field(default_factory=list)
    action: Flush | VerifyLogin | None = None
    task: str = ""  # of the action


class Plan:
    """The resources of one run on one host, in the order in which a task yields them.

    Args:
        body: what a setup task yields: resources, `Section`, `Flush` and `VerifyLogin`.
    """

    def __init__(self, body: Iterable):
        self.segments = [Segment()]
        tasks = [""]
        for part in body:
            if isinstance(part, Section):
                tasks.append(part.task) if part.task else tasks.pop()
            elif isinstance(part, (Flush, VerifyLogin)):
                self.segments[-1].action, self.segments[-1].task = part, tasks[-1]
                self.segments.append(Segment())
            else:
                self._add(Item(tasks[-1], part))

    def _add(self, new: Item) -> None:
        """Append an item, unless an earlier one can stand for both."""
        for item in self.items:
            if merged := item.resource.merge(new.resource):
                item.resource = merged
                return
        self.segments[-1].items.append(new)

    @property
    def items(self) -> Iterator[Item]:
        """All items in order."""
        for segment in self.segments:
            yield from segment.items

    def after(self, item: Item) -> list[Item]:
        """Return the items that come after *item*."""
        items = list(self.items)
        return items[items.index(item) + 1 :]

    @property
    def read_only(self) -> bool:
        """Whether nothing in it can change a host."""
        return all(item.resource.read_only for item in self.items)

    @property
    def is_settled(self) -> bool:
        """Whether every item is known and as desired."""
        return all(item.known and not item.drifted for item in self.items)

    @property
    def handlers(self) -> dict[str, Handler]:
        """The handlers that its resources notify, by name."""
        notified = [item.resource.notify for item in self.items]
        return {handler.name: handler for handler in notified if handler}


def observe(
    shell: Shell, items: Iterable[Item], report: Report, ledger: Ledger | None = None
) -> Notes:
    """Probe the actual state of *items* in one batch.

    Args:
        ledger: its notes are read in the same batch.

    Returns:
        These notes; none without a ledger.

    Raises:
        PlanFailed: a probe failed, or its answer is invalid.
    """
    items = list(items)
    steps = [ledger.list()] if ledger else []
    answers = shell.batch([*steps, *(item.resource.probe() for item in items)])
    notes = ledger.parse(answers.pop(0).out) if ledger else Notes()
    for item, answer in zip(items, answers, strict=True):
        if answer.status == CANNOT_KNOW:
            item.actual = None
        elif answer.ok:
            item.actual = parsed(item, answer, report)
        else:
            fail(report, item, f"probe failed: {said(answer)}")
    return notes


def parsed(item: Item, answer: Answer, report: Report) -> dict:
    """Return the actual state in *answer*; an invalid answer ends the run."""
    try:
        return item.resource.parse(answer.out)
    except Exception as error:
        # Do not show the answer itself: it may be a file with a secret.
        fail(report, item, f"probe failed: its answer makes no sense ({type(error).__name__})")
        raise


def check_conflicts(items: Iterable[Item], report: Report, so_far: str) -> None:
    """Report every conflict; raises PlanFailed if there is one."""
    found = False
    for item in items:
        if item.actual is not None and (why := item.resource.conflict(item.actual)):
            report.add(item.task, item.resource.label, FAILED, detail=why)
            found = True
    if found:
        raise PlanFailed(f"{so_far} {GO_ON}")


def preview(plan: Plan, report: Report, notes: Notes, pending: dict[str, Handler]) -> None:
    """Report what a run would change, and each handler that it would run.

    Args:
        pending: the handlers that an earlier run left.
    """
    pending = dict(pending)
    for name in notes.armed:
        why = "not verified by a new login; the server restores what was there before"
        report.line("", "rolls back", f"{name}: {why}")
    for item in plan.items:
        label = item.resource.label
        if item.actual is None:
            why = "unknown until earlier changes are applied"
            report.add(item.task, label, UNKNOWN, detail=why)
        elif item.drifted:
            note_handlers(item, pending)
            report.add(item.task, label, WOULD, diff=item.resource.diff(item.actual))
        elif getattr(item.resource.rollback, "name", None) in notes.armed:
            note_handlers(item, pending)
            report.add(item.task, label, WOULD, detail="rolled back first, then applied again")
        else:
            report_ok(item, report)
    for name in pending:
        report.add("handlers", name, WOULD)


def note_handlers(item: Item, pending: dict[str, Handler]) -> None:
    """Add the handler of *item* to *pending*, and remove those that it supersedes."""
    for name in item.resource.supersedes(item.actual):
        pending.pop(name, None)
    if handler := item.resource.notify:
        pending[handler.name] = handler


def report_ok(item: Item, report: Report) -> None:
    """Report an item that needs no change."""
    warning = (item.actual or {}).get("warning", "")
    report.add(item.task, item.resource.label, WARNING if warning else OK, detail=warning)


def fail(report: Report, item: Item, why: str, seconds: float = 0.0) -> None:
    """Report that *item* failed, and end the run by PlanFailed."""
    report.add(item.task, item.resource.label, FAILED, seconds, detail=why)
    raise PlanFailed(GO_ON)


def said(answer: Answer) -> str:
    """Return the last lines that a failed step printed."""
    text = answer.err.strip() or answer.out.strip() or f"exit status {answer.status}"
    lines = text.splitlines()[-20:]
    return lines[0] if len(lines) == 1 else "\n" + indented("\n".join(lines))

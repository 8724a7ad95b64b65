"""Converge a host: apply a plan, run its handlers, verify the login, and look at it all again."""

import time
from contextlib import suppress

from .errors import ConnectionLost, PlanFailed, RemoteError
from .ledger import Ledger, Notes
from .plan import (
    GO_ON,
    Flush,
    Item,
    Plan,
    Segment,
    check_conflicts,
    fail,
    note_handlers,
    observe,
    parsed,
    preview,
    report_ok,
    said,
)
from .report import CHANGED, FAILED, OK, WARNING, Progress, Report
from .resources.base import Handler
from .rollback import Rollback, VerifyLogin
from .shell import Answer, Shell
from .terminal import indented

# What a run reports as done is on disk. One sync per stretch, as one per file would be slow.
SYNC = "sync -f / /etc /home /usr /var 2>/dev/null || :\n"


def converge(
    shell: Shell,
    plan: Plan,
    report: Report,
    dry: bool = False,
    ledger: Ledger | None = None,
) -> None:
    """Make every resource of *plan* true on the host of *shell*.

    Args:
        report: gets what happened to each resource.
        dry: only report what would change.
        ledger: the notes of the host.

    Raises:
        PlanFailed: a step failed, or a resource has a conflict.
        ConnectionLost: the connection was lost.
    """
    Run(shell, plan, report, ledger or Ledger()).converge(dry)


class Run:
    """One run of a plan on one host."""

    def __init__(self, shell: Shell, plan: Plan, report: Report, ledger: Ledger):
        self.shell, self.plan, self.report, self.ledger = shell, plan, report, ledger
        self.pending: dict[str, Handler] = {}
        self.inherited: set[str] = set()  # names of handlers that only an earlier run notified
        self.armed: dict[str, Rollback] = {}  # of this run, not verified yet, by folder
        self.notes = Notes()
        self.locked = False

    def converge(self, dry: bool) -> None:
        """Observe the host and, unless *dry*, apply the differences."""
        self.observe_all()
        check_conflicts(self.plan.items, self.report, "Nothing was changed.")
        if dry:
            preview(self.plan, self.report, self.notes, self.pending)
            return
        if self.plan.is_settled and not self.pending and not self.left_armed:
            for item in self.plan.items:
                report_ok(item, self.report)
            return
        try:
            self.lock()
            for segment in self.plan.segments:
                self.apply(segment)
            self.verify_login(VerifyLogin())
            self.finish()
        except (PlanFailed, ConnectionLost, KeyboardInterrupt) as error:
            self.report_skipped()
            self.roll_back(error)
            # After Ctrl-C the shell is busy with a step, and its end releases the lock.
            self.locked = self.locked and not isinstance(error, KeyboardInterrupt)
            raise
        finally:
            self.unlock()

    # -- before the first change

    def observe_all(self) -> None:
        """Probe every resource, and read the notes of earlier runs."""
        self.notes = observe(self.shell, self.plan.items, self.report, self.ledger)
        own = self.plan.handlers
        # A plan that only reads runs nothing; a handler of its own is as the settings want it now.
        left = {} if self.plan.read_only else self.notes.pending
        self.pending = {name: own.get(name, handler) for name, handler in left.items()}
        self.inherited = self.pending.keys() - own.keys()
        for what in self.notes.rolled_back:
            self.report.notices.append(
                f"The server has rolled back what no new login had verified: {what}"
            )

    @property
    def left_armed(self) -> bool:
        """Whether an earlier run left a rollback armed."""
        return bool(self.notes.armed or self.notes.damaged) and not self.plan.read_only

    def lock(self) -> None:
        """Wait until no other run changes this host; after a wait, observe everything again."""

        def waiting(line):
            self.report.line("", "waiting", line)

        [answer] = self.shell.batch(["exit $waited"], first=self.ledger.lock(), on_line=waiting)
        self.locked = True
        if answer.status == 2:
            minutes = self.ledger.patience // 60
            raise PlanFailed(
                f"Another run has been changing this host for {minutes} minutes. {GO_ON}"
            )
        if answer.status == 1 or self.left_armed:
            self.observe_all()
        if self.left_armed:
            [answer] = self.shell.batch([self.ledger.roll_back()])
            self.report_rolled_back(answer, ": changed by an earlier run, and never verified")
            self.observe_all()
        check_conflicts(self.plan.items, self.report, "Nothing was changed.")

    def unlock(self) -> None:
        """Release the lock, so that a later task on the same connection does not hold it."""
        if self.locked and not self.shell.closed:
            with suppress(ConnectionLost):
                self.shell.batch([], first=self.ledger.unlock())

    # -- the changes

    def apply(self, segment: Segment) -> None:
        """Apply what drifted in *segment*, then do what follows it."""
        todo = list(segment.items)
        while todo:
            stretch = self.stretch(todo)
            self.apply_stretch(stretch)
            del todo[: len(stretch)]
            later = self.plan.after(stretch[-1])
            if any(item.applied for item in stretch) and must_observe(stretch[-1], later):
                self.observe_again(later)
        if isinstance(segment.action, Flush):
            self.run_pending(list(self.pending.values()))
            later = self.plan.after(segment.items[-1]) if segment.items else list(self.plan.items)
            if later and not later[0].known:
                self.observe_again(later)
        elif segment.action:
            self.verify_login(segment.action, segment.task)

    def stretch(self, todo: list[Item]) -> list[Item]:
        """Return the first of *todo* that go in one batch: up to a change with side effects."""
        stretch = []
        for item in todo:
            if not item.known:
                break
            stretch.append(item)
            if item.drifted and item.resource.needs_reprobe:
                break
        if not stretch:
            fail(self.report, todo[0], f"still unknown: {todo[0].resource.unknown}")
        return stretch

    def observe_again(self, items: list[Item]) -> None:
        """Probe again what comes after a change with side effects."""
        observe(self.shell, items, self.report)
        check_conflicts(items, self.report, "What was changed so far is in place.")

    def apply_stretch(self, stretch: list[Item]) -> None:
        """Apply what drifted in *stretch* in one batch; print each line as it happens."""
        drifted = [item for item in stretch if item.drifted]
        queue, progress, started = list(stretch), None, time.monotonic()

        def advance():
            """Report what needs no change before the next drifted item, and show that one."""
            nonlocal progress
            while queue and not queue[0].drifted:
                report_ok(queue.pop(0), self.report)
            slow = queue and queue[0].resource.slow
            progress = Progress(self.report, queue[0].task, queue[0].resource) if slow else None

        def ended(_, answer):
            nonlocal started
            if answer.status is None:
                return
            seconds, started = time.monotonic() - started, time.monotonic()
            self.report_applied(queue.pop(0), answer, seconds)
            advance()

        advance()
        if not drifted:
            return
        steps = [self.step(item) for item in drifted]
        try:
            self.shell.batch(
                steps,
                stop=True,
                on_answer=ended,
                on_line=lambda line: progress and progress(line),
                last=SYNC,
            )
        except (ConnectionLost, KeyboardInterrupt):
            if queue:
                self.report_interrupted(queue[0], time.monotonic() - started)
            raise

    def step(self, item: Item) -> str:
        """Return the shell text that applies *item*, after marking its handlers as pending."""
        resource, parts = item.resource, []
        note_handlers(item, self.pending)
        if resource.notify:
            self.inherited.discard(resource.notify.name)
            parts.append(str(self.ledger.mark_pending(resource.notify)))
        if rollback := resource.rollback_for(item.actual):
            self.armed[rollback.folder] = rollback
            parts.append(self.ledger.arm(rollback))
        parts += ["set -e", resource.apply(item.actual)]
        parts += [self.ledger.forget(name) for name in resource.supersedes(item.actual)]
        return "\n".join(parts)

    def report_applied(self, item: Item, answer: Answer, seconds: float) -> None:
        """Report a change, or fail with what it printed."""
        resource = item.resource
        if not answer.ok:
            fail(self.report, item, f"apply failed: {said(answer)}", seconds)
        shortfall = resource.shortfall(answer.out)
        item.applied = not shortfall
        diff = "" if shortfall else resource.diff(item.actual)
        status = WARNING if shortfall else CHANGED
        self.report.add(item.task, resource.label, status, seconds, diff, shortfall)
        if notice := resource.notice(answer.out):
            self.report.notices.append(notice)

    def report_interrupted(self, item: Item, seconds: float) -> None:
        """Report the change during which the connection ended."""
        goes_on = "; the host finishes it by itself" if item.resource.slow else ""
        why = f"apply was interrupted{goes_on}"
        self.report.add(item.task, item.resource.label, FAILED, seconds, detail=why)

    # -- handlers and the final look

    def run_pending(self, handlers: list[Handler]) -> None:
        """Run *handlers*."""
        if handlers:
            self.run_and_verify(handlers, [], SYNC)

    def run_and_verify(self, handlers: list[Handler], items: list[Item], last: str) -> None:
        """Run *handlers*, probe the changed *items*, and run *last*, all in one batch."""
        failed, started = [], time.monotonic()

        def ended(number, answer):
            nonlocal started
            if number < len(handlers):
                seconds, started = time.monotonic() - started, time.monotonic()
                if not self.report_handler(handlers[number], answer, seconds):
                    failed.append(handlers[number])

        steps = [self.ledger.run(handler) for handler in handlers]
        steps += [item.resource.probe() for item in items]
        answers = self.shell.batch(steps, on_answer=ended, last=last)
        if failed:
            raise PlanFailed(
                f"The change is in place, but the running service has not picked it up. {GO_ON}"
            )
        wrong = [
            item
            for item, answer in zip(items, answers[len(handlers) :], strict=True)
            if not self.is_right(item, answer)
        ]
        if wrong:
            raise PlanFailed(GO_ON)

    def report_handler(self, handler: Handler, answer: Answer, seconds: float) -> bool:
        """Report the result of *handler*; return whether the run may continue."""
        self.pending.pop(handler.name, None)
        if answer.ok:
            self.report.add("handlers", handler.name, CHANGED, seconds)
            return True
        if handler.name in self.inherited:
            why = f"pending from an earlier run, and it fails: {said(answer)}"
            self.report.add("handlers", handler.name, WARNING, seconds, detail=why)
            return True
        self.report.add("handlers", handler.name, FAILED, seconds, detail=said(answer))
        return False

    def is_right(self, item: Item, answer: Answer) -> bool:
        """Return whether *item* is as desired after its change, and report it if not."""
        actual = parsed(item, answer, self.report) if answer.ok else None
        if actual is not None and not item.resource.changed(actual):
            return True
        what = said(answer) if actual is None else item.resource.diff(actual)
        why = f"is still wrong after the change\n{indented(what)}"
        self.report.add(item.task, item.resource.label, FAILED, detail=why)
        return False

    def finish(self) -> None:
        """Run the handlers that are still pending, and probe all changed items again."""
        applied = [item for item in self.plan.items if item.applied]
        if self.pending or applied:
            last = SYNC + self.ledger.unlock()
            self.locked = False
            self.run_and_verify(list(self.pending.values()), applied, last)

    # -- what could lock everyone out

    def verify_login(self, login: VerifyLogin, task: str = "") -> None:
        """If a rollback is armed, verify a new login; if that fails, roll back and end the run."""
        if not self.armed:
            return
        own = {
            item.resource.notify
            for item in self.plan.items
            if item.applied and item.resource.rollback_for(item.actual)
        }
        self.run_pending([handler for handler in self.pending.values() if handler in own])
        started = time.monotonic()
        names = ", ".join(dict.fromkeys(rollback.name for rollback in self.armed.values()))
        time.sleep(0.2)  # a server that was told to reload may close its sockets for a moment
        try:
            user, why = login.verify(self.shell)
        except RemoteError as error:
            seconds = time.monotonic() - started
            self.report.add(task, login.label, FAILED, seconds, detail=str(error))
            raise PlanFailed(
                f"No new login becomes root after this change of {names}. {GO_ON}"
            ) from None
        [answer] = self.shell.batch([self.ledger.disarm()])
        self.armed.clear()
        if not answer.ok:
            raise PlanFailed(
                f"The server has rolled back {names} before a new login was verified. {GO_ON}"
            )
        text = f"Login {user}" + (f": {user} can log in; not verified {why}" if why else "")
        self.report.line(task, WARNING if why else OK, text, time.monotonic() - started)

    def roll_back(self, error: BaseException) -> None:
        """Roll back at once; if that is impossible, the server does it by itself."""
        if not self.armed:
            return
        try:
            if not isinstance(error, PlanFailed):
                raise ConnectionLost
            # What these would reload is as it was before.
            handlers = [
                item.resource.notify
                for item in self.plan.items
                if item.drifted and item.resource.rollback_for(item.actual)
            ]
            forget = [self.ledger.forget(handler.name) for handler in handlers if handler]
            answer, *_ = self.shell.batch([self.ledger.roll_back(), *forget])
            self.report_rolled_back(answer)
        except ConnectionLost:
            seconds = max(rollback.seconds for rollback in self.armed.values())
            names = ", ".join(dict.fromkeys(rollback.name for rollback in self.armed.values()))
            text = f"{names}: the server does it by itself within {seconds} seconds"
            self.report.line("", "rolling back", text)

    def report_rolled_back(self, answer: Answer, why: str = "") -> None:
        """Report what the server has restored, as it compared it itself, and *why*."""
        statuses = {
            "restored": ("rolled back", why),
            "failed": ("not restored", why),
            "damaged": ("discarded", ": saved by a run that was interrupted before its change"),
        }
        found = [line.split(" ", 1) for line in answer.out.splitlines() if " " in line]
        for kind, name in found:
            status, detail = statuses[kind]
            self.report.line("", status, f"{name}{detail}")
        if not answer.ok:
            self.report.line("", "not restored", said(answer))
        elif not found:
            self.report.line("", "rolled back", "nothing: the server has done it by itself")

    # -- what was not reached

    def report_skipped(self) -> None:
        """Report what was not reached as skipped."""
        reached = {(entry.task, entry.resource) for entry in self.report.entries}
        skipped: dict[str, list[str]] = {}
        for item in self.plan.items:
            if (item.task, item.resource.label) not in reached:
                skipped.setdefault(item.task, []).append(item.resource.label)
        for task, labels in skipped.items():
            self.report.line(task, "skipped", ", ".join(labels))


def must_observe(last: Item, later: list[Item]) -> bool:
    """Return whether the items *later* must be probed again after a change up to *last*."""
    if not later:
        return False
    return (last.applied and last.resource.needs_reprobe) or not later[0].known

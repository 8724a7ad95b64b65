"""Observe, compare, apply, verify: the one way in which a task's resources become true."""

import re
import time
from dataclasses import dataclass

from .errors import ConnectionLost, RemoteError
from .quote import sh
from .report import CHANGED, FAILED, OK, UNKNOWN, WARNING, WOULD, Progress, indented
from .resources.base import CANNOT_KNOW, STATE, Handler, Resource
from .rollback import ARMED, DISARM, LEFT, NOW, VerifyLogin
from .shell import Answer

GO_ON = "Mend that and run the same command again: it takes up where this one ended."


@dataclass(frozen=True)
class Section:
    """Says that the resources that follow belong to this task, or, without one, to the task before again."""

    task: str = ""


@dataclass(frozen=True)
class Flush:
    """Runs the handlers that are owed so far, instead of at the end."""


PARTS = (Flush, VerifyLogin)  # parts of a plan that are no resources


@dataclass
class Item:
    """A resource, the task that yielded it, and what was seen of it last (None: cannot be known yet)."""

    task: str
    resource: Resource
    actual: dict | None = None
    done: bool = False

    @property
    def drifted(self):
        """Whether it is known and not as wanted."""
        return self.actual is not None and bool(self.resource.changed(self.actual))


class PlanFailed(RemoteError):
    """The run ends here: a step failed, and the report says which."""


class Plan:
    """The resources of one run on one host, in the order in which they were yielded."""

    def __init__(self, shell, body, report):
        self.shell = shell
        self.report = report
        self.items = []
        self.owed = {}
        self.inherited = set()  # the names of the handlers that an earlier run left
        self.left = []  # the names of the guards that an earlier run left armed
        self.armed = {}  # by name: the guards of this run that no login has proved yet
        tasks = [""]
        for part in body:
            if not isinstance(part, Section):
                self.add(Item(tasks[-1], part))
            elif part.task:
                tasks.append(part.task)
            else:
                tasks.pop()

    def add(self, new):
        """Append an item, unless an earlier one can stand for it too."""
        for item in self.items:
            if not isinstance(item.resource, PARTS) and (
                merge := item.resource.merge(new.resource)
            ):
                item.resource = merge
                return
        self.items.append(new)

    def converge(self, dry=False):
        """Make every resource true, or with *dry* only say what would change; raises Stop where that fails."""
        self.observe(self.items, owed=True)
        self.conflict()
        if dry:
            self.foresee()
            return
        try:
            if (
                self.owed
                or (self.left and not self.read_only)
                or any(
                    item.drifted or (item.actual is None and not isinstance(item.resource, PARTS))
                    for item in self.items
                )
            ):
                self.alone()
            self.apply()
            self.verify_login(VerifyLogin())
            self.settle(list(self.owed.values()), verify=True)
        except (PlanFailed, ConnectionLost, KeyboardInterrupt) as error:
            self.tell_the_rest()
            self.put_back(error)
            raise

    def alone(self):
        """Wait until no other run changes this host; after a wait, look at everything again."""

        def waiting(line):
            self.report.line("", "waiting", line)

        [answer] = self.shell.batch(["exit $waited"], first=LOCK, on_line=waiting)
        if answer.status == 2:
            raise PlanFailed("Another run has been changing this host for 10 minutes. " + GO_ON)
        if answer.status == 1 or self.left:
            self.observe(self.items, owed=True)
        if self.left:
            self.shell.batch([NOW])
            self.report.line(
                "",
                "put back",
                f"what an earlier run changed and did not prove: {', '.join(self.left)}",
            )
            self.observe(self.items, owed=True)
        self.conflict()

    def verify_login(self, login, task=""):
        """Where something that is guarded was changed, let a new login show that it works, or put back what was there."""
        if not self.armed:
            return
        mine = {
            item.resource.notify
            for item in self.items
            if item.done and item.resource.rollback_for(item.actual)
        }
        self.settle([handler for handler in self.owed.values() if handler in mine])
        started, names = (
            time.monotonic(),
            ", ".join(dict.fromkeys(rollback.name for rollback in self.armed.values())),
        )
        time.sleep(0.2)  # a server that was told to reload may close its sockets for a moment
        try:
            user, why = login.verify_login(self.shell)
        except RemoteError as error:
            self.report.add(
                task, login.label, FAILED, time.monotonic() - started, detail=str(error)
            )
            raise PlanFailed(
                f"No new login becomes root after this change of {names}. " + GO_ON
            ) from None
        [answer] = self.shell.batch([DISARM])
        self.armed.clear()
        if not answer.ok:
            raise PlanFailed(
                f"The server has put {names} back before a new login was proved. " + GO_ON
            )
        text = f"Login {user}" + (f": {user} gets in all the same; not proved {why}" if why else "")
        self.report.line(task, WARNING if why else OK, text, time.monotonic() - started)

    def put_back(self, error):
        """Put back at once what this run changed and no login has proved; else the server does it by itself."""
        if not self.armed:
            return
        try:
            if not isinstance(error, PlanFailed):
                raise ConnectionLost
            # What would be reloaded is as it was.
            rollback_for = [
                item.resource.notify
                for item in self.items
                if item.drifted and item.resource.rollback_for(item.actual)
            ]
            forget = [
                sh("rm -f {}", f"{STATE}/owed/{handler.name}")
                for handler in rollback_for
                if handler
            ]
            answer, *_ = self.shell.batch([NOW, *forget])
            for line in answer.out.split() or [
                said(answer) if answer.err else "nothing, as the server has done that itself"
            ]:
                self.report.line("", "put back" if answer.ok else "not put back", line)
        except ConnectionLost:
            seconds = max(rollback.seconds for rollback in self.armed.values())
            names = dict.fromkeys(rollback.name for rollback in self.armed.values())
            text = f"{', '.join(names)}: the server does it by itself within {seconds} seconds"
            self.report.line("", "putting back", text)

    def observe(self, items, owed=False):
        """Ask for the state of *items* in one batch, and with *owed* for the handlers that an earlier run left."""
        items = [item for item in items if not isinstance(item.resource, PARTS)]
        steps = [LEFT + LIST_OWED] if owed else []
        answers = self.shell.batch(steps + [item.resource.probe() for item in items])
        if owed:
            armed, _, notes = answers.pop(0).out.partition("\0")
            left = re.findall(r"\0([^\0]*)\0([^\0]*)", f"\0{notes}")
            # What only asks pays nothing; and a handler of ours is as the settings want it now.
            mine = {
                item.resource.notify.name: item.resource.notify
                for item in items
                if item.resource.notify
            }
            self.owed = {
                name: mine.get(name) or Handler(name, script)
                for name, script in left
                if not self.read_only
            }
            self.inherited = self.owed.keys() - mine.keys()
            self.left = ARMED.findall(armed)
            for what in re.findall("undone (.*)", armed):
                self.report.notices.append(
                    f"The server had put back by itself what no new login had proved: {what}"
                )
        for item, answer in zip(items, answers, strict=True):
            if answer.status == CANNOT_KNOW:
                item.actual = None
            elif answer.ok:
                item.actual = self.parsed(item, answer)
            else:
                self.fail(item, "probe", answer)

    @property
    def read_only(self):
        """Whether nothing here can change a host."""
        return all(getattr(item.resource, "read_only", True) for item in self.items)

    def parsed(self, item, answer):
        """Return what *answer* tells of *item*; an answer that makes no sense ends the run with its text."""
        try:
            return item.resource.parse(answer.out)
        except (ValueError, LookupError) as error:
            # The answer itself may be what a file holds, and that a secret.
            self.fail(
                item, "probe", Answer(0, "", f"its answer makes no sense ({type(error).__name__})")
            )

    def conflict(self, so_far="Nothing was changed. "):
        """End before the next change where something must not be touched."""
        stop = False
        for item in self.items:
            if item.actual is not None and (why := item.resource.conflict(item.actual)):
                self.report.add(item.task, item.resource.label, FAILED, detail=why)
                item.done = stop = True
        if stop:
            raise PlanFailed(so_far + GO_ON)

    def foresee(self):
        """Report what would change, and each handler that would run."""
        for item in self.items:
            if isinstance(item.resource, PARTS):
                continue
            if item.actual is None:
                self.report.add(
                    item.task,
                    item.resource.label,
                    UNKNOWN,
                    detail="can be asked only after what comes before it",
                )
            elif item.drifted:
                self.note(item)
                self.report.add(
                    item.task, item.resource.label, WOULD, diff=item.resource.diff(item.actual)
                )
            else:
                self.fine(item)
        for name in self.owed:
            self.report.add("handlers", name, WOULD)
        for name in self.left:
            self.report.line(
                "",
                "not proved",
                f"{name}: the server puts it back, as no new login was seen since it changed",
            )

    def apply(self):
        """Make the drifted items true; each stretch up to a change whose effects are unseen is one batch."""
        at = 0
        while at < len(self.items):
            stretch = []
            for item in self.items[at:]:
                if item.actual is None and not isinstance(item.resource, PARTS):
                    break
                stretch.append(item)
                if isinstance(item.resource, PARTS) or (
                    item.drifted and item.resource.needs_reprobe
                ):
                    break
            if not stretch:
                item = self.items[at]
                self.report.add(
                    item.task,
                    item.resource.label,
                    FAILED,
                    detail="still unknown: what would tell is not installed",
                )
                raise PlanFailed(GO_ON)
            self.work(stretch)
            at += len(stretch)
            last = stretch[-1]
            flushed = isinstance(last.resource, Flush)
            if flushed:
                self.settle(list(self.owed.values()))
            if isinstance(last.resource, VerifyLogin):
                self.verify_login(last.resource, last.task)
            if at < len(self.items):
                unseen = not flushed and stretch[-1].done and stretch[-1].resource.needs_reprobe
                if unseen or (
                    self.items[at].actual is None
                    and (flushed or any(item.done for item in stretch))
                ):
                    self.look_again(at)

    def look_again(self, at):
        """Ask anew for what comes after an unseen change."""
        self.observe(self.items[at:])
        self.conflict("What was changed so far is right as it is. ")

    def work(self, stretch):
        """Apply what drifted in *stretch* in one batch that stops at the first failure; print each line as it happens."""
        drifted = [item for item in stretch if item.drifted]
        queue = [item for item in stretch if not isinstance(item.resource, PARTS)]
        clock = time.monotonic()
        progress = None

        def upto(item=None):
            """Report what needs nothing before *item*, and show that *item* is running."""
            nonlocal progress
            while queue and queue[0] is not item:
                self.fine(queue.pop(0))
            progress = (
                Progress(self.report, item.task, item.resource)
                if item and item.resource.slow
                else None
            )

        def ended(number, answer):
            nonlocal clock
            item = drifted[number]
            if answer.status is None:
                return
            seconds, clock = time.monotonic() - clock, time.monotonic()
            queue.pop(0)
            if not answer.ok:
                self.fail(item, "apply", answer, seconds)
            short = item.resource.shortfall(answer.out)
            item.done = not short
            diff = "" if short else item.resource.diff(item.actual)
            self.report.add(
                item.task, item.resource.label, WARNING if short else CHANGED, seconds, diff, short
            )
            if notice := item.resource.notice():
                self.report.notices.append(notice)
            upto(drifted[number + 1] if number + 1 < len(drifted) else None)

        upto(drifted[0] if drifted else None)
        if drifted:
            steps = [self.step(item) for item in drifted]
            try:
                self.shell.batch(
                    steps,
                    stop=True,
                    on_answer=ended,
                    on_line=lambda line: progress and progress(line),
                )
            except (ConnectionLost, KeyboardInterrupt):
                if queue:
                    item, goes_on = (
                        queue[0],
                        "; it goes on by itself on the host" if queue[0].resource.slow else "",
                    )
                    seconds = time.monotonic() - clock
                    self.report.add(
                        item.task,
                        item.resource.label,
                        FAILED,
                        seconds,
                        detail=f"apply was cut off{goes_on}",
                    )
                raise

    def step(self, item):
        """Return the shell text that makes *item* true; the handler that this owes is noted on the host first."""
        mark_pending = self.note(item)
        settled = [
            sh("rm -f {}", f"{STATE}/owed/{name}") for name in item.resource.supersedes(item.actual)
        ]
        arm = ""
        if rollback := item.resource.rollback_for(item.actual):
            self.armed[rollback.folder] = rollback
            arm = rollback.arm()
        return "\n".join([mark_pending, arm, "set -e", item.resource.apply(item.actual), *settled])

    def note(self, item):
        """Remember the handler of *item*, forget those that it settles, and return the shell text that notes it on the host."""
        for name in item.resource.supersedes(item.actual):
            self.owed.pop(name, None)
        handler = item.resource.notify
        if handler is None:
            return ":"
        self.owed[handler.name] = handler
        return handler.mark_pending() + " || exit"

    def settle(self, handlers, verify=False):
        """Run *handlers*; with *verify*, look again at all that was changed, in the same batch."""
        changed = [item for item in self.items if item.done] if verify else []
        if not handlers and not changed:
            return
        clock = time.monotonic()
        failed = []

        def ended(number, answer):
            nonlocal clock
            if number >= len(handlers):
                return
            handler, seconds, clock = handlers[number], time.monotonic() - clock, time.monotonic()
            self.owed.pop(handler.name, None)
            if answer.ok:
                self.report.add("handlers", handler.name, CHANGED, seconds)
            elif handler.name in self.inherited:
                why = f"owed by an earlier run, and it fails: {said(answer)}"
                self.report.add("handlers", handler.name, WARNING, seconds, detail=why)
            else:
                failed.append(handler)
                self.report.add("handlers", handler.name, FAILED, seconds, detail=said(answer))

        steps = [handler.run() for handler in handlers] + [
            item.resource.probe() for item in changed
        ]
        answers = iter(self.shell.batch(steps, on_answer=ended)[len(handlers) :])
        if failed:
            raise PlanFailed(
                "The change is in place, but the running service has not taken it up. " + GO_ON
            )
        wrong = []
        for item in changed:
            answer = next(answers)
            actual = self.parsed(item, answer) if answer.ok else None
            if actual is None or item.resource.changed(actual):
                what = item.resource.diff(actual) if actual is not None else said(answer)
                self.report.add(
                    item.task,
                    item.resource.label,
                    FAILED,
                    detail=f"is still wrong after the change\n{indented(what)}",
                )
                wrong.append(item)
        if wrong:
            raise PlanFailed(GO_ON)

    def fine(self, item):
        """Report an item that needs nothing."""
        warning = item.actual.get("warning", "")
        item.done = False
        self.report.add(item.task, item.resource.label, WARNING if warning else OK, detail=warning)

    def fail(self, item, step, answer, seconds=0.0):
        """Report a failed step and end the run."""
        self.report.add(
            item.task, item.resource.label, FAILED, seconds, detail=f"{step} failed: {said(answer)}"
        )
        raise PlanFailed(GO_ON)

    def tell_the_rest(self):
        """Say what was not reached, so that nobody has to guess."""
        reached = {(entry.task, entry.resource) for entry in self.report.entries}
        missed = {}
        for item in self.items:
            if (
                not isinstance(item.resource, PARTS)
                and (item.task, item.resource.label) not in reached
            ):
                missed.setdefault(item.task, []).append(item.resource.label)
        for task, labels in missed.items():
            self.report.line(task, "not reached", ", ".join(labels))


# The lock goes with the shell that holds it, or with the last of its steps.
LOCK = sh(
    """
mkdir -p {}; exec 9>{}; waited=0
flock -n 9 || { waited=1; echo 'another run is changing this host'; flock -w 600 9 || waited=2; }
""",
    STATE,
    f"{STATE}/lock",
)
LIST_OWED = sh(
    """
cd {} 2>/dev/null || exit 0
for f in *; do [ -f "$f" ] && printf '\\000%s\\000' "$f" && cat "$f"; done; :
""",
    f"{STATE}/owed",
)


def said(answer):
    """Return the last lines that a failed step printed."""
    lines = (
        answer.err.strip() or answer.out.strip() or f"exit status {answer.status}"
    ).splitlines()[-20:]
    return lines[0] if len(lines) == 1 else "\n" + indented("\n".join(lines))

"""A run of a plan: what it probes, changes, runs and verifies, in which order, and its errors.

The host is a folder. A resource is a file in it with one word, and /bin/sh runs the steps.
"""

import dataclasses
import fcntl
import os
import re
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from fabfile.kit.converge import converge
from fabfile.kit.errors import ConnectionLost, PlanFailed
from fabfile.kit.ledger import Ledger
from fabfile.kit.plan import Flush, Plan, Section
from fabfile.kit.quote import sh
from fabfile.kit.report import Report
from fabfile.kit.resources import Check, Handler, Package, Resource
from fabfile.kit.resources.check import ok
from fabfile.kit.shell import Answer

RING, SING = (
    Handler(f"{verb} it", f"echo {verb} >>traces; [ ! -e no-{verb} ]") for verb in ("ring", "sing")
)


@dataclass(frozen=True)
class Thing(Resource):
    """A file with one word. Its state is unknown while the thing named by *needs* is absent."""

    name: str
    word: str = "on"
    needs: str = ""

    def probe(self):
        return sh(
            "[ -z {} ] || [ -e {} ] || exit 69; cat {} 2>/dev/null || echo absent",
            self.needs,
            self.needs,
            self.name,
        )

    def desired(self):
        return {"state": self.word}

    def apply(self, actual):
        return sh(
            "[ ! -e {} ]\n[ -e {} ] || echo {} >{}\n",
            f"no-{self.name}",
            f"in-vain-{self.name}",
            self.word,
            self.name,
        ) + sh("echo {} >>traces", self.name)

    def conflict(self, actual):
        return "it belongs to another" if actual["state"] == "foreign" else None


@dataclass(frozen=True)
class Unseen(Thing):
    """A thing that declares that its change may affect others."""

    needs_reprobe = True

    def apply(self, actual):
        return super().apply(actual) + "\ntouch made"


@dataclass(frozen=True)
class Starter(Thing):
    """A thing whose change makes the handler RING unnecessary."""

    def supersedes(self, actual):
        return (RING.name,)


class Host:
    """A shell in a folder.

    `batches` has the number of steps of each batch. The shell is lost when a step with the text
    `dies` begins.
    """

    def __init__(self, folder):
        self.folder, self.batches, self.dies, self.closed = folder, [], None, False
        self.ledger = Ledger(*(str(folder / name) for name in ("state", "kept", "units")))

    def batch(self, steps, stop=False, on_answer=None, on_line=None, first="", last=""):
        if steps:
            self.batches.append(len(steps))
        answers = []
        for step in steps:
            if self.dies and self.dies in step and "set -e" in step:
                break
            if stop and answers and answers[-1].status != 0:
                answers.append(Answer(None, "", ""))
            else:
                script = f"{first}\n({step}\n)"
                done = subprocess.run(
                    ["/bin/sh", "-c", script], cwd=self.folder, capture_output=True, text=True
                )
                answers.append(Answer(done.returncode, done.stdout, done.stderr))
        for number, answer in enumerate(answers):  # all was sent before the first answer came
            for line in answer.out.splitlines() if on_line else ():
                on_line(line)
            if on_answer:
                on_answer(number, answer)
        if len(answers) < len(steps):
            raise ConnectionLost("the connection ended in the middle")
        return answers

    @property
    def traces(self):
        """The changes and handlers in the order in which they ran."""
        path = self.folder / "traces"
        return path.read_text().split() if path.exists() else []

    @property
    def owed(self):
        """The names of the pending handlers."""
        folder = self.folder / "state/pending"
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []

    def has(self, **things):
        """Put these things on the host, in these states."""
        for name, word in things.items():
            (self.folder / name.replace("_", "-")).write_text(f"{word}\n")

    def run(self, *parts, dry=False):
        """Converge these parts and return the report, with the error in `report.error`."""
        self.batches.clear()
        report = Report("web")
        try:
            converge(self, Plan(parts), report, dry, self.ledger)
        except (PlanFailed, ConnectionLost) as error:
            report.error = str(error)
        return report


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


def mark_pending(host, handler):
    """Mark *handler* as left pending by an earlier run."""
    note = host.ledger.mark_pending(handler)
    subprocess.run(["/bin/sh", "-c", note], cwd=host.folder, check=True)


def rows(report):
    """Return the status of each resource, without the kind's name."""
    return [(entry.resource.removeprefix("Thing "), entry.status) for entry in report.entries]


A, B, C = Thing("a"), Thing("b"), Thing("c")


# -- nothing to do, and all to do


def test_a_converged_host_takes_one_batch_and_no_change(host):
    host.has(a="on", b="on")
    report = host.run(A, B)
    assert rows(report) == [("a", "ok"), ("b", "ok")]
    assert report.ok
    assert host.batches == [3]
    assert host.traces == []  # the notes of earlier runs, and two probes


def test_changes_are_made_in_the_order_of_the_source(host):
    report = host.run(C, A, B)
    assert host.traces == ["c", "a", "b"]
    assert rows(report) == [
        ("c", "changed"),
        ("a", "changed"),
        ("b", "changed"),
    ]
    assert host.batches == [4, 1, 3, 3]  # observe, be alone, change, look again


def test_only_differences_are_changed(host):
    host.has(a="on", b="off", c="on")
    report = host.run(A, B, C)
    assert host.traces == ["b"]
    assert rows(report) == [("a", "ok"), ("b", "changed"), ("c", "ok")]
    assert host.batches == [4, 1, 1, 1]


def test_a_second_run_changes_nothing(host):
    host.run(A, Unseen("u"), Thing("late", needs="made"))
    assert [
        status for _, status in rows(host.run(A, Unseen("u"), Thing("late", needs="made")))
    ] == ["ok"] * 3
    assert host.batches == [4]


def test_each_entry_of_the_report_names_its_task(host):
    report = host.run(Section("first"), A, Section("second"), B, C)
    assert [(entry.task, entry.resource) for entry in report.entries] == [
        ("first", "Thing a"),
        ("second", "Thing b"),
        ("second", "Thing c"),
    ]


def test_after_an_inner_task_entries_name_the_outer_one_again(host):
    report = host.run(Section("full"), A, Section("part"), B, Section(), C)
    assert [entry.task for entry in report.entries] == ["full", "part", "full"]


def test_a_change_is_reported_with_its_diff(host):
    host.has(a="off")
    [entry] = host.run(A).entries
    assert "-state: off" in entry.diff
    assert "+state: on" in entry.diff


def test_an_empty_plan_is_valid(host):
    assert host.run().ok


# -- dry


def test_a_dry_run_names_each_change_and_restart(host):
    host.has(a="on", b="off")
    report = host.run(
        A, Thing("b", notify=RING), Thing("c", notify=SING), Thing("x", needs="made"), dry=True
    )
    assert rows(report) == [
        *(("a", "ok"), ("b", "would change"), ("c", "would change"), ("x", "unknown")),
        *(("ring it", "would change"), ("sing it", "would change")),
    ]
    assert "+state: on" in report.entries[1].diff
    assert host.batches == [5]
    assert sorted(path.name for path in host.folder.iterdir()) == ["a", "b"]


def test_a_dry_run_names_the_pending_handlers_that_would_run(host):
    mark_pending(host, SING)
    report = host.run(Thing("b", notify=RING), Starter("s"), dry=True)
    assert [row for row in rows(report) if row[0].endswith(" it")] == [("sing it", "would change")]
    assert host.owed == ["sing it"]
    assert host.traces == []


# -- changes whose effects are unseen


def test_after_an_unseen_change_the_rest_is_probed_in_one_batch(host):
    report = host.run(A, Unseen("u"), B, Thing("x", needs="made"), Thing("y", needs="made"))
    assert host.batches == [
        6,
        1,
        2,
        3,
        3,
        5,
    ]  # observe, be alone, a and u, look at b x y, change them, look at all
    assert [status for _, status in rows(report)] == ["changed"] * 5
    assert host.traces == ["a", "u", "b", "x", "y"]


def test_each_unseen_change_ends_a_stretch(host):
    host.run(Unseen("u"), A, Unseen("v"), B)
    assert host.batches == [5, 1, 1, 3, 2, 1, 1, 4]
    assert host.traces == ["u", "a", "v", "b"]


def test_an_unseen_kind_without_a_change_costs_no_batch(host):
    host.has(u="on", made="x")
    host.run(Unseen("u"), A, Thing("x", needs="made"))
    assert host.batches == [4, 1, 2, 2]


def test_what_an_unseen_change_fixed_is_not_changed(host):
    @dataclass(frozen=True)
    class Installer(Unseen):
        def apply(self, actual):
            return super().apply(actual) + "\necho on >b"

    report = host.run(Installer("u"), B)
    assert host.traces == ["u"]
    assert [status for _, status in rows(report)] == ["changed", "ok"]


def test_unknown_resources_are_probed_again_after_a_change(host):
    report = host.run(Thing("made"), Thing("x", needs="made"))
    assert rows(report) == [("made", "changed"), ("x", "changed")]


def test_unknown_resources_are_probed_again_after_a_flush(host):
    making = Handler("make it", "touch made")
    report = host.run(Thing("a", notify=making), Flush(), Thing("x", needs="made"))
    assert [row for row in rows(report) if row[0] == "x"] == [("x", "changed")]


@pytest.mark.parametrize("before", [[], [Unseen("u")], [A]])
def test_a_resource_that_stays_unknown_ends_the_run(host, before):
    report = host.run(*before, Thing("x", needs="never"), B)
    assert rows(report)[-1] == ("x", "failed")
    assert not report.ok
    assert host.traces == [thing.name for thing in before]


# -- what must not be touched


def test_conflicts_are_all_reported_before_the_first_change(host):
    host.has(b="foreign", c="foreign")
    report = host.run(A, B, C)
    assert rows(report) == [("b", "failed"), ("c", "failed")]
    assert "Nothing was changed" in report.error
    assert host.batches == [4]
    assert host.traces == []


def test_a_later_conflict_ends_the_run_before_its_stretch(host):
    @dataclass(frozen=True)
    class Installer(Unseen):
        def apply(self, actual):
            return super().apply(actual) + "\necho foreign >x"

    report = host.run(Installer("u"), A, Thing("x"))
    assert host.traces == ["u"]
    assert rows(report)[-1] == ("x", "failed")
    assert "Nothing was changed" not in report.error


# -- handlers


def test_equal_handlers_run_once_after_all_changes(host):
    report = host.run(Thing("a", notify=RING), Thing("b", notify=SING), Thing("c", notify=RING))
    assert host.traces == ["a", "b", "c", "ring", "sing"]
    assert host.owed == []
    assert rows(report)[-2:] == [("ring it", "changed"), ("sing it", "changed")]
    assert host.batches == [4, 1, 3, 5]  # the handlers and the last look are one batch


def test_without_a_change_no_handler_runs(host):
    host.has(a="on")
    host.run(Thing("a", notify=RING), B)
    assert host.traces == ["b"]


def test_a_flush_runs_the_pending_handlers(host):
    host.run(Thing("a", notify=RING), Flush(), Thing("b", notify=RING), Thing("c", notify=SING))
    assert host.traces == ["a", "ring", "b", "c", "ring", "sing"]


def test_a_flush_without_pending_handlers_costs_nothing(host):
    host.has(a="on")
    host.run(Flush(), Thing("a", notify=RING), Flush())
    assert host.batches == [2]


def test_a_start_makes_a_pending_restart_unnecessary(host):
    host.run(Thing("a", notify=RING), Starter("s"))
    assert host.traces == ["a", "s"]
    assert host.owed == []


def test_a_restart_that_becomes_pending_after_a_start_runs(host):
    host.run(Starter("s"), Thing("a", notify=RING))
    assert host.traces == ["s", "a", "ring"]


def test_handlers_left_pending_run_without_a_change(host):
    host.has(no_b="x")
    assert not host.run(Thing("a", notify=RING), B).ok
    assert host.traces == ["a"]
    assert host.owed == ["ring it"]
    host.has(b="on")
    report = host.run(Thing("a", notify=RING), B)
    assert rows(report) == [("a", "ok"), ("b", "ok"), ("ring it", "changed")]
    assert host.traces == ["a", "ring"]
    assert host.owed == []


def test_handlers_that_another_task_left_pending_run(host):
    mark_pending(host, SING)
    host.has(a="on")
    host.run(A)
    assert host.traces == ["sing"]
    assert host.owed == []


def test_a_failed_handler_runs_again_in_the_next_run(host):
    host.has(no_ring="x")
    report = host.run(Thing("a", notify=RING))
    assert rows(report) == [("a", "changed"), ("ring it", "failed")]
    assert "not picked it up" in report.error
    assert host.owed == ["ring it"]
    (host.folder / "no-ring").unlink()
    assert host.run(Thing("a", notify=RING)).ok
    assert host.owed == []


def test_after_a_failed_handler_the_others_still_run(host):
    host.has(no_ring="x")
    report = host.run(Thing("a", notify=RING), Thing("b", notify=SING))
    assert rows(report)[-2:] == [("ring it", "failed"), ("sing it", "changed")]
    assert host.owed == ["ring it"]


def test_a_failing_handler_of_another_task_only_warns(host, capsys):
    mark_pending(host, RING)
    host.has(a="on", no_ring="x")
    report = host.run(A)
    assert rows(report) == [("a", "ok"), ("ring it", "warning")]
    assert report.ok
    assert not report.error
    assert "earlier run" in capsys.readouterr().out
    assert host.owed == ["ring it"]


def test_a_pending_handler_that_is_notified_can_fail_the_run(host):
    mark_pending(host, RING)
    host.has(no_ring="x")
    assert rows(host.run(Thing("a", notify=RING)))[-1] == ("ring it", "failed")


def test_handlers_left_pending_follow_the_current_settings(host):
    mark_pending(host, Handler(RING.name, "echo old >>traces"))
    host.has(a="on")
    host.run(Thing("a", notify=RING))
    assert host.traces == ["ring"]
    assert host.owed == []


def test_a_plan_that_only_reads_runs_no_pending_handlers(host):
    mark_pending(host, RING)
    assert rows(host.run(Check("memory", "echo 1", lambda output: ok()))) == [
        ("Check memory", "ok")
    ]
    assert host.batches == [2]
    assert host.traces == []
    assert host.owed == ["ring it"]


def test_a_failed_change_leaves_its_handler_pending(host):
    host.has(no_a="x")
    host.run(Thing("a", notify=RING))
    assert host.traces == []
    assert host.owed == ["ring it"]  # it may be half done


# -- the last look


def test_a_change_without_effect_is_an_error(host):
    host.has(in_vain_a="x")
    report = host.run(A, B)
    assert rows(report) == [("a", "changed"), ("b", "changed"), ("a", "failed")]
    assert "again" in report.error


def test_a_change_that_cannot_be_verified_is_an_error(host):
    host.has(needed="x")
    report = host.run(Thing("a", needs="needed"), Unseen("u", notify=Handler("spoil", "rm needed")))
    assert rows(report)[-1] == ("a", "failed")


# -- failures


def test_the_first_failure_ends_the_run_and_the_rest_is_skipped(host, capsys):
    host.has(c="on", no_b="x")
    report = host.run(Section("one"), A, B, Section("two"), C, Thing("d"))
    assert rows(report) == [("a", "changed"), ("b", "failed")]
    assert host.traces == ["a"]
    [line] = [line for line in capsys.readouterr().out.splitlines() if "skipped" in line]
    assert line.split() == ["web", "two", "skipped", "Thing", "c,", "Thing", "d"]
    assert "run the same command again" in report.error


def test_the_next_run_continues_after_a_failure(host):
    host.has(no_b="x")
    host.run(A, B, C)
    (host.folder / "no-b").unlink()
    assert [status for _, status in rows(host.run(A, B, C))] == ["ok", "changed", "changed"]


def test_a_failed_step_is_reported_with_its_output(host, capsys):
    @dataclass(frozen=True)
    class Failing(Thing):
        def apply(self, actual):
            return "echo no disk >&2; false; echo never"

    host.run(Failing("f"))
    shown = capsys.readouterr().out
    assert "apply failed: no disk" in shown
    assert "never" not in shown


@pytest.mark.parametrize("probe", ["echo oops >&2; exit 1", "echo oops; exit 70"])
def test_a_probe_that_fails_names_its_resource(host, capsys, probe):
    @dataclass(frozen=True)
    class Broken(Thing):
        def probe(self):
            return probe

    report = host.run(A, Broken("x"))
    assert rows(report) == [("Broken x", "failed")]
    assert "probe failed: oops" in capsys.readouterr().out
    assert host.traces == []


@pytest.mark.parametrize("error", [ValueError, KeyError, IndexError])
def test_an_invalid_answer_names_its_resource_and_is_not_shown(host, capsys, error):
    @dataclass(frozen=True)
    class Odd(Thing):
        def parse(self, output):
            raise error(output)

    host.has(x="hush")
    report = host.run(A, Odd("x"))
    shown = capsys.readouterr().out + report.error
    assert rows(report) == [("Odd x", "failed")]
    assert "makes no sense" in shown
    assert "hush" not in shown
    assert host.traces == []


def test_a_lost_connection_leaves_its_handler_pending(host, capsys):
    host.dies = "no-b"
    report = host.run(Thing("a", notify=RING), B, C)
    assert rows(report) == [("a", "changed"), ("b", "failed")]
    assert "ended in the middle" in report.error
    assert re.search(r"skipped +Thing c\n", capsys.readouterr().out)
    assert host.owed == ["ring it"]


def test_a_long_step_that_was_cut_off_finishes_by_itself(host, capsys):
    @dataclass(frozen=True)
    class Slow(Thing):
        slow = True

    host.dies = "no-s"
    host.run(Slow("s"))
    assert "finishes it by itself" in capsys.readouterr().out


# -- what is told besides


def test_a_warning_is_not_a_failure(host, capsys):
    @dataclass(frozen=True)
    class Warned(Thing):
        def parse(self, output):
            return {"state": "on", "warning": "little memory"}

    report = host.run(Warned("x"))
    assert rows(report) == [("Warned x", "warning")]
    assert report.ok
    assert "little memory" in capsys.readouterr().out


def test_notices_of_changes_come_at_the_end(host):
    @dataclass(frozen=True)
    class Noticed(Thing):
        def notice(self, output=""):
            return "remember this"

    assert host.run(Noticed("x")).notices == ["remember this"]
    assert host.run(Noticed("x")).notices == []


# -- resources that become one


def test_packages_of_all_tasks_merge_into_the_first(host):
    plan = Plan([Package("a"), A, Section("two"), Package("b", "a"), B])
    assert [item.resource for item in plan.items] == [Package("a", "b"), A, B]


def test_equal_resources_merge(host):
    plan = Plan([A, B, Section("two"), Thing("a"), Thing("a", "off")])
    assert [item.resource for item in plan.items] == [A, B, Thing("a", "off")]


# -- two runs at the same time


@pytest.fixture
def other_run(host):
    """Return the lock that another run holds on the host."""
    (host.folder / "state").mkdir()
    with (host.folder / "state/lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock


def end_when_awaited(lock, change):
    """Make *change* and release *lock* once another process waits for it."""

    def wait():
        inode = f":{os.fstat(lock.fileno()).st_ino} "
        waiting = False
        while not waiting:
            time.sleep(0.01)
            locks = Path("/proc/locks").read_text().splitlines()
            waiting = any("->" in line and inode in line for line in locks)
        change()
        fcntl.flock(lock, fcntl.LOCK_UN)

    threading.Thread(target=wait, daemon=True).start()


def test_a_run_waits_for_another_and_probes_again(host, other_run, capsys):
    end_when_awaited(other_run, lambda: host.has(a="on"))
    report = host.run(A, B)
    assert rows(report) == [("a", "ok"), ("b", "changed")]
    assert host.traces == ["b"]
    assert "another run is changing this host" in capsys.readouterr().out


def test_a_conflict_that_the_other_run_made_is_reported(host, other_run):
    end_when_awaited(other_run, lambda: host.has(a="foreign"))
    assert rows(host.run(A, B)) == [("a", "failed")]
    assert host.traces == []


def test_a_run_gives_up_after_its_patience(host, other_run):
    assert Ledger().patience == 600
    host.ledger = dataclasses.replace(host.ledger, patience=1)
    report = host.run(A)
    assert "Another run" in report.error
    assert host.traces == []


@pytest.mark.parametrize("dry", [False, True])
def test_a_run_without_changes_does_not_wait(host, other_run, dry):
    host.has(a="on")
    assert host.run(A, *([B] if dry else []), dry=dry).ok
    assert host.traces == []

"""The output of a run: its lines, the last line of each host, and the JSON."""

import io
import json
import os
import re
import sys

import pytest
from fabric import Config, Connection

from fabfile.kit import executor
from fabfile.kit import report as module
from fabfile.kit.host import Host
from fabfile.kit.report import (
    CHANGED,
    FAILED,
    OK,
    UNKNOWN,
    WARNING,
    WOULD,
    Progress,
    Report,
    write_json,
)
from fabfile.kit.resources import Package
from fabfile.kit.terminal import say


def report(*statuses, **options):
    """Return a report of the host web with an entry for each status."""
    made = Report("web", **options)
    for number, status in enumerate(statuses):
        made.add("task", f"File /{number}", status)
    return made


def last_line(made, capsys):
    capsys.readouterr()
    made.recap()
    return capsys.readouterr().out.splitlines()[-1]


# -- JSON


def test_the_json_has_the_documented_form(tmp_path):
    one, two = Report("root@web", round_trips=3, seconds=1.23456), Report("db")
    one.add("harden-ssh", "Package openssh-server", OK, 0.00049)
    one.add("harden-ssh", "File /etc/x", CHANGED, 1.5, "-a\n+b")
    one.add("firewall", "UfwRule 80", WOULD, 0, "+state: allowed")
    one.add("firewall", "UfwEnabled", UNKNOWN)
    one.add("verify", "login", FAILED, detail="no")
    one.add("verify", "Check memory", WARNING, detail="little")
    write_json(tmp_path / "r.json", [one, two])
    text = (tmp_path / "r.json").read_text()
    first, second = json.loads(text)["hosts"]
    assert text.endswith("\n")
    assert list(json.loads(text)) == ["hosts"]
    tasks = first.pop("tasks")
    assert first.pop("error", "") == ""
    assert first == {
        "host": "root@web",
        "ok": 2,
        "changed": 1,
        "failed": 1,
        "unknown": 1,
        "would_change": 1,
        "round_trips": 3,
        "seconds": 1.235,
    }
    assert [task["task"] for task in tasks] == ["harden-ssh", "firewall", "verify"]
    assert tasks[0]["resources"] == [
        {"resource": "Package openssh-server", "status": "ok", "seconds": 0.0, "diff": ""},
        {"resource": "File /etc/x", "status": "changed", "seconds": 1.5, "diff": "-a\n+b"},
    ]
    assert [row["status"] for task in tasks for row in task["resources"]][2:] == [
        "would change",
        "unknown",
        "failed",
        "warning",
    ]
    assert second["host"] == "db"
    assert second["tasks"] == []
    assert second["failed"] == 0


@pytest.mark.parametrize(
    ("statuses", "error"),
    [((), "no connection"), ((FAILED,), ""), ((FAILED,), "Fix this"), ((OK,), "x")],
)
def test_a_failed_host_counts_at_least_one_failure(statuses, error):
    made = report(*statuses, error=error)
    assert not made.ok
    assert made.as_dict()["failed"] == 1
    assert type(made.as_dict()["failed"]) is int


def test_the_json_holds_any_text(tmp_path):
    made = Report("web")
    made.add("task", "File /ü \udcff", CHANGED, diff="日本\x00\udcff")
    write_json(tmp_path / "r.json", [made])
    [host] = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["hosts"]
    assert host["tasks"][0]["resources"][0]["diff"].startswith("日本\x00")


def test_several_failures_are_all_counted():
    assert report(FAILED, FAILED, FAILED, error="x").as_dict()["failed"] == 3


# -- the last line


def test_the_last_line_has_the_documented_form(capsys):
    made = report(*[OK] * 41, round_trips=1, seconds=0.8)
    assert last_line(made, capsys) == "web  ok=41 changed=0 failed=0  1 round trip, 0.8 s"


def test_the_last_line_counts_other_states_too(capsys):
    made = report(OK, WARNING, CHANGED, WOULD, WOULD, UNKNOWN, round_trips=2, seconds=61.25)
    assert (
        last_line(made, capsys)
        == "web  ok=2 changed=1 failed=0 would_change=2 unknown=1  2 round trips, 61.2 s"
    )


def test_an_unreachable_host_has_failed(capsys):
    made = Report("web", error="web port 22 refuses connections")
    made.recap()
    shown = capsys.readouterr()
    assert shown.err == "web  web port 22 refuses connections\n"
    assert shown.out == "web  ok=0 changed=0 failed=1  0 round trips, 0.0 s\n"


# -- the lines


def test_each_line_names_host_task_and_status(capsys):
    made = Report("web")
    made.add("harden-ssh", "File /etc/x", CHANGED, 1.26)
    made.add("full-setup", "Check memory", WARNING, detail="little")
    first, second = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"web  harden-ssh +changed +File /etc/x  1\.3 s", first)
    assert re.fullmatch(r"web  full-setup +warning +Check memory: little", second)


@pytest.mark.parametrize(
    ("verbose", "status", "shown"), [(0, CHANGED, 0), (1, CHANGED, 1), (0, WOULD, 1), (0, OK, 0)]
)
def test_a_diff_is_shown_on_request(capsys, verbose, status, shown):
    Report("web", verbose=bool(verbose)).add("task", "File /x", status, diff="-old\n+new")
    assert ("    -old\n    +new\n" in capsys.readouterr().out) == bool(shown)


def test_a_notice_is_shown_once(capsys):
    made = report(notices=["The password is now: x"])
    made.recap()
    made.recap()
    assert capsys.readouterr().out.count("The password is now: x") == 1


def test_without_a_terminal_there_is_no_colour(capsys):
    report(OK, CHANGED, FAILED, error="x").recap()
    shown = capsys.readouterr()
    assert "\x1b" not in shown.out + shown.err


class Terminal(io.StringIO):
    """A terminal of 80 columns."""

    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """Return a function that makes standard output a terminal and returns its future output."""

    def use():
        monkeypatch.delenv("NO_COLOR", raising=False)
        monkeypatch.setattr(module.os, "get_terminal_size", lambda *_: os.terminal_size((80, 25)))
        monkeypatch.setattr(sys, "stdout", Terminal())
        return sys.stdout.getvalue

    return use


def test_a_terminal_gets_colour(terminal):
    shown = terminal()
    report(CHANGED)
    assert "\x1b[33mchanged" in shown()


def test_no_color_turns_colour_off(terminal, monkeypatch):
    shown = terminal()
    monkeypatch.setenv("NO_COLOR", "1")
    report(CHANGED)
    assert "\x1b[33m" not in shown()


def test_invalid_text_does_not_break_a_line(capsys):
    say("byte \udcff")
    assert capsys.readouterr().out == "byte ?\n"


def test_without_a_terminal_a_long_step_prints_one_line(capsys):
    progress = Progress(Report("web"), "install-apache", Package("apache2"))
    progress("pmstatus:apache2:50.0:Unpacking apache2")
    assert re.fullmatch(r"web  install-apache +running +Package apache2\n", capsys.readouterr().out)


def test_a_terminal_shows_a_long_step_in_one_changing_line(terminal):
    shown = terminal()
    progress = Progress(Report("web"), "install-apache", Package("apache2"))
    progress("pmstatus:apache2:50.0:Unpacking " + "x" * 500)
    assert "50 %" in shown()
    assert "\n" not in shown()
    assert max(len(part) for part in re.split(r"\r\x1b\[K", shown())) < 80
    report(CHANGED)
    assert re.search(r"\r\x1b\[Kweb  task .*\n$", shown())


def test_ctrl_c_keeps_the_reports_of_the_hosts(monkeypatch):
    def interrupted(chain):
        Host.of(Connection("web", config=Config())).report.error = "Interrupted."
        raise KeyboardInterrupt

    monkeypatch.setattr(executor, "run_chain", interrupted)
    try:
        with pytest.raises(KeyboardInterrupt):
            executor.run_side_by_side([["a call"]])
        assert "Interrupted." in [host.report.error for host in Host.all()]
    finally:
        Host.close_all()

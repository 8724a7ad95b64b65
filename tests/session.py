"""How a test run begins and ends."""

import signal
import time
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

from .hosts.order import group

HOSTS = f"{Path(__file__).parent.name}/hosts/"
START = time.time()


def pytest_configure():
    """Let the programs that tests start react to Ctrl-C even if this run ignores it.

    `nohup` and a shell's `&` ignore SIGINT, and programs inherit that. They do not inherit a
    handler: with one that does nothing this run still ignores SIGINT, and its programs do not.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda number, frame: None)


class Groups(LoadScopeScheduling):
    """A scheduler that runs the tests of a group on the same worker, as they share hosts."""

    def _split_scope(self, nodeid):
        return group(nodeid)


def pytest_xdist_make_scheduler(config, log):
    """Schedule by groups instead of files."""
    return Groups(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter, config):
    """Say how long host tests and others took, each with its fixtures, summed over all workers."""
    seconds = {True: 0.0, False: 0.0}
    tests = {True: set(), False: set()}
    for report in _reports(terminalreporter):
        on_host = report.nodeid.startswith(HOSTS)
        seconds[on_host] += report.duration
        tests[on_host].add(report.nodeid)
    parts = [
        f"{len(tests[on_host]):,} {name} took {_minutes(seconds[on_host])}"
        for on_host, name in ((True, "host tests"), (False, "other tests"))
        if tests[on_host]
    ]
    if parts:
        workers = getattr(config.option, "numprocesses", None) or 1
        whole = _minutes(time.time() - START)
        terminalreporter.line(f"{', '.join(parts)}; with {workers} at a time {whole} in all")


def _reports(terminalreporter):
    """Return the reports of each setup, call and teardown."""
    every = (report for reports in terminalreporter.stats.values() for report in reports)
    return [report for report in every if isinstance(report, pytest.TestReport)]


def _minutes(seconds):
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"

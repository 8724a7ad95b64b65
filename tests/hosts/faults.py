"""Faults for real servers: hosts to plant them on, and what must hold of a run that met one."""

import contextlib
import json
import os
import re
import subprocess

import pytest

from .conftest import BIN, REPOSITORY
from .converged import Run
from .visitor import PASSWORD

_hosts = {}


def on(*suites):
    """Run a test on these releases only."""
    return pytest.mark.parametrize("suite", suites, indirect=True)


def one(name, suite, lab, layer=None):
    """A host that is common to all tests."""
    if (name, suite) not in _hosts:
        _hosts[name, suite] = lab.up(f"{name}-{suite}-{os.getpid()}", suite, layer, owner=lab.me())
    return _hosts[name, suite]


@pytest.fixture
def bare(suite, lab):
    """A fresh host, common to all tests, which leave it as it was."""
    return one("bare", suite, lab)


@pytest.fixture
def clone(suite, lab, story):
    """A clone of a converged host, common to all tests, which leave it as it was: its new address is still to be taken up."""
    host = one("clone", suite, lab, story.layer)
    host.nsenter(
        "until curl -so /dev/null http://127.0.0.1:8888/jupyter/api; do sleep 0.2; done", timeout=60
    )
    return host


@pytest.fixture
def used(suite, lab, story, full_setup):
    """A converged host, common to all tests, which may do anything to it that full-setup then mends."""
    is_new = ("used", suite) not in _hosts
    host = one("used", suite, lab, story.layer)
    assert not is_new or full_setup(host).status == 0
    return host


@pytest.fixture
def task(fab, tmp_path):
    """Run a task with a report: `task(host, "--dry", "create-user", "--user=ada")`."""

    def run(host, *words, **env):
        file = tmp_path / "task.json"
        default = {} if "JUPYTER_PASSWORD_FILE" in env else {"JUPYTER_PASSWORD": PASSWORD}
        done = fab(host, *words, "--report", file, env=default | env, check=False, timeout=300)
        [report] = json.loads(file.read_text())["hosts"]
        return Run(done.returncode, done.stdout, done.stderr, report)

    return run


@pytest.fixture
def running(operator, tmp_path):
    """Start `fab` and go on: `running(host, "full-setup")` is its process, with what it says so far."""
    started = []

    def start(host, *words, env=None):
        environment = operator.env(JUPYTER_PASSWORD=PASSWORD, **(env or {}))
        started.append(Running(host, words, environment, tmp_path / f"run-{len(started)}"))
        return started[-1]

    yield start
    for run in started:
        run.process.kill()
        run.process.wait()


class Running:
    """A `fab` at work."""

    def __init__(self, host, words, env, folder):
        folder.mkdir()
        self.files = [folder / name for name in ("out", "err")]
        argv = [BIN / "fab", "-H", host.string, "-i", host.key, *words]
        with open(self.files[0], "w") as out, open(self.files[1], "w") as err:
            streams = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": err}
            self.process = subprocess.Popen(argv, cwd=REPOSITORY, env=env, **streams)

    @property
    def out(self):
        """What it has said so far."""
        return self.files[0].read_text()

    def ended(self, seconds):
        """Wait for its end; what it said, and its status."""
        status = self.process.wait(seconds)
        return Run(status, *(file.read_text() for file in self.files), report=None)


def state(host):
    """What is known of each file, but for what packages and pip own, whose lists are looked at, and for a login's marks."""
    skipped = " -o ".join(
        f"-path '{path}'" for path in ("/usr", "/var/log", "/run", "*/site-packages")
    )
    find = rf"find / -xdev \( {skipped} \) -prune -o -printf '%p %M %u:%g %s %T@ %l\n'"
    return set(
        host.nsenter(f"{find}; find /run/remote-jupyter 2>/dev/null || :").stdout.splitlines()
    )


@contextlib.contextmanager
def nothing_changes(host, but=r"$^"):
    """Nothing on the host is made, changed or removed meanwhile, *but* for the lines of `state` that begin so."""
    before = state(host)
    yield
    changed = {line for line in before ^ state(host) if not re.match(but, line)}
    assert len(before) > 1000
    assert changed == set()


@contextlib.contextmanager
def instead_of(host, path, plant):
    """Something else is at *path* meanwhile; *plant* is shell text that knows the path as $P."""
    there = host.nsenter(["test", "-e", path], check=False).returncode == 0
    host.nsenter(f"P='{path}'; [ ! -e $P ] || mv $P $P.kept; {plant}")
    try:
        yield
    finally:
        host.nsenter(f"P='{path}'; rm -rf $P; [ ! -e $P.kept ] || mv $P.kept $P")
    assert there == (host.nsenter(["test", "-e", path], check=False).returncode == 0)


def failures(run, host):
    """The task, and the rest of the line, of each resource that failed."""
    return re.findall(rf"^{re.escape(host.address)}  (\S+) +failed +(.*)$", run.text, re.M)


def is_one_failure(run, host, task, *says):
    """Whether one resource failed, the operator reads why and how to go on, and the status is 1."""
    assert "Traceback" not in run.text
    [(at, line)] = failures(run, host)
    told = run.text[run.text.index(line) :]
    assert at == task
    assert [text for text in says if text not in told] == []
    assert run.err.startswith(f"{host.address}  ")
    assert run.err.count("\n") == 1
    assert "run the same command again" in run.err.lower()
    assert re.search(rf"^{re.escape(host.address)}  ok=\d+ changed=\d+ failed=1 ", run.out, re.M)
    return run.status == 1


def is_one_refusal(run, host, task, *says):
    """Whether one resource was refused before anything was changed."""
    assert not run.changed
    assert run.trips == 1
    assert "Nothing was changed" in run.err
    return is_one_failure(run, host, task, *says)


def is_no_connection(run, host, *says):
    """Whether one line says why there is no way to become root there, and the status is 1."""
    assert "Traceback" not in run.text
    [line] = run.err.splitlines()
    assert line.startswith(f"{host.address}  ")
    assert [text for text in says if text not in line] == []
    assert [text for text in run.out.splitlines() if " failed=1 " not in text] == []
    return run.status == 1

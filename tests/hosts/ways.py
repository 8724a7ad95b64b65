"""Servers that only SSH reaches: built once for each release by tunnel-setup, then cloned; and tunnels to them."""

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from .conftest import BIN, NUMBERS, REPOSITORY
from .converged import Run
from .lab import base
from .visitor import PASSWORD, Visitor, eventually

_layers = {}


@pytest.fixture
def run(fab, tmp_path):
    """Run one task with a report: `run(host, "tunnel-setup", "--dry")`; environment variables by name."""

    def task(host, name, *flags, check=True, settings=None, **env):
        file = tmp_path / f"report-{next(NUMBERS)}.json"
        core = ["--dry"] if "--dry" in flags else []
        env = {"JUPYTER_PASSWORD": PASSWORD} | env
        for setting, value in (settings or {}).items():
            env[f"FABRIC_REMOTE_JUPYTER_{setting.replace('.', '_').upper()}"] = str(value)
        rest = [flag for flag in flags if flag != "--dry"]
        done = fab(host, *core, name, *rest, "--report", file, env=env, check=check)
        [report] = json.loads(file.read_text())["hosts"] if file.exists() else [{}]
        return Run(done.returncode, done.stdout, done.stderr, report)

    return task


@pytest.fixture
def tunnelled(layer, run):
    """The layer of a release that tunnel-setup made of a fresh host; both releases are made side by side."""

    def build(suite):
        def converge(host):
            first, second = (
                run(host, "tunnel-setup", check=False),
                run(host, "tunnel-setup", check=False),
            )
            assert first.status == 0, first.text
            assert second.is_calm, second.text

        if not _layers:
            with ThreadPoolExecutor() as pool:
                names = pool.map(lambda one: layer(one, "tunnelled", converge), base.SUITES)
                _layers.update(zip(base.SUITES, names, strict=True))
        return _layers[suite]

    return build


@pytest.fixture
def hidden(tunnelled, new_host, suite):
    """A clone of a server of each release that tunnel-setup has made, for this test alone."""
    host = new_host(suite, lower=tunnelled(suite))
    ready = "until curl -sf http://127.0.0.1:8888/jupyter/api; do sleep 0.2; done"
    host.ssh(ready, timeout=30)
    return host


class Tunnel:
    """A running `fab tunnel`: what it prints, and its port once it has one."""

    def __init__(self, process, log):
        self.process, self.log = process, log

    @property
    def text(self):
        """Everything that it has printed."""
        return self.log.read_text()

    @property
    def port(self):
        """The port of this machine that leads to Jupyter."""
        assert eventually(
            lambda: "leads to Jupyter" in self.text or self.process.poll() is not None, 30
        ), self.text
        found = re.findall(r"https?://localhost:(\d+)/\S* leads to Jupyter", self.text)
        assert found, self.text
        return int(found[-1])

    def says(self, words, seconds=30):
        """Wait until it has printed something."""
        assert eventually(lambda: words in self.text, seconds), self.text

    def visitor(self, **options):
        """Somebody in front of a browser on this machine."""
        return Visitor(f"localhost:{self.port}", **options)

    def end(self, number=signal.SIGINT):
        """Press Ctrl-C; the answer is the exit status."""
        self.process.send_signal(number)
        return self.process.wait(20)


@pytest.fixture
def tunnel(operator, tmp_path):
    """Run `fab tunnel` for the length of a block: `with tunnel(host, "--port=9999") as open_one: ...`."""

    @contextlib.contextmanager
    def opened(host, *words, core=None, env=None, input=None):
        log = tmp_path / f"tunnel-{next(NUMBERS)}.log"
        # OpenSSH knows no $HOME: a host of an earlier test, at the same address, may be known to whoever runs the tests.
        subprocess.run(["ssh-keygen", "-R", host.address], capture_output=True)
        core = ["-H", host.string, "-i", str(host.key)] if core is None else core
        # Not Chromium: a browser that writes down what it is to show.
        browser = tmp_path / "browser"
        browser.write_text(f'#!/bin/sh\necho "$1" >>{tmp_path}/shown\n')
        browser.chmod(0o755)
        environment = operator.env(BROWSER=f"{browser} %s", PYTHONUNBUFFERED="1", **(env or {}))
        argv = [str(BIN / "fab"), *core, "tunnel", *words]
        with open(log, "w") as out:
            source = subprocess.PIPE if input else subprocess.DEVNULL
            streams = {"stdin": source, "stdout": out, "stderr": out, "text": True}
            # A group of its own, as a terminal would give it.
            process = subprocess.Popen(
                argv, cwd=REPOSITORY, env=environment, start_new_session=True, **streams
            )
        if input:
            process.stdin.write(input)
            process.stdin.close()
        try:
            yield Tunnel(process, log)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    return opened


def group(process):
    """Return the processes of the group that *process* leads, but for itself."""
    listed = subprocess.run(
        ["ps", "-eo", "pid=,pgid=,stat="], capture_output=True, text=True
    ).stdout
    rows = [line.split() for line in listed.splitlines()]
    return [
        int(pid)
        for pid, leader, state in rows
        if int(leader) == process.pid != int(pid) and state[0] != "Z"
    ]


def asleep(process, seconds):
    """Stop *process* and what it started, as a laptop's sleep does."""
    os.killpg(process.pid, signal.SIGSTOP)
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGCONT)

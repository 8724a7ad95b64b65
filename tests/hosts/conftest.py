"""Fixtures for tests on real hosts: fresh ones, clones of converged ones, or the user's own server."""

import dataclasses
import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
import testinfra

from . import lab as the_lab

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
BIN = Path(sys.executable).parent
TEST_HOST = os.environ.get(
    "TEST_HOST"
)  # root@server[:port], with TEST_KEY=... if the key is not a usual one
NUMBERS = itertools.count(1)
LONGEST_FIRST = [
    "test_release",
    "test_full_setup",
    "test_lockout",
    "test_conda",
    "test_runner",
    "test_certs",
    "test_several",
]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark what needs a host, and what needs one of its own."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("host")
            if {"lab", "layer", "new_host"} & set(item.fixturenames):
                item.add_marker("lab")
    # Two workers end together when what takes longest comes first.
    order = {name: number for number, name in enumerate(LONGEST_FIRST)}
    items.sort(
        key=lambda item: (
            order.get(item.path.stem, len(order)) if HERE in item.path.parents else len(order) + 1
        )
    )


@dataclasses.dataclass(frozen=True)
class Server:
    """A server that the user names by TEST_HOST; it has what a lab host has as far as a server can."""

    string: str
    key: Path | None = None

    @property
    def name(self):
        """The server's name."""
        return self.address

    @property
    def address(self):
        """The server's address."""
        return self.string.rpartition("@")[2].partition(":")[0]

    @property
    def port(self):
        """The port of its ssh."""
        return int(self.string.partition(":")[2] or 22)

    def ssh(self, command, user="root", check=True, input=None, timeout=300):
        """Run a command by OpenSSH."""
        options = ["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=accept-new"]
        options += ["-i", self.key] if self.key else []
        argv = ["ssh", "-p", str(self.port), *options, f"{user}@{self.address}", command]
        return subprocess.run(
            argv, check=check, input=input, timeout=timeout, capture_output=True, text=True
        )


@pytest.fixture(scope="session")
def lab():
    """The lab; whatever this session leaves there is removed at its end."""
    if os.geteuid():
        pytest.skip("booting hosts needs root")
    the_lab.sweep()
    yield the_lab
    the_lab.down_all(the_lab.me())


@pytest.fixture(params=["as it is"] if TEST_HOST else the_lab.base.SUITES)
def suite(request):
    """The Debian release: a test that asks for it runs once on each."""
    return request.param


@pytest.fixture
def new_host(lab):
    """Make hosts, as `lab.up` does, that are gone when the test ends."""
    made = []

    def make(suite="bookworm", lower=None, **options):
        name = f"test-{os.getpid()}-{next(NUMBERS)}"
        made.append(lab.up(name, suite, lower, owner=lab.me(), **options))
        return made[-1]

    yield make
    for host in made:
        host.down()


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """A folder that all workers of this session share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def layer(lab, shared):
    """Build a host once in a session, for all its workers; `new_host(suite, lower=...)` clones it from the layer's name."""

    def build(suite, name, converge):
        kept = f"{name}-{suite}-{lab.session().partition(':')[0]}"
        with lab.base.locked(shared / f"{kept}.lock"):
            if not lab.has_layer(kept):
                host = lab.up(f"layer-{os.getpid()}-{next(NUMBERS)}", suite, owner=lab.session())
                try:
                    converge(host)
                    host.keep(kept)
                finally:
                    host.down()
        return kept

    return build


@pytest.fixture
def host(request, suite):
    """A fresh host of each release, or else the server that TEST_HOST names, in whatever state it is."""
    if TEST_HOST:
        key = os.environ.get("TEST_KEY")
        return Server(TEST_HOST, Path(key) if key else None)
    return request.getfixturevalue("new_host")(suite)


@pytest.fixture
def oracle(tmp_path):
    """Look at a host by testinfra, over a connection of its own: `oracle(host).file("/etc/hosts").exists`."""
    config = tmp_path / "testinfra_ssh_config"
    # The only place where host keys are not looked at: hosts that change theirs are looked at by it too.
    config.write_text("Host *\n    StrictHostKeyChecking no\n    UserKnownHostsFile /dev/null\n")

    def look(host, user="root", sudo=False):
        address = f"paramiko://{user}@{host.address}:{getattr(host, 'port', 22)}"
        key = str(host.key) if host.key else None
        return testinfra.get_host(address, ssh_config=str(config), ssh_identity_file=key, sudo=sudo)

    return look


@dataclasses.dataclass(frozen=True)
class Operator:
    """Somebody who runs `fab`, with a home folder that nobody else has used."""

    home: Path

    @property
    def known_hosts(self):
        """The host keys that the operator has accepted."""
        return self.home / ".ssh/known_hosts"

    def env(self, **more):
        """The environment of the operator's programs: no agent and no settings of whoever runs the tests."""
        private = (
            "FABRIC_",
            "INVOKE_",
            "SSH_",
            "XDG_",
            "JUPYTER_",
            "USER_PASSWORD",
            "SUDO_PASSWORD",
        )
        kept = {name: value for name, value in os.environ.items() if not name.startswith(private)}
        # Anaconda has tests of its own; the others take what is there sooner.
        return (
            kept
            | {"HOME": str(self.home), "FABRIC_REMOTE_JUPYTER_PYTHON_DISTRIBUTION": "venv"}
            | more
        )


@pytest.fixture
def operator(tmp_path):
    """A fresh operator."""
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    return Operator(home)


@pytest.fixture
def fab(operator):
    """Run `fab` as the operator, on one host, several or none: `fab(host, "harden-ssh", "--dry")`."""

    def run(
        host,
        *words,
        env=None,
        check=True,
        input=None,
        timeout=900,
        cwd=REPOSITORY,
        program=BIN / "fab",
    ):
        hosts = [host] if not isinstance(host, list | tuple) else host
        where = ["-H", ",".join(one.string for one in hosts)] if host else []
        keys = ["-i", hosts[0].key] if host and hosts[0].key else []
        argv = [str(word) for word in (program, *where, *keys, *words)]
        source = {"input": input} if input is not None else {"stdin": subprocess.DEVNULL}
        environment = operator.env(**(env or {}))
        done = subprocess.run(
            argv,
            cwd=cwd,
            env=environment,
            timeout=timeout,
            capture_output=True,
            text=True,
            **source,
        )
        if check and done.returncode:
            pytest.fail(f"{' '.join(argv)}: status {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    return run

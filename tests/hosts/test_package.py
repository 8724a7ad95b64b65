"""The wheel in fresh environments, beside a team's own fabfile and configuration."""

import os
import re
import subprocess
import sys

import pytest

from . import pythons
from .fixtures.hosts import NUMBERS
from .fixtures.operator import BIN, REPOSITORY

FABFILE = """
from fabric import task
from invoke import Collection

from remote_jupyter import configure_jupyter, firewall, harden_ssh, tunnel_setup


@task
def greet(c):
    c.run("echo 'Ask the data team.' >/etc/motd")


@task
def receipt(c, paper="/root/receipt"):
    c.run(f"date >>{paper}")


@task
def data_server(c):
    greet(c)
    harden_ssh(c)
    firewall(c)
    configure_jupyter(c)
    receipt(c)


ns = Collection(data_server, greet, receipt, tunnel_setup)
ns.add_task(harden_ssh, name="lock-down")
"""
SETTINGS = """
remote_jupyter:
  ssh:
    permit_open: [5432]
  firewall:
    allow: [{port}]
  jupyter:
    access: tunnel
    memory: 600M
"""
_hosts = []


def run(*words, **options):
    """Run a program here."""
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, **options)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, and the versions with which it is tested."""
    folder = tmp_path_factory.mktemp("wheel")
    made = run(BIN / "pip", "wheel", "--quiet", "--no-deps", f"--wheel-dir={folder}", REPOSITORY)
    assert made.returncode == 0, made.stderr
    pins = re.findall(r"^(\w.*) \\$", (REPOSITORY / "requirements.txt").read_text(), re.M)
    (folder / "constraints.txt").write_text("\n".join(pins))
    [wheel] = folder.glob("remote_jupyter-*.whl")
    return wheel


@pytest.fixture
def server(tunnelled, lab):
    """A clone of a server that tunnel-setup has made, common to these tests."""
    if not _hosts:
        _hosts.append(
            lab.up(
                f"team-{os.getpid()}-{next(NUMBERS)}",
                "bookworm",
                tunnelled("bookworm"),
                owner=lab.me(),
            )
        )
    return _hosts[0]


@pytest.mark.parametrize("python", pythons.VERSIONS)
def test_fabfile_of_a_team_uses_the_wheel(wheel, server, fab, tmp_path, python):
    if python not in pythons.found():
        pytest.skip(f"there is no python{python} here")
    team, venv, port = tmp_path / "team", tmp_path / "venv", 8000 + int(python[2:])
    team.mkdir()
    (team / "fabfile.py").write_text(FABFILE)
    (team / "fabric.yml").write_text(SETTINGS.format(port=port))

    def pip(*words):
        done = run(venv / "bin/pip", *words, "--quiet", "--disable-pip-version-check")
        assert done.returncode == 0, done.stderr

    def team_fab(*words, host=server, **options):
        return fab(host, *words, program=venv / "bin/fab", cwd=team, **options)

    def changes(*words):
        return [
            int(number) for number in re.findall(r"changed=(\d+) failed=0", team_fab(*words).stdout)
        ]

    assert run(pythons.found()[python], "-m", "venv", venv).returncode == 0
    pip("install", wheel, "-c", wheel.with_name("constraints.txt"))
    missing = team_fab("--list", host=None, check=False)
    assert missing.returncode == 1, missing.stderr
    assert missing.stderr.count("\n") == 1, missing.stderr
    pip(*missing.stderr.partition("pip ")[2].split())
    listed = team_fab("--list", host=None).stdout
    assert re.findall(r"^  ([\w-]+)", listed, re.M) == [
        "data-server",
        "greet",
        "lock-down",
        "receipt",
        "tunnel-setup",
    ]

    first = changes("data-server")
    assert len(first) == 3
    assert first[1] > 0
    assert str(port) in server.ssh("ufw status").stdout
    assert (
        "127.0.0.1:5432"
        in server.ssh("sshd -T -C user=jupyter,host=x,addr=x | grep permitopen").stdout
    )
    assert server.ssh("systemctl show -P MemoryMax jupyter").stdout == f"{600 << 20}\n"
    assert server.ssh("cat /etc/motd").stdout == "Ask the data team.\n"
    before = server.ssh("wc -l </root/receipt").stdout
    assert changes("data-server") == [0, 0, 0]
    assert changes("receipt", "lock-down", "tunnel-setup") == [0, 0]
    assert int(server.ssh("wc -l </root/receipt").stdout) == int(before) + 2


def test_an_empty_environment_takes_the_requirements_and_runs_fab(tmp_path):
    def checked(*words):
        done = run(*words, cwd=REPOSITORY, env=os.environ | {"PIP_NO_INPUT": "1"})
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    checked(sys.executable, "-m", "venv", tmp_path)
    install = ("install", "--quiet", "--no-compile", "--no-deps", "--require-hashes")
    checked(tmp_path / "bin/pip", *install, "-r", "requirements.txt")
    assert re.search(r"^ +full-setup +\w", checked(tmp_path / "bin/fab", "--list"), re.M)

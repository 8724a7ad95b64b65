"""Fixtures that several of the tests without a host share."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fabfile.kit import secret

from .hosts.fixtures import PLUGINS

pytest_plugins = ["tests.session", *PLUGINS]

REPOSITORY = Path(__file__).parents[1]
FAB = Path(sys.executable).with_name("fab")


@pytest.fixture
def cheap(monkeypatch):
    """Make password hashes fast; test_secret tests how slow they are otherwise."""
    monkeypatch.setattr(secret._scheme("argon2"), "default_rounds", 1)
    monkeypatch.setattr(secret._scheme("argon2"), "memory_cost", 64)
    monkeypatch.setattr(secret._scheme("sha512_crypt"), "default_rounds", 5000)  # as openssl does


@pytest.fixture(scope="session")
def fab_server():
    """A process that has imported everything and forks for each command line."""
    command = [sys.executable, "-m", "tests.fab_server"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=REPOSITORY, text=True, **pipes) as process:
        yield process
        process.stdin.close()


@pytest.fixture
def run_fab(fab_server):
    """Return a function that runs `fab` as a user without settings of their own.

    It takes the words of the command line, the environment to use instead, and the folder.
    """

    def run(*words, env=None, cwd=REPOSITORY):
        argv = [str(word) for word in (FAB, *words)]
        if env is None:
            env = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
            env |= {"COLUMNS": "80", "HOME": "/nonexistent"}
        request = json.dumps({"argv": argv, "env": env, "cwd": str(cwd)})
        print(request, file=fab_server.stdin, flush=True)
        answer = json.loads(fab_server.stdout.readline())
        return subprocess.CompletedProcess(argv, answer["status"], answer["out"], answer["err"])

    return run

"""The power fails while a change could lock everyone out, and no one is locked out.

The hosts have a real disk image, as an overlay in the page cache would lose nothing.
"""

import contextlib
import subprocess
import sys

from .fixtures.converged import USER_PASSWORD
from .fixtures.logins import CLOSED, DROP_IN, ROLLBACK, gets_in, is_calm
from .fixtures.operator import REPOSITORY

# `fab`, which stops before the login that verifies a change.
GATED = """
import sys, time
from fabric.main import program
from fabfile.kit.rollback import VerifyLogin

def hold(*_):
    print("at the gate", flush=True)
    time.sleep(600)

VerifyLogin.verify = hold
program.run(["fab", *sys.argv[1:]])
"""


@contextlib.contextmanager
def begun(host, operator, *words, **env):
    """Run `fab` during a block, up to its gate, and kill it at the end."""
    argv = [sys.executable, "-c", GATED, "-H", host.string, "-i", host.key, *words]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(argv, cwd=REPOSITORY, env=operator.env(**env), **options) as process:
        try:
            yield process
        finally:
            process.kill()


def test_power_cut_while_a_rollback_is_armed_locks_no_one_out(
    new_host, suite, prepared, operator, fab
):
    host = new_host(suite, prepared, disk="ext4:2G")
    host.settle()
    env = {"USER_PASSWORD": USER_PASSWORD}
    with begun(host, operator, "harden-ssh", **CLOSED | env) as run:
        assert "at the gate\n" in iter(run.stdout.readline, "")
        assert list((host.root / ROLLBACK).glob("*/complete"))
        assert not gets_in(host)
        host.power_cut()
    host.start()
    assert gets_in(host)
    assert is_calm(host)
    assert not (host.root / DROP_IN.lstrip("/")).exists()
    fab(host, "harden-ssh", env=env)
    assert gets_in(host)
    assert " changed=0 failed=0 " in fab(host, "harden-ssh", env=env).stdout

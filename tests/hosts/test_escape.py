"""Attacks from Jupyter on root, on other users and on the protection of Jupyter's unit.

`attacks.py` is the table of them, which docs/attacks.md shows.
"""

import base64
import contextlib
import json
import os
import re
import socket
import subprocess
import time
from pathlib import Path

import pytest
import websocket

from .attacks import BY_ANOTHER_USER, DIRECTORIES, IN_THE_UNIT, PATHS
from .fixtures.converged import USER_PASSWORD
from .fixtures.faults import instead_of
from .fixtures.hosts import NUMBERS
from .fixtures.logins import setting
from .visitor import PASSWORD, Visitor, eventually

PROGRAM = Path(__file__).with_name("attempts.py")
# An SSH login of the user to attack: with a key in the keyring, and a socket in /tmp.
VICTIM = """
import ctypes, os, socket, time
ctypes.CDLL(None).syscall(248, b"user", b"victim", b"secret", 6, -4)
line = socket.socket(socket.AF_UNIX)
line.bind("/tmp/victim.socket")
line.listen()
print(os.getpid(), flush=True)
time.sleep(3600)
"""
KERNEL = """
import subprocess, sys
subprocess.run([sys.executable, {!r}, {!r}], capture_output=True, text=True).stdout
"""
ADMIN = setting(admin__name="admin") | {"ADMIN_PASSWORD": USER_PASSWORD}
_hosts = {}


@pytest.fixture
def fortress(request, suite, lab, full_setup):
    """A converged server with an administrator and another user, shared by tests."""
    if suite not in _hosts:
        name = f"escape-{suite}-{os.getpid()}-{next(NUMBERS)}"
        layer = request.getfixturevalue("story").layer
        host = lab.up(name, suite, layer, owner=lab.me())
        more = "apt-get install -qy --no-install-recommends at >/dev/null"
        more += "; useradd -m -K HOME_MODE=0700 -s /bin/bash eve; mkdir /home/eve/notebooks"
        host.nsenter(f"{more}; echo x >/home/eve/notebooks/x.ipynb; chown -R eve: /home/eve")
        done = full_setup(host, **ADMIN)
        assert done.status == 0, done.text
        _hosts[suite] = host
    return _hosts[suite]


def visitor_of(host):
    """Return a visitor who is logged in."""
    visitor = Visitor(host.address, host.nsenter("cat /etc/remote-jupyter/tls/cert.pem").stdout)
    assert eventually(lambda: visitor.ask("GET", "/api").status == 200, 60)
    assert visitor.log_in(PASSWORD) == 302
    return visitor


@contextlib.contextmanager
def victims(host):
    """Start an SSH login of the user, and a process of another user; yield their process ids."""
    host.nsenter("cat >/usr/local/lib/victim.py", input=VICTIM)
    login = subprocess.Popen(
        host.ssh_argv("exec python3 /usr/local/lib/victim.py", user="jupyter"),
        stdout=subprocess.PIPE,
        text=True,
    )
    host.nsenter("systemd-run -q --unit=other -p User=eve sleep 3600")
    try:
        pid = int(login.stdout.readline())
        other = int(host.nsenter("systemctl show -P MainPID other").stdout)
        yield {"VICTIM": pid, "OTHER": other}
    finally:
        login.kill()
        login.communicate()
        host.nsenter(
            f"kill {pid}; systemctl stop other;"
            " rm -f /tmp/victim.socket /usr/local/lib/victim.py; crontab -u jupyter -r; :",
            check=False,
        )


def planted(host, attacks, values, folder="/home/jupyter/notebooks", owner="jupyter"):
    """Put the program and its attacks onto the host; return the words that run it."""
    values = values | {"attacks": {attack.name: attack.code for attack in attacks}}
    host.nsenter(f"cat >{folder}/attempts.py", input=PROGRAM.read_text())
    host.nsenter(f"cat >{folder}/attacks.json", input=json.dumps(values))
    host.nsenter(f"chown {owner}: {folder}/attempts.py {folder}/attacks.json")
    return f"{folder}/attempts.py", f"{folder}/attacks.json"


def results(output):
    """Return the results of the program in *output*."""
    return json.loads(output.replace("\r", "").split("BEGIN\n")[-1].split("\nEND")[0])


def wrong(results, attacks):
    """Return the attacks that were not stopped as the table says, with their results."""
    assert {*results} == {attack.name for attack in attacks}
    return {
        attack.name: results[attack.name]
        for attack in attacks
        if results[attack.name] == "succeeded" or not re.search(attack.says, results[attack.name])
    }


def from_a_kernel(visitor, words):
    """Run the program in a kernel."""
    [path, values] = words
    with visitor.kernel() as run:
        # The kernel shows the output as a literal.
        return results(eval(run(KERNEL.format(path, values))))


def from_a_terminal(visitor, words):
    """Run the program in a terminal."""
    shell = f'python3 {words[0]} {words[1]} | base64 -w 0 >/tmp/out; echo ":$(cat /tmp/out):"\r'
    shown = visitor.type_in_terminal(shell, until=":\r\n")
    return results(base64.b64decode(re.search(r":([\w+/=]{200,}):", shown)[1]).decode())


def test_no_attack_on_the_unit_succeeds(fortress):
    visitor = visitor_of(fortress)
    with victims(fortress) as values:
        words = planted(fortress, IN_THE_UNIT, values)
        assert wrong(from_a_kernel(visitor, words), IN_THE_UNIT) == {}
        assert wrong(from_a_terminal(visitor, words), IN_THE_UNIT) == {}
        outside = results(fortress.ssh(f"python3 {' '.join(words)}", user="jupyter").stdout)
    # They are real attacks: where the unit does not stop them, they succeed.
    control = {attack.name: outside[attack.name] for attack in IN_THE_UNIT if attack.outside}
    assert {*control.values()} == {"succeeded"}, control


def test_no_attack_of_another_user_succeeds(fortress):
    visitor = visitor_of(fortress)
    pid = int(fortress.nsenter("systemctl show -P MainPID jupyter").stdout)
    with visitor.started("kernels", "id") as kernel:
        file = f"/home/jupyter/.local/share/jupyter/runtime/kernel-{kernel}.json"
        assert eventually(
            lambda: fortress.nsenter(["test", "-s", file], check=False).returncode == 0
        )
        known = json.loads(fortress.nsenter(["cat", file]).stdout)
        port = known["iopub_port"]
        iopub = f"{known['ip']}-{port}" if known["transport"] == "ipc" else port
        values = {"JUPYTER": pid, "IOPUB": iopub}
        words = planted(fortress, BY_ANOTHER_USER, values, "/home/eve", "eve")
        done = fortress.nsenter(["runuser", "-u", "eve", "--", "python3", *words])
    assert wrong(results(done.stdout), BY_ANOTHER_USER) == {}


def test_no_attack_from_the_network_succeeds(fortress):
    visitor = visitor_of(fortress)
    assert visitor.ask("GET", "/api/contents", Host="evil.example").status >= 400
    cookies = visitor.cookies.copy()
    visitor.cookies.pop("_xsrf")
    assert visitor.ask("POST", "/api/terminals", "{}").status == 403
    visitor.cookies = cookies
    with visitor.started("terminals", "name") as name:
        with pytest.raises(websocket.WebSocketBadStatusException):
            visitor.websocket(f"/terminals/websocket/{name}", origin="https://evil.example")
    with pytest.raises(OSError):
        socket.create_connection((fortress.address, 8888), timeout=2)


# Each plants something at $P.
HOSTILE = {
    "pipe": "mkfifo $P",
    "endless": "truncate -s 1T $P",
}


# Directories, and what is in them, in two rounds.
ROUNDS = (
    [path for path in PATHS if path not in DIRECTORIES],
    [path for path in DIRECTORIES if path != ".jupyter"],
)


@contextlib.contextmanager
def all_replaced(host, paths, plant):
    """Replace all *paths* below Jupyter's home during a block."""
    with contextlib.ExitStack() as stack:
        for path in paths:
            text = f"mkdir -p ${{P%/*}}; {plant}; chown -h jupyter: $P"
            stack.enter_context(instead_of(host, f"/home/jupyter/{path}", text))
        yield


@pytest.mark.parametrize("kind", HOSTILE)
def test_no_file_in_the_home_hangs_a_run(fortress, kind, full_setup):
    # All questions of a run go in one batch, so that each of the files has its chance.
    for paths in ROUNDS:
        with all_replaced(fortress, paths, HOSTILE[kind]):
            began = time.monotonic()
            done = full_setup(fortress, "--dry", **ADMIN)
            seconds = time.monotonic() - began
        assert seconds < 60
        assert "Traceback" not in done.text
        # It names the first resource that is wrong.
        assert re.search("failed +[A-Z]", done.text), done.text


def test_no_link_in_the_home_leads_a_run_outside(fortress, full_setup):
    fortress.nsenter("mkdir -p /root/target && cp -a /etc/shadow /root/target/file")
    before = state(fortress)
    link = "if [ -d $P.kept ]; then ln -s /root/target $P; else ln -s /root/target/file $P; fi"
    for paths in (*ROUNDS, [".config", ".local/bin", "bin"]):
        with all_replaced(fortress, paths, link):
            done = full_setup(fortress, **ADMIN)
            assert state(fortress) == before
        assert "Traceback" not in done.text
    assert full_setup(fortress, **ADMIN).status == 0


def state(host):
    """Return what is known of root's files that links lead to."""
    return host.nsenter("find /root/target -printf '%p %M %u:%g %s %T@\\n' | sort").stdout


# A `sudo` that answers as sudo's prompt does, and keeps what it is told.
STEAL = """
mkdir -p /home/jupyter/evil; cd /home/jupyter/evil
cat >sudo <<'END'
#!/bin/sh
for word in "$@"; do
    [ "$before" != -p ] || printf %s "$word" >&2
    before=$word
done
timeout 5 cat >>/home/jupyter/evil/stolen
END
chmod 755 sudo; chown -R jupyter: .
"""


@pytest.mark.parametrize("sudo", ["false", "true"])
def test_the_administrators_password_never_reaches_jupyters_account(fortress, fab, sudo):
    fortress.nsenter(STEAL)
    # Without `admin.name`, a run verifies the login of an account with `user.sudo`.
    named = {} if sudo == "true" else setting(admin__name="admin")
    port = 4445 if sudo == "true" else 4446
    env = setting(user__sudo=sudo, firewall__allow=port) | named | {"SUDO_PASSWORD": USER_PASSWORD}
    plant = "echo 'PATH=/home/jupyter/evil:$PATH' >$P; chown jupyter: $P"
    with all_replaced(fortress, (".bash_profile", ".bashrc"), plant):
        admin = type("Admin", (), {"string": f"admin@{fortress.address}", "key": fortress.key})
        done = fab(admin, "firewall", env=env, check=False)
    stolen = fortress.nsenter(
        "cat /home/jupyter/evil/stolen; rm -r /home/jupyter/evil", check=False
    )
    fortress.nsenter(f"ufw delete allow {port}/tcp")
    assert USER_PASSWORD not in stolen.stdout
    assert done.returncode == 0 or sudo == "true", done.stdout + done.stderr


# What a program of the environment does with the password that its user types for sudo.
TROJAN = "#!/bin/sh\nsudo -S -k id -u 2>&1\n"


def trojan(host):
    """Return what a changed program of the environment gets in an SSH login, with a password."""
    path = "/home/jupyter/jupyter-env/bin/escape"
    host.nsenter(f"cat >{path}; chmod 755 {path}; chown jupyter: {path}", input=TROJAN)
    # The password is right: it also needs the right to use sudo.
    host.nsenter("chpasswd", input=f"jupyter:{USER_PASSWORD}\n")
    return host.ssh(path, user="jupyter", input=f"{USER_PASSWORD}\n", check=False).stdout


def test_a_program_of_the_environment_cannot_become_root(fortress):
    assert "\n0\n" not in f"\n{trojan(fortress)}"
    kept = fortress.ssh("bash -lc 'echo $PATH'", user="admin").stdout.strip().split(":")
    assert not [folder for folder in kept if "jupyter" in folder]
    fortress.ssh(f"! find {' '.join(kept)} -user jupyter | grep .", user="admin")


def test_with_sudo_and_tmux_the_unit_still_stops_them(fortress, full_setup):
    more = setting(user__sudo="true", jupyter__runner="tmux") | {"USER_PASSWORD": USER_PASSWORD}
    done = full_setup(fortress, **ADMIN, **more)
    assert done.status == 0, done.text
    assert "admin.name keeps them apart" in done.text
    visitor = visitor_of(fortress)
    with victims(fortress) as values:
        words = planted(fortress, IN_THE_UNIT, values)
        assert wrong(from_a_kernel(visitor, words), IN_THE_UNIT) == {}
        assert wrong(from_a_terminal(visitor, words), IN_THE_UNIT) == {}
    # This is what docs/attacks.md calls possible.
    assert trojan(fortress).endswith("0\n")

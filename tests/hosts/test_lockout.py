"""Changes of SSH, sudo or the firewall are rolled back unless a new login was verified."""

import re
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from .base import SUITES
from .fixtures.converged import USER_PASSWORD
from .fixtures.logins import (
    CLOSED,
    DROP_IN,
    ROLLBACK,
    SUDO,
    as_user,
    gets_in,
    is_calm,
    setting,
    state,
)
from .fixtures.operator import BIN, REPOSITORY

# -- the way that works


def test_chain_survives_closing_the_login_of_root(new_host, suite, prepared, fab):
    host = new_host(suite, prepared)
    # As on a cloud's image, whose own drop-in would let passwords in.
    drop_in = "/etc/ssh/sshd_config.d/50-cloud-init.conf"
    cloud = f"echo PasswordAuthentication yes >{drop_in}; systemctl reload ssh"
    host.nsenter(cloud)
    tasks = ["create-user", "harden-ssh", "firewall", "install-apache"]
    done = fab(host, *tasks, env=CLOSED)
    assert len(re.findall("ok +Login jupyter", done.stdout)) == 2
    assert "not verified" not in done.stdout
    assert not gets_in(host)
    assert gets_in(host, "jupyter")
    assert is_calm(host)
    assert host.nsenter("systemctl is-active apache2 ufw", check=False).stdout.split() == [
        "active",
        "active",
    ]
    host.ssh("sudo -S -k id", "jupyter", input=USER_PASSWORD + "\n")
    *argv, where = host.ssh_argv(user="jupyter")
    offered = subprocess.run(
        [*argv, "-oPubkeyAuthentication=no", where], capture_output=True, text=True
    )
    assert "Permission denied (publickey)." in offered.stderr
    again = fab(
        [as_user(host)], "-i", host.key, *tasks, env=CLOSED | {"SUDO_PASSWORD": USER_PASSWORD}
    )
    assert "changed=0 failed=0  4 round trips" in again.stdout, again.stdout


# -- each fault


WRONG = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAID4j6BYAOVlKM4lPZWThsTSLvXoAiNQsSstz7q7VnACd grace@desk"
)


def test_wrong_key_rolls_back(door, fab):
    path = "/home/jupyter/.ssh/authorized_keys"
    door.nsenter(f"cp -p {path} /root/kept; echo '{WRONG}' >{path}")
    before = state(door)
    try:
        refused = fab(door, "harden-ssh", env=CLOSED, check=False)
        done = fab(door, "harden-ssh", env=SUDO, check=False)
    finally:
        door.nsenter(f"cp -p /root/kept {path}")
    # Root's login is closed only after another one has worked.
    assert "so root's login stays open; as jupyter: jupyter may not log in" in refused.stdout
    assert "Nothing was changed" in refused.stderr
    assert done.returncode == 1, done.stdout
    assert "rolled back  sshd" in done.stdout, done.stdout
    assert "jupyter may not log in with this key" in done.stdout
    assert state(door) == before
    assert gets_in(door)
    assert is_calm(door)


def test_wrong_sudo_password_rolls_back(door, fab):
    before = state(door)
    wrong = {"USER_PASSWORD": "not this"}
    refused = fab(door, "harden-ssh", env=CLOSED | wrong, check=False)
    assert "so root's login stays open; as jupyter: sudo does not accept" in refused.stdout
    done = fab(door, "harden-ssh", env=SUDO | wrong, check=False)
    assert done.returncode == 1, done.stdout
    assert "rolled back  sshd" in done.stdout, done.stdout
    assert "sudo does not accept this password for jupyter" in done.stdout
    assert state(door) == before
    assert gets_in(door)
    assert is_calm(door)


def test_wrong_password_is_no_proof_while_root_gets_in(door, fab):
    before = state(door)
    done = fab(door, "harden-ssh", env=SUDO | {"USER_PASSWORD": "not this"}, check=False)
    assert done.returncode == 1, done.stdout
    assert "rolled back  sshd" in done.stdout, done.stdout
    assert state(door) == before
    assert is_calm(door)


def test_unread_sshd_drop_in_is_found_before_reload(door, fab):
    later = "/etc/ssh/sshd_config.d/60-later.conf"
    door.nsenter(f"echo AllowUsers nobody >{later}")
    before = state(door)
    try:
        done = fab(door, "harden-ssh", check=False)
        assert done.returncode == 1
        assert f"sshd has not read {later} since it changed" in done.stdout
        assert "Nothing was changed" in done.stderr
        assert state(door) == before
        assert gets_in(door)
    finally:
        door.nsenter(f"rm {later}")


TEAM = """
from fabric import task
from remote_jupyter import harden_ssh
from remote_jupyter.kit.resources import File
from remote_jupyter.kit.rollback import Rollback, VerifyLogin
from remote_jupyter.resources import UfwEnabled, UfwRule
from remote_jupyter.resources.sshd import RELOAD, ROLLBACK
from remote_jupyter.settings import setup
from remote_jupyter.tasks.firewall import FILES, RESTORE_STATE, SAVE_STATE

FIREWALL = Rollback("firewall", FILES, RESTORE_STATE, 20, SAVE_STATE)
LOCKED_OUT = "%sudo ALL=(ALL) !ALL\\n"
SUDO = {"mode": "0440", "check": "visudo -cf {}"}

@setup()
def without_ssh(c, s):
    yield UfwRule(80, rollback=FIREWALL)
    yield UfwEnabled(rollback=FIREWALL)

@setup()
def sshd_with_nonsense(c, s):
    path = "/etc/ssh/sshd_config.d/01-team.conf"
    rollback = Rollback("sshd", (path,), ROLLBACK)
    yield File(path, "Nonsense yes\\n", check="sshd -t", notify=RELOAD, rollback=rollback)

@setup()
def sshd_edited_by_another(c, s):
    yield File("/etc/ssh/sshd_config.d/60-later.conf", "AllowUsers nobody\\n")
    yield from harden_ssh.body(c, s)

@setup()
def file_written_by_another(c, s):
    yield File("/etc/theirs.conf", "theirs\\n")
    yield File("/etc/theirs.conf", "# Made by remote-jupyter\\n")

@setup()
def sudo_by_two_files(c, s):
    for path in ("/etc/sudoers.d/aa", "/etc/sudoers.d/zz"):
        yield File(path, LOCKED_OUT, mode="0440", rollback=Rollback("sudo", (path,)))
    yield VerifyLogin("jupyter")

@setup()
def sudo_with_a_syntax_error(c, s):
    path = "/etc/sudoers.d/team"
    yield File(path, "jupyter ALL=(ALL NOPASSWD\\n", **SUDO, rollback=Rollback("sudo", (path,)))

@setup()
def sudo_without_users(c, s):
    path = "/etc/sudoers.d/team"
    yield File(path, LOCKED_OUT, **SUDO, rollback=Rollback("sudo", (path,)))
    yield VerifyLogin("jupyter")
"""


@pytest.fixture
def team(tmp_path, fab):
    """Run a task of a team's own fabfile, which is `TEAM`."""
    (tmp_path / "fabfile.py").write_text(TEAM)
    (tmp_path / "remote_jupyter").symlink_to(REPOSITORY / "fabfile")

    def run(host, *words, **env):
        return fab(host, *words, env={"PYTHONPATH": str(tmp_path)} | env, check=False, cwd=tmp_path)

    return run


def test_firewall_without_ssh_rolls_back(door, team):
    before = state(door)
    done = team(door, "-t", "4", "without-ssh")
    assert done.returncode == 1, done.stdout
    assert "rolled back  firewall" in done.stdout or "the server does it" in done.stdout, (
        done.stdout + done.stderr
    )
    wait(lambda: is_calm(door), 40)
    assert state(door) == before
    assert gets_in(door)


def test_invalid_sshd_drop_in_changes_nothing(door, team):
    before = state(door)
    done = team(door, "sshd-with-nonsense")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Bad configuration option: Nonsense" in done.stdout, done.stdout + done.stderr
    assert state(door) == before
    assert gets_in(door)
    assert is_calm(door)


def test_sshd_drop_in_written_during_the_run_is_not_reloaded(door, team):
    later = "/etc/ssh/sshd_config.d/60-later.conf"
    before = state(door)
    try:
        done = team(door, "sshd-edited-by-another")
        assert done.returncode == 1, done.stdout + done.stderr
        assert f"sshd has not read {later} since it changed" in done.stdout
        assert door.nsenter(f"cat {later}").stdout == "AllowUsers nobody\n"
        assert gets_in(door)
    finally:
        door.nsenter(f"rm {later}; systemctl reload ssh")
    assert state(door) == before
    assert gets_in(door)
    assert is_calm(door)


def test_file_written_during_the_run_is_kept(door, team):
    done = team(door, "file-written-by-another")
    try:
        assert done.returncode == 1, done.stdout + done.stderr
        assert "/etc/theirs.conf has been written by someone else" in done.stdout
        assert door.nsenter("cat /etc/theirs.conf").stdout == "theirs\n"
    finally:
        door.nsenter("rm /etc/theirs.conf")


def test_two_rollbacks_of_one_name_both_run(door, team):
    before = state(door)
    done = team(as_user(door), "-i", door.key, "sudo-by-two-files", SUDO_PASSWORD=USER_PASSWORD)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.count("rolled back  sudo") == 2, done.stdout + done.stderr
    assert state(door) == before
    assert is_calm(door)


def test_invalid_sudoers_file_is_not_installed(door, team):
    before = state(door)
    done = team(door, "sudo-with-a-syntax-error")
    assert done.returncode == 1
    assert "syntax error" in done.stdout
    assert state(door) == before
    assert is_calm(door)


def test_sudoers_file_without_a_way_to_root_rolls_back(door, team):
    before = state(door)
    done = team(as_user(door), "-i", door.key, "sudo-without-users", SUDO_PASSWORD=USER_PASSWORD)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "rolled back  sudo" in done.stdout, done.stdout + done.stderr
    assert state(door) == before
    assert is_calm(door)
    door.ssh("sudo -S -k id", "jupyter", input=USER_PASSWORD + "\n")


def test_last_login_is_neither_locked_nor_removed(new_host, suite, prepared, fab):
    host = new_host(suite, prepared)
    env = CLOSED
    for last in (["lock-user"], ["remove-user", "--yes"]):
        done = fab(host, "harden-ssh", *last, env=env, check=False)
        assert done.returncode == 1, done.stdout
        assert "rolled back  lock" in done.stdout, done.stdout
        assert gets_in(host, "jupyter")
        assert not gets_in(host)
        assert is_calm(host)
        host.nsenter(f"rm {DROP_IN}; systemctl reload ssh")


# -- firewalls that are there already


def rules(host):
    """Return the firewall rules of the kernel, without counters."""
    return re.sub(
        r"\[\d+:\d+\]|^#.*$", "", host.nsenter("iptables-save; ip6tables-save").stdout, flags=re.M
    )


def test_rollback_restores_other_firewall_rules(door, operator):
    mine = "iptables -A INPUT -m state --state ESTABLISHED -j ACCEPT;"
    mine += " iptables -A INPUT -p tcp --dport 22 -j ACCEPT"
    door.nsenter(f"{mine}; iptables -P INPUT DROP")
    try:
        before, kept = state(door), rules(door)
        assert Cut(door, operator, 10, "firewall").after(0.7)
        wait(lambda: is_calm(door), 15)
        assert (state(door), rules(door)) == (before, kept)
        assert "-P INPUT DROP" in before
        assert gets_in(door)
    finally:
        door.nsenter("iptables -P INPUT ACCEPT; iptables -F INPUT")


def test_rollback_does_not_start_a_stopped_firewall(new_host, suite, prepared, operator):
    host = new_host(suite, prepared)
    host.nsenter("ufw allow 443/tcp; ufw --force enable; systemctl start ufw; systemctl stop ufw")
    before = state(host)
    assert gets_in(host)
    assert Cut(host, operator, 10, "firewall").after(0.2)
    wait(lambda: is_calm(host), 15)
    assert state(host) == before
    assert gets_in(host)
    assert "ENABLED=yes" in host.nsenter("cat /etc/ufw/ufw.conf").stdout


def test_every_sshd_port_stays_open(new_host, suite, prepared, fab):
    host = new_host(suite, prepared)
    host.nsenter(
        "printf 'Port 22\\nPort 2222\\n' >/etc/ssh/sshd_config.d/70-port.conf; systemctl reload ssh"
    )
    fab(host, "firewall", env=SUDO)
    other = type("Named", (), {"string": f"root@{host.address}:2222", "key": host.key})
    assert "changed=0 failed=0  1 round trip" in fab(other, "firewall").stdout
    assert gets_in(host)


# -- the put-back itself


def test_rollback_waits_for_a_slow_step(door, fab):
    before = state(door)
    wrapper = '#!/bin/sh\ncase $* in *enable) sleep 12;; esac\nexec /usr/sbin/ufw "$@"\n'
    door.nsenter("cat >/usr/local/sbin/ufw; chmod 755 /usr/local/sbin/ufw", input=wrapper)
    try:
        env = SUDO | setting(ssh__rollback_timeout=10)
        done = fab(door, "firewall", env=env, check=False)
        wait(lambda: is_calm(door), 30)
    finally:
        door.nsenter("rm /usr/local/sbin/ufw")
    assert done.returncode == 1, done.stdout
    assert "The server has rolled back firewall before a new login was verified" in done.stderr, (
        done.stdout
    )
    assert state(door) == before
    assert gets_in(door)


def test_rollback_on_a_full_disk_is_retried(new_host, suite, prepared, fab, operator):
    host = new_host(suite, prepared)
    host.small("/etc/ssh/sshd_config.d", "16k")
    fab(host, "harden-ssh", env=SUDO)
    before = state(host)
    assert Cut(host, operator, 10, "harden-ssh").after(0.5)
    host.nsenter("cat /dev/zero >/etc/ssh/sshd_config.d/filler", check=False)
    time.sleep(12)
    assert (host.root / ROLLBACK).exists()
    host.nsenter("rm /etc/ssh/sshd_config.d/filler")
    wait(lambda: is_calm(host), 15)
    assert state(host) == before
    assert gets_in(host)


# -- killed at any moment


def wait(until, seconds, host=None):
    """Wait until *until* says so; fails after *seconds*, with what *host* says of its put-backs."""
    limit = time.monotonic() + seconds
    while not until():
        if time.monotonic() > limit:
            log = (
                host.nsenter("journalctl --no-pager -n 40 -u 'remote-jupyter-rollback*'").stdout
                if host
                else ""
            )
            pytest.fail(f"not within {seconds} s\n{log}", pytrace=False)
        time.sleep(0.05)


class Cut:
    """A run that closes root's login, or changes the firewall, and is ended in the middle."""

    def __init__(self, host, operator, seconds, *tasks):
        self.host, self.seconds = host, seconds
        env = operator.env(**CLOSED, **setting(ssh__rollback_timeout=seconds))
        argv = [
            BIN / "fab",
            "-H",
            host.string,
            "-i",
            host.key,
            *(tasks or ("harden-ssh", "firewall")),
        ]
        self.process = subprocess.Popen(
            argv, cwd=REPOSITORY, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def after(self, delay):
        """Kill it *delay* seconds after a rollback was armed; return whether it still was."""
        armed = self.host.root / ROLLBACK
        wait(lambda: list(armed.glob("*/complete")), 60)
        time.sleep(delay)
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        return armed.exists()


def test_killed_operator_rolls_back_in_time(prepare, new_host, operator):
    # Two hosts of each release side by side, five moments on each: the timer is what takes long.
    hosts = [
        (new_host(suite, prepare(suite)), task)
        for suite in SUITES
        for task in ("harden-ssh", "firewall")
    ]

    def five(host, task):
        before, kills = state(host), 0
        for step in range(5):
            delay, armed = step * {"harden-ssh": 0.15, "firewall": 0.4}[task], False
            while not armed:
                armed = Cut(host, operator, 10, task).after(delay)
                if (
                    not armed
                ):  # it was quicker, and all was proved: undo it, and end the next one earlier
                    delay /= 2
                    host.nsenter(
                        f"rm -f {DROP_IN}; systemctl reload ssh; ufw --force reset;"
                        " rm -f /etc/ufw/*rules.*_*"
                    )
                    before = state(host)
            wait(lambda: gets_in(host) and is_calm(host), 10 + 5, host)
            assert state(host) == before, (
                f"{host.suite}, killed {delay:.2f} s after the first change of {task}"
            )
            kills += 1
        return kills

    with ThreadPoolExecutor() as pool:
        assert list(pool.map(five, *zip(*hosts, strict=True))) == [5] * len(hosts)


def test_next_run_rolls_back_a_killed_one_first(new_host, suite, prepared, operator, fab):
    host = new_host(suite, prepared)
    assert Cut(host, operator, 3600).after(0.05)
    env = CLOSED | setting(ssh__rollback_timeout=3600)
    env |= {"SUDO_PASSWORD": USER_PASSWORD}  # whether root still gets in depends on the moment
    foretold = fab(
        as_user(host), "-i", host.key, "--dry", "harden-ssh", env=env, check=False
    ).stdout
    assert "rolls back   sshd" in foretold
    done = fab(as_user(host), "-i", host.key, "harden-ssh", "firewall", env=env).stdout
    assert "rolled back  sshd: changed by an earlier run" in done
    assert "Login jupyter" in done
    assert is_calm(host)
    assert gets_in(host, "jupyter")
    assert not gets_in(host)


def test_cut_cable_and_reboot_do_not_lock_out(new_host, suite, prepared, operator):
    host = new_host(suite, prepared)
    before = state(host)
    run = Cut(host, operator, 3600)
    wait(lambda: list((host.root / ROLLBACK).glob("*/complete")), 60)
    host.cut()
    time.sleep(1)
    run.process.kill()
    host.plug()
    assert (host.root / ROLLBACK).exists()
    host.reboot()
    assert gets_in(host)
    assert is_calm(host)
    assert state(host) == before


def test_vanished_operator_blocks_the_next_run_for_a_minute_only(
    new_host, suite, prepared, operator, fab
):
    host = new_host(suite, prepared)
    wrapper = '#!/bin/sh\ncase $* in *enable) sleep 20;; esac\nexec /usr/sbin/ufw "$@"\n'
    host.nsenter("cat >/usr/local/sbin/ufw; chmod 755 /usr/local/sbin/ufw", input=wrapper)
    run = Cut(host, operator, 10, "firewall")
    wait(lambda: list((host.root / ROLLBACK).glob("*/complete")), 60)
    # As a machine that sleeps or hangs: its connection stays, and it says nothing more.
    run.process.send_signal(signal.SIGSTOP)
    host.nsenter("rm /usr/local/sbin/ufw")
    started = time.monotonic()
    try:
        done = fab(host, "firewall", env=SUDO)
    finally:
        run.process.kill()
        run.process.wait()
    assert "another run is changing this host" in done.stdout
    assert time.monotonic() - started < 120  # it was 10 minutes, and then an error
    assert "has not answered for 45 s" in done.stdout
    assert is_calm(host)

"""What undoes a change that locks out, as far as no host is needed; tests/hosts/test_lockout.py has the rest."""

import shutil
import subprocess
from types import SimpleNamespace

import pytest
from invoke import Config

from fabfile import create_user, firewall, harden_ssh
from fabfile.kit.errors import NoPassword, RemoteError, Unreachable
from fabfile.kit.rollback import ARMED, DISARM, LEFT, NOW, PUT_BACK, Rollback, VerifyLogin
from fabfile.kit.shell import Answer
from fabfile.settings import schema

C = SimpleNamespace(config=Config(), host="example.org", port=22, user="root", connect_kwargs={})


def body(task, *settings):
    """What a task yields with these settings."""
    loaded = schema.load(C, dict(setting.split("=", 1) for setting in settings))
    return [part for part in task.body(C, loaded) if type(part).__name__ != "Section"]


def test_a_firewall_that_is_not_wanted_is_neither_opened_nor_closed():
    assert body(firewall, "firewall.enabled=false") == []


@pytest.mark.parametrize("task", [firewall, harden_ssh, create_user])
def test_what_could_lock_out_is_guarded_and_proved_at_the_end(task):
    parts = body(task, "ssh.rollback_timeout=77")
    guards = [part.rollback for part in parts if getattr(part, "rollback", None)]
    assert guards
    assert {rollback.seconds for rollback in guards} == {77}
    assert isinstance(parts[-1], VerifyLogin)
    assert parts[-1].user == "jupyter"


def test_every_script_of_a_guard_is_posix_shell():
    arm = Rollback("x", ("/etc/a b", "/etc/c"), "echo 'it is'", 60, "iptables-save >v4").arm()
    for text in (arm, PUT_BACK, NOW, DISARM, LEFT):
        assert not subprocess.run(
            [shutil.which("dash") or "sh", "-n"], input=text.encode()
        ).returncode


def test_guards_of_one_name_keep_their_files_apart_and_are_told_by_that_name():
    one, other = Rollback("sudo", ("/etc/sudoers.d/a",)), Rollback("sudo", ("/etc/sudoers.d/b",))
    assert one.folder != other.folder
    assert ARMED.findall(f"{one.folder}/complete\n{other.folder}/complete\n") == ["sudo", "sudo"]


MADE = "jupyter:x:1000:1000:made by remote-jupyter:/home/jupyter:/bin/bash"
REFUSED, UNKNOWN = Unreachable("may not log in"), NoPassword("sudo asks")


@pytest.mark.parametrize(
    ("account", "made", "fails", "proved"),
    [
        (MADE, "made by", {}, "jupyter"),
        ("", "made by", {}, "root"),  # there is no such user
        (
            MADE,
            "made by",
            {"jupyter": REFUSED},
            None,
        ),  # it should work, and root's login is no proof of it
        (MADE, "made by", {"jupyter": UNKNOWN}, "root"),  # nobody told its password
        (MADE, "", {"jupyter": REFUSED}, "root"),  # the keys are other people's
        (
            MADE.replace("made by", "by"),
            "made by",
            {"jupyter": REFUSED},
            "root",
        ),  # nor did we make that account
        (MADE, "made by", {"jupyter": UNKNOWN, "root": REFUSED}, None),
    ],
)
def test_a_login_is_proved_by_the_user_it_is_for_where_that_can_be_tried(
    monkeypatch, account, made, fails, proved
):
    def attempt(self, c, user):
        if user in fails:
            raise fails[user]

    monkeypatch.setattr(VerifyLogin, "attempt", attempt)
    answer = Answer(0 if account else 2, account, "")
    shell = SimpleNamespace(connection=C, batch=lambda steps: [answer])
    login = VerifyLogin("jupyter", made=made)
    if proved:
        user, why = login.verify_login(shell)
        assert user == proved
        assert bool(why) == bool(fails)
    else:
        with pytest.raises(RemoteError, match="as jupyter: "):
            login.verify_login(shell)

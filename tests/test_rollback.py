"""Rollbacks and login checks without a host; tests/hosts/test_lockout.py has the rest."""

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from fabric import Config, Connection

from fabfile import create_user, firewall, harden_ssh
from fabfile.kit.errors import PasswordMissing, RemoteError, Unreachable
from fabfile.kit.ledger import Ledger, Notes
from fabfile.kit.rollback import Rollback, VerifyLogin
from fabfile.kit.shell import Answer
from fabfile.settings import schema

C = Connection("root@example.org", config=Config())


def body(task, *settings):
    """What a task yields with these settings."""
    loaded = schema.load(C, dict(setting.split("=", 1) for setting in settings))
    return [part for part in task.body(C, loaded) if type(part).__name__ != "Section"]


def test_firewall_off_leaves_ufw_alone():
    assert body(firewall, "firewall.enabled=false") == []


@pytest.mark.parametrize("task", [firewall, harden_ssh, create_user])
def test_risky_changes_have_a_rollback_and_a_login_check(task):
    parts = body(task, "ssh.rollback_timeout=77")
    guards = [part.rollback for part in parts if getattr(part, "rollback", None)]
    assert guards
    assert {rollback.seconds for rollback in guards} == {77}
    assert isinstance(parts[-1], VerifyLogin)
    assert parts[-1].user == ""  # as the present login
    for settings, user in (("admin.name=ada", "ada"), ("user.sudo=yes", "jupyter")):
        assert body(task, settings)[-1].user == user


@pytest.fixture
def ledger(tmp_path):
    """The notes of a server, in a folder of the test."""
    return Ledger(*(str(tmp_path / name) for name in ("run", "lib", "units")))


@pytest.fixture
def run(tmp_path):
    """Run shell text on a machine whose systemd starts no timer; returns what it printed."""
    for name in ("systemctl", "systemd-run"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text("#!/bin/sh\n[ $1 != is-active ]\n")
        program.chmod(0o755)

    def run(*texts, check=True):
        text = "\n".join(f"( {text}\n) || exit" for text in texts)
        env = os.environ | {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
        done = subprocess.run(["sh", "-c", text], capture_output=True, text=True, env=env)
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout

    return run


class TestArmed:
    @pytest.fixture
    def file(self, tmp_path):
        """A file of the server, which a run is about to change."""
        path = tmp_path / "etc" / "a file"
        path.parent.mkdir()
        path.write_text("before\n")
        return path

    @pytest.fixture
    def armed(self, ledger, run, file, tmp_path):
        """Arm a rollback of the file and of one that does not exist yet, and change both."""
        new = file.parent / "new"
        rollback = Rollback("sshd", (str(file), str(new)), f"echo back >>'{tmp_path}/traces'")
        run(ledger.arm(rollback))
        for path in (file, new):
            path.write_text("after\n")
        return Path(ledger.state, "rollback", rollback.folder)

    def notes(self, ledger, run):
        return ledger.parse(run(ledger.list()))

    def test_it_restores_what_was_there(self, ledger, run, file, armed, tmp_path):
        assert self.notes(ledger, run).armed == ("sshd",)
        assert run(ledger.roll_back()) == "restored sshd\n"
        assert file.read_text() == "before\n"
        assert not (file.parent / "new").exists()
        assert (tmp_path / "traces").read_text() == "back\n"
        assert not armed.exists()
        assert list(Path(ledger.units).rglob("*.service")) == []

    def test_it_stays_armed_as_it_was(self, ledger, run, file, armed, tmp_path):
        paths = (str(file), str(file.parent / "new"))
        run(ledger.arm(Rollback("sshd", paths, f"echo back >>'{tmp_path}/traces'")))
        run(ledger.roll_back())
        assert file.read_text() == "before\n"

    def test_a_verified_change_stays(self, ledger, run, file, armed):
        run(ledger.disarm())
        assert run(ledger.roll_back()) == ""
        assert file.read_text() == "after\n"
        assert self.notes(ledger, run) == Notes()

    def test_the_server_tells_what_it_did_by_itself(self, ledger, run, armed):
        run(f"sh '{armed.parent}/restore'")
        [told] = self.notes(ledger, run).rolled_back
        assert told.startswith("sshd 20")
        assert run(ledger.disarm(), check=False) == ""

    def test_two_of_one_name_keep_their_files_apart(self, ledger, run, tmp_path):
        for name in "ab":
            run(ledger.arm(Rollback("sudo", (str(tmp_path / name),))))
            (tmp_path / name).touch()
        assert run(ledger.roll_back()) == "restored sudo\n" * 2
        assert not (tmp_path / "a").exists()
        assert not (tmp_path / "b").exists()

    @pytest.mark.parametrize("name", ["complete", "paths", "back", "files"])
    def test_what_a_power_cut_emptied_is_discarded(self, ledger, run, file, armed, name):
        for path in [armed / name, *(armed / name).rglob("*")]:
            if path.is_file():
                path.write_bytes(b"")
        assert self.notes(ledger, run).damaged == ("sshd",)
        assert run(ledger.roll_back()) == "damaged sshd\n"
        assert file.read_text() == "after\n"
        assert not armed.exists()

    def test_what_is_damaged_is_armed_anew(self, ledger, run, file, armed):
        (armed / "complete").write_bytes(b"")
        file.write_text("now\n")
        run(ledger.arm(Rollback("sshd", (str(file), str(file.parent / "new")), "x=1")))
        file.write_text("wrong\n")
        assert "restored sshd" in run(ledger.roll_back())
        assert file.read_text() == "now\n"

    def test_only_root_reads_its_folders(self, ledger, armed):
        assert Path(ledger.state).stat().st_mode & 0o777 == 0o700

    def test_a_link_is_refused(self, ledger, run, tmp_path):
        (tmp_path / "link").symlink_to("elsewhere")
        arm = ledger.arm(Rollback("sshd", (str(tmp_path / "link"),)))
        assert run(f"{arm}\necho changed", check=False) == ""


MADE = "jupyter:x:1000:1000:made by remote-jupyter:/home/jupyter:/bin/bash"
REFUSED, UNKNOWN = Unreachable("may not log in"), PasswordMissing("sudo asks")


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
        (MADE, "made by", {"jupyter": UNKNOWN}, "root"),  # its password is unknown
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
def test_the_login_is_verified_as_its_own_user_if_possible(
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
        user, why = login.verify(shell)
        assert user == proved
        assert bool(why) == bool(fails)
    else:
        with pytest.raises(RemoteError, match="as jupyter: "):
            login.verify(shell)

"""Odd names and passwords are never executed; passwords and their hashes are never shown."""

import contextlib
import json
import os
import threading
from pathlib import Path

import pytest

import fabfile
from fabfile.kit.task import SetupTask

from .fixtures.hosts import Server
from .releases import on
from .visitor import Visitor

HOME = "/home/jupyter"
TRAP = """'"$(touch /tmp/pwned)`touch /tmp/pwned`${HOME};touch /tmp/pwned;\\n%s%n#&|<*>~!{a,b}"""
CERTIFICATE = "/etc/remote-jupyter/tls/cert.pem"


@pytest.fixture
def fab_forks():
    """None: each `fab` is a program with the passwords in its own environment."""


def visitor(host):
    """Return a visitor who trusts the certificate of the host."""
    return Visitor(host.address, host.nsenter(["cat", CERTIFICATE]).stdout)


def test_passwords_and_folders_may_hold_any_character(used, full_setup, fab):
    web, own = f"Grüße aus 東京 {TRAP}", f" ß{TRAP} "
    folder = f"/srv/Meine Bücher %h {TRAP.replace('/', '')} ü"
    odd = {
        "JUPYTER_PASSWORD": web,
        "ADMIN_PASSWORD": own,
        "FABRIC_REMOTE_JUPYTER_JUPYTER_NOTEBOOK_DIR": folder,
    }
    run = full_setup(used, **odd)
    assert run.status == 0, run.text
    assert full_setup(used, **odd).is_calm

    one = visitor(used)
    assert one.log_in(web[:-1]) == 401
    assert one.log_in(web) == 302
    text = json.dumps({"type": "file", "format": "text", "content": "Grüße"})
    assert (
        one.ask(
            "PUT", "/api/contents/n%C3%B6te.txt", text, **{"Content-Type": "application/json"}
        ).status
        == 201
    )
    assert (used.root / folder[1:] / "nöte.txt").read_text() == "Grüße"
    assert one.compute("import os; os.getcwd()") == repr(folder)
    sudo = used.ssh("sudo -S -p '' id -u", user="admin", input=f"{own}\n")
    assert sudo.stdout == "0\n"
    admin = Server(f"admin@{used.address}", used.key)
    assert full_setup(admin, SUDO_PASSWORD=own, **odd).is_calm

    back = full_setup(used)
    assert back.status == 0
    assert "LoadedSettings jupyter" in back.changed
    assert full_setup(used).is_calm
    assert visitor(used).log_in(web) == 401
    assert "pwned" not in used.nsenter("find / -xdev -name 'pwned*'; find /tmp /var/tmp").stdout
    assert not Path("/tmp/pwned").exists()


# -- secrets

# Stands before every program of root's, and notes what it was started with.
WATCH = """#!/bin/sh
{ printf '%s\\n' "$0" "$@"; /usr/bin/env; } >>/var/tmp/watched
for folder in /usr/sbin /usr/bin; do [ ! -x $folder/${0##*/} ] || exec $folder/${0##*/} "$@"; done
"""
WATCH_ALL = """
cat >/var/tmp/watch; chmod 755 /var/tmp/watch; touch /var/tmp/watched; chmod 666 /var/tmp/watched
for program in /usr/sbin/* /usr/bin/*; do
    [ -e /usr/local/sbin/${program##*/} ] || ln -s /var/tmp/watch /usr/local/sbin/${program##*/}
done
"""
UNWATCH = "find /usr/local/sbin -lname /var/tmp/watch -delete;"
UNWATCH += " mv /var/tmp/watched /root/; rm /var/tmp/watch"


@contextlib.contextmanager
def all_processes():
    """Collect the words and the environment of every process of this machine and of its hosts."""
    seen, over = set(), threading.Event()

    def watch():
        while not over.wait(0.002):
            for process in filter(str.isdigit, os.listdir("/proc")):
                for part in ("cmdline", "environ"):
                    with contextlib.suppress(OSError):
                        seen.add(Path("/proc", process, part).read_bytes())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def test_passwords_and_hashes_stay_in_their_own_files(used, task, tmp_path):
    names = ("JUPYTER_PASSWORD", "USER_PASSWORD", "SUDO_PASSWORD")
    passwords = {name: f"canary-{name.lower()}-{tmp_path.name}" for name in names}
    env = {}
    for name, password in passwords.items():
        (tmp_path / name).write_text(f"{password}\n")
        env[f"{name}_FILE"] = str(tmp_path / name)
    used.nsenter("chpasswd", input=f"admin:{passwords['SUDO_PASSWORD']}\n")
    used.nsenter("touch /root/began; sleep 0.1")
    used.nsenter(WATCH_ALL, input=WATCH)
    try:
        with all_processes() as seen:
            run = task(Server(f"admin@{used.address}", used.key), "full-setup", "--verbose", **env)
    finally:
        used.nsenter(UNWATCH)
    assert run.status == 0, run.text
    assert run.changed == {"User jupyter", f"PasswordFile {HOME}/.jupyter/password-hash"}
    assert visitor(used).log_in(passwords["JUPYTER_PASSWORD"]) == 302

    shadow = used.nsenter("getent shadow jupyter").stdout.split(":")[1]
    argon = used.nsenter(["cat", f"{HOME}/.jupyter/password-hash"]).stdout.strip()
    assert shadow.startswith("$6$")
    assert argon.startswith("argon2:$argon2id$")
    hashes = [shadow.rpartition("$")[2], argon.rpartition("$")[2]]
    words = [*passwords.values(), *hashes]
    shows_nowhere(used, words, run.text + json.dumps(run.report), seen)
    watched = used.nsenter("cat /root/watched; rm /root/watched").stdout
    assert "chpasswd" in watched
    assert [word for word in words if word in watched] == []
    holders = {"/etc/shadow", f"{HOME}/.jupyter/password-hash"}
    assert files_with(used, words) == holders
    assert files_with(used, passwords.values()) == set()
    modes = {name: used.nsenter(["stat", "-c", "%a %U", name]).stdout.strip() for name in holders}
    assert modes == {"/etc/shadow": "640 root", f"{HOME}/.jupyter/password-hash": "600 jupyter"}


def shows_nowhere(host, words, said, seen):
    """Check that no word is in the output, in a process of either side or in the journal."""
    assert [word for word in words if word in said] == []
    assert [word for word in words if any(word.encode() in text for text in seen)] == []
    journal = host.nsenter("journalctl -q -o export --all").stdout
    assert len(journal) > 10000
    assert [word for word in words if word in journal] == []


def files_with(host, words):
    """Return the files changed since /root/began that contain one of *words*."""
    find = "{ find / -xdev -newer /root/began -type f; find /run /tmp -type f; } 2>/dev/null"
    grep = f"cat >/dev/shm/words; {find} | tr '\\n' '\\0'"
    grep += " | xargs -0 grep -lasFf /dev/shm/words | sort -u; rm /dev/shm/words"
    return set(host.nsenter(grep, input="\n".join(words) + "\n").stdout.split()) - {
        "/dev/shm/words"
    }


PLANNED = sorted(name for name in fabfile.ns.task_names if isinstance(fabfile.ns[name], SetupTask))
DONE = [
    "create-user",
    "lock-user",
    "--unlock",
    "set-password",
    "--no-prompt",
    "configure-jupyter",
    "configure-apache",
]
DONE += ["firewall", "harden-ssh", "cert-status", "status", "restart", "verify"]
# None is a password that is right.
FAILING = [
    ["harden-ssh"],
    ["copy-ssh-key"],
    ["copy-ssh-key", "create-user"],
    ["set-password", "--no-prompt"],
    ["verify"],
]


@on("trixie")
def test_no_task_shows_a_password(used, fab, tmp_path):
    def marked(kind):
        env = {}
        for name in ("JUPYTER_PASSWORD", "USER_PASSWORD", "SUDO_PASSWORD", "LOGIN_PASSWORD"):
            words.append(f"{kind}-{name.lower()}-{tmp_path.name}")
            (tmp_path / f"{kind}-{name}").write_text(words[-1])
            env[f"{name}_FILE"] = str(tmp_path / f"{kind}-{name}")
        return env

    words, ends = [], []
    right, wrong = marked("right"), marked("wrong")
    keyless = Server(f"jupyter@{used.address}")
    used.nsenter("touch /root/began; sleep 0.1")
    with all_processes() as seen:
        ends += [fab(used, "--dry", task, "--verbose", env=right, check=False) for task in PLANNED]
        ends.append(fab(used, *DONE, env=right, check=False))
        ends += [
            fab(Server(keyless.string, used.key), *task, env=wrong, check=False)
            for task in FAILING
            if "copy" not in task[0]
        ]
        ends += [fab(keyless, *task, env=wrong, check=False) for task in FAILING]
    assert ends[len(PLANNED)].returncode == 0, ends[len(PLANNED)].stdout + ends[len(PLANNED)].stderr
    assert [end.args for end in ends[len(PLANNED) + 1 :] if end.returncode not in (1, 2)] == []
    said = "".join(end.stdout + end.stderr for end in ends)
    assert "Traceback" not in said
    shows_nowhere(used, words, said, seen)
    assert files_with(used, words) == set()

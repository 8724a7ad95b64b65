"""Faults before the first change: each ends in one clear error and changes nothing."""

import subprocess
import time
from pathlib import Path

import pytest

from .fixtures.faults import instead_of, is_no_connection, is_one_refusal, nothing_changes
from .fixtures.hosts import Server
from .releases import on

HOME = "/home/jupyter"
APACHE = "/etc/apache2"
SITE = f"{APACHE}/sites-available/jupyter.conf"
TLS = "/etc/remote-jupyter/tls"
SUDO_MARKS = "/var/lib/sudo"


def public_key(key, **options):
    """Make a key of an operator's own."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True, **options
    )
    return Path(f"{key}.pub").read_text().strip()


# -- the way there


@on("trixie")
def test_unreachable_hosts_do_not_stop_the_others(bare, fab, lab):
    network = lab.network.subnet(lab.NETWORK)
    absent = Server(f"root@{lab.network.free_address(network, {bare.address})}", bare.key)
    closed = Server(f"{bare.string}:2222", bare.key)
    began = time.monotonic()
    done = fab([bare, absent, closed], "preflight", check=False)
    assert done.returncode == 1
    assert time.monotonic() - began < 20
    lines = {line.split()[0]: line for line in done.stderr.splitlines()}
    assert len(lines) == done.stderr.count("\n") == 2
    assert f"{absent.address} port 22" in lines[absent.address]
    assert "port 2222 refuses connections" in lines[f"{bare.address}:2222"]
    assert done.stdout.count(" preflight ") == done.stdout.count("  ok  ") > 5
    assert "3 hosts" in done.stdout


@on("bookworm")
def test_wrong_key_is_reported(bare, full_setup, tmp_path):
    public_key(tmp_path / "wrong")
    stranger = Server(bare.string, tmp_path / "wrong")
    with nothing_changes(bare):
        run = full_setup(stranger)
    assert is_no_connection(run, bare, "root may not log in with this key", "-i FILE")
    assert full_setup(bare, "--dry").status == 3


@on("trixie")
def test_changed_host_key_stops_before_login(bare, full_setup, operator, tmp_path):
    operator.known_hosts.write_text(f"{bare.address} {public_key(tmp_path / 'other')}\n")
    before = operator.known_hosts.read_bytes()
    logins = "journalctl -q -o cat _COMM=sshd + _COMM=sshd-session"
    logins += " | grep -cE 'Accepted|Failed|userauth|Invalid'"
    seen = bare.nsenter(logins, check=False).stdout
    run = full_setup(bare)
    advice = f"ssh-keygen -R '{bare.address}'"
    assert is_no_connection(
        run, bare, f"the host key of {bare.address} has changed", "SHA256:", advice
    )
    assert run.trips == 0
    assert operator.known_hosts.read_bytes() == before
    assert bare.nsenter(logins, check=False).stdout == seen
    # ssh-keygen asks the password database, and not HOME, where known_hosts is.
    subprocess.run(
        f"{advice} -f {operator.known_hosts}", shell=True, check=True, capture_output=True
    )
    assert [full_setup(bare, "--dry").status for _ in range(2)] == [3, 3]
    [line] = operator.known_hosts.read_text().splitlines()
    assert line.split()[2] in "".join(
        file.read_text() for file in (bare.root / "etc/ssh").glob("ssh_host_*.pub")
    )
    assert bare.nsenter(logins, check=False).stdout != seen


# -- the way to root


@pytest.fixture
def person(bare, tmp_path):
    """Create a user who may log in, with these groups: `person("sudo")` is their host string."""
    key = public_key(tmp_path / "key")

    def make(groups="users"):
        bare.nsenter(
            f"useradd -m -G {groups} -s /bin/sh ada; mkdir -p ~ada/.ssh;"
            f" echo '{key}' >~ada/.ssh/authorized_keys"
        )
        bare.nsenter("chpasswd", input="ada:right\n")
        return Server(f"ada@{bare.address}", tmp_path / "key")

    yield make
    bare.nsenter("userdel -rf ada; rm -rf /var/lib/sudo/lectured/*", check=False)


def test_wrong_or_missing_sudo_password_is_reported(bare, person, full_setup):
    ada = person("sudo")
    with nothing_changes(bare, but=SUDO_MARKS):
        wrong, none = full_setup(ada, SUDO_PASSWORD="wrong"), full_setup(ada)
    assert is_no_connection(
        wrong, bare, "sudo does not accept this password for ada", "SUDO_PASSWORD"
    )
    assert is_no_connection(
        none, bare, "sudo asks for the password of ada; give it in SUDO_PASSWORD"
    )
    assert full_setup(ada, "--dry", SUDO_PASSWORD="right").status == 3


def test_user_without_sudo_rights_is_reported(bare, person, full_setup):
    ada = person()
    with nothing_changes(bare, but=SUDO_MARKS):
        run = full_setup(ada, SUDO_PASSWORD="right")
    assert is_no_connection(
        run, bare, "ada cannot become root", "not in the sudoers file", "log in as root"
    )


@on("trixie")
def test_host_without_sudo_is_reported(bare, person, full_setup):
    ada = person("sudo")
    with instead_of(bare, "/usr/bin/sudo", ":"), nothing_changes(bare):
        run = full_setup(ada, SUDO_PASSWORD="right")
    assert is_no_connection(
        run, bare, "ada cannot become root", "sudo: not found", "log in as root"
    )


# -- what preflight finds


LISTEN = "import socket, time; s = socket.create_server(('', {})); time.sleep(600)"
OS = "/usr/lib/os-release"


@pytest.mark.parametrize(
    ("suite", "plant", "undo", "says"),
    [
        (
            "bookworm",
            f"sed -i.kept 's/^VERSION_ID=.*/VERSION_ID=11/' {OS}",
            f"mv {OS}.kept {OS}",
            "debian 11 is not supported",
        ),
        (
            "trixie",
            f"sed -i.kept 's/^ID=.*/ID=fedora/' {OS}",
            f"mv {OS}.kept {OS}",
            "fedora 13 is not supported",
        ),
        ("bookworm", 443, "systemctl stop squatter", "Check port 443: taken by python3 (process "),
        ("trixie", 8888, "systemctl stop squatter", "Check port 8888: taken by python3 (process "),
    ],
    indirect=["suite"],
)
def test_preflight_fails_before_the_first_change(bare, full_setup, plant, undo, says):
    if isinstance(plant, int):
        bare.nsenter(
            ["systemd-run", "-q", "--unit=squatter", "python3", "-c", LISTEN.format(plant)]
        )
        bare.nsenter(f"until ss -Hltn | grep -q :{plant}; do sleep 0.1; done", timeout=20)
    else:
        bare.nsenter(plant)
    try:
        with nothing_changes(bare):
            runs = full_setup(bare, "--dry"), full_setup(bare)
    finally:
        bare.nsenter(undo)
    assert all(is_one_refusal(run, bare, "preflight", says) for run in runs)
    assert "jupyter" not in (bare.root / "etc/passwd").read_text()
    assert full_setup(bare, "--dry").status == 3


def test_small_disk_is_found_before_it_is_full(new_host, full_setup):
    host = new_host("bookworm", disk="200M")
    with nothing_changes(host):
        run = full_setup(host)
    assert is_one_refusal(run, host, "preflight", "Check disk", "MiB free on /", "free some space")


# -- what others have installed


@pytest.mark.parametrize(
    ("suite", "plant", "name", "says"),
    [
        (
            "bookworm",
            "",
            "www-data",
            "this account belongs to the system (uid 33); choose another name",
        ),
        (
            "trixie",
            "",
            "backup",
            "this account belongs to the system (uid 34); choose another name",
        ),
        (
            "trixie",
            "",
            "shadow",
            "a group of this name belongs to the system (gid 42); choose another name",
        ),
        (
            "bookworm",
            "useradd -m ada",
            "ada",
            "this account exists and was not made by us: set user.adopt",
        ),
        (
            "bookworm",
            "useradd -m -d /srv/ada ada",
            "ada",
            "its home is /srv/ada instead of /home/ada; set user.home or",
        ),
        (
            "trixie",
            "useradd -m bob; mkdir /home/ada; touch /home/ada/x; chown bob /home/ada",
            "ada",
            "and has files of bob",
        ),
    ],
    indirect=["suite"],
)
def test_foreign_accounts_are_left_alone(bare, full_setup, plant, name, says):
    bare.nsenter(plant or ":")
    try:
        with nothing_changes(bare):
            setting = {"FABRIC_REMOTE_JUPYTER_USER_NAME": name}
            runs = full_setup(bare, "--dry", **setting), full_setup(bare, **setting)
    finally:
        bare.nsenter("userdel -rf ada; userdel -rf bob; rm -rf /home/ada", check=False)
    assert all(is_one_refusal(run, bare, "create-user", f"User {name}: ", says) for run in runs)


FOREIGN, LINK, FOLDER = "cp /etc/hostname $P", "ln -s $P.kept $P", "mkdir $P"
NOT_OURS, IS_LINK, IS_FOLDER, IS_FIFO = (
    "this file is not ours",
    "a symbolic link",
    "a directory is in the place of the file",
    "a fifo is in the place of the file",
)
CONF = f"{APACHE}/conf-available/zz-remote-jupyter-tls.conf"
CONFIG = f"{HOME}/.jupyter/jupyter_server_config.py"
UNIT = "/etc/systemd/system/jupyter.service"
DROP_IN = "/etc/ssh/sshd_config.d/00-remote-jupyter.conf"
AUTHORIZED = f"{HOME}/.ssh/authorized_keys"


@pytest.mark.parametrize(
    ("suite", "path", "plant", "task", "resource", "says"),
    [
        ("bookworm", SITE, FOREIGN, "configure-apache", f"File {SITE}", NOT_OURS),
        ("trixie", SITE, LINK, "configure-apache", f"File {SITE}", IS_LINK),
        ("bookworm", SITE, FOLDER, "configure-apache", f"File {SITE}", IS_FOLDER),
        (
            "trixie",
            f"{APACHE}/sites-enabled/jupyter.conf",
            FOREIGN,
            "configure-apache",
            "ApacheSite jupyter",
            "not ours",
        ),
        ("bookworm", CONF, LINK, "configure-apache", f"File {CONF}", IS_LINK),
        ("trixie", UNIT, FOREIGN, "configure-jupyter", f"File {UNIT}", NOT_OURS),
        ("bookworm", UNIT, "ln -s /dev/null $P", "configure-jupyter", f"File {UNIT}", IS_LINK),
        ("trixie", CONFIG, FOREIGN, "configure-jupyter", f"File {CONFIG}", NOT_OURS),
        (
            "bookworm",
            CONFIG,
            "mkfifo $P",
            "configure-jupyter",
            f"File {CONFIG}",
            "a fifo is in the place of the file",
        ),
        (
            "trixie",
            f"{HOME}/.jupyter",
            "ln -s /etc $P",
            "configure-jupyter",
            f"Directory {HOME}/.jupyter",
            "a symbolic link",
        ),
        (
            "bookworm",
            f"{HOME}/.jupyter/password-hash",
            LINK,
            "configure-jupyter",
            "PasswordFile",
            IS_LINK,
        ),
        (
            "trixie",
            f"{HOME}/notebooks",
            FOREIGN,
            "configure-jupyter",
            f"Directory {HOME}/notebooks",
            "regular file",
        ),
        (
            "bookworm",
            AUTHORIZED,
            "ln -s /root/.ssh/authorized_keys $P",
            "create-user",
            f"AuthorizedKeys {AUTHORIZED}",
            IS_LINK,
        ),
        ("trixie", AUTHORIZED, FOLDER, "create-user", f"AuthorizedKeys {AUTHORIZED}", IS_FOLDER),
        (
            "bookworm",
            f"{HOME}/jupyter-env",
            "mkdir $P; touch $P/x",
            "install-anaconda",
            "Venv",
            "something else",
        ),
        ("trixie", DROP_IN, FOREIGN, "harden-ssh", f"File {DROP_IN}", NOT_OURS),
        ("bookworm", DROP_IN, LINK, "harden-ssh", f"File {DROP_IN}", IS_LINK),
        ("trixie", f"{TLS}/cert.pem", LINK, "issue-cert", "SelfSigned", IS_LINK),
        ("bookworm", f"{TLS}/key.pem", "ln -s /etc/shadow $P", "issue-cert", "SelfSigned", IS_LINK),
        ("trixie", TLS, FOREIGN, "issue-cert", f"Directory {TLS}", "regular file"),
    ],
    indirect=["suite"],
)
def test_foreign_files_are_left_alone(clone, full_setup, path, plant, task, resource, says):
    # systemd remembers whether a unit is masked from the first question after a reload.
    clone.nsenter("systemctl daemon-reload; systemctl show jupyter >/dev/null")
    with instead_of(clone, path, plant), nothing_changes(clone):
        runs = full_setup(clone, "--dry"), full_setup(clone)
    assert all(is_one_refusal(run, clone, task, resource, says, "move it away") for run in runs)


def test_full_setup_converges_after_all_faults(clone, full_setup):
    assert full_setup(clone).status == 0
    assert full_setup(clone).is_calm


# -- what must not be asked for


@pytest.mark.parametrize(
    ("flags", "env", "says"),
    [
        (["--user", "ada;reboot"], {}, "remote_jupyter.user.name: 'ada;reboot' is not valid"),
        (["--user", "$(reboot)"], {}, "remote_jupyter.user.name: '$(reboot)' is not valid"),
        ([], {"USER_PASSWORD": "two\nlines"}, "USER_PASSWORD: is empty or has a control character"),
        (
            [],
            {"JUPYTER_PASSWORD": "two\nlines"},
            "JUPYTER_PASSWORD: is empty or has a control character",
        ),
        ([], {"JUPYTER_PASSWORD": "two words "}, "JUPYTER_PASSWORD: begins or ends with a space"),
    ],
)
def test_invalid_settings_are_rejected_before_connecting(fab, flags, env, says, tmp_path):
    nowhere = Server("root@192.0.2.1", None)
    began = time.monotonic()
    done = fab(nowhere, "full-setup", *flags, env=env, check=False)
    assert done.returncode == 2
    assert time.monotonic() - began < 5
    assert done.stderr.startswith(says)
    assert done.stderr.count("\n") == 1
    assert "two" not in done.stdout + done.stderr

"""SSH: hardened, socket-activated, by the operator's ssh_config, with every kind of key."""

import contextlib
import os
import pty
import subprocess
import time

import pytest

from .fixtures.converged import USER_PASSWORD
from .fixtures.faults import one
from .fixtures.logins import CLOSED, SUDO, as_user, gets_in, is_calm, setting
from .fixtures.operator import BIN, REPOSITORY

# Jupyter may then become root, which must be asked for.
WITHOUT_PASSWORD = SUDO | {"FABRIC_REMOTE_JUPYTER_JUPYTER_SUDO": "yes"}


@pytest.fixture
def hard(suite, lab, prepared, fab):
    """A hardened host, common to all tests, which leave it as it was."""
    host = one("hard", suite, lab, prepared)
    fab(host, "harden-ssh", "firewall", env=SUDO)
    return host


# -- harden-ssh


def test_ssh_audit_warns_only_about_classical_key_exchange(hard):
    audit = subprocess.run(
        [BIN / "ssh-audit", "--no-colors", "--level=warn", hard.address],
        capture_output=True,
        text=True,
    )
    found = [line for line in audit.stdout.splitlines() if "[warn]" in line or "[fail]" in line]
    assert "(kex) curve25519-sha256 " in "".join(found), audit.stdout + audit.stderr
    assert [line for line in found if "(kex) curve25519-sha256" not in line] == []


def test_ssh_audit_finds_the_weaknesses_of_a_default_host(door):
    audit = subprocess.run(
        [BIN / "ssh-audit", "--no-colors", "--level=warn", door.address],
        capture_output=True,
        text=True,
    )
    assert "[fail]" in audit.stdout


def test_known_ecdsa_key_is_followed_by_the_new_one(door, fab, operator):
    kind, key = door.nsenter("cat /etc/ssh/ssh_host_ecdsa_key.pub").stdout.split()[:2]
    operator.known_hosts.write_text(f"{door.address} {kind} {key}\n")
    dry = fab(door, "--dry", "harden-ssh", check=False)
    assert "would change KnownHostKey" in dry.stdout
    assert operator.known_hosts.read_text().count("\n") == 1
    try:
        done = fab(door, "harden-ssh", env=SUDO)
        assert "changed      KnownHostKey" in done.stdout
        assert "Login jupyter" in done.stdout
        assert "changed=0 failed=0  1 round trip" in fab(door, "harden-ssh").stdout
        known = subprocess.run(
            ["ssh-keygen", "-F", door.address, "-f", operator.known_hosts],
            capture_output=True,
            text=True,
        )
        assert (
            door.nsenter("cat /etc/ssh/ssh_host_ed25519_key.pub").stdout.split()[1] in known.stdout
        )
    finally:
        door.nsenter("rm -f /etc/ssh/sshd_config.d/00-remote-jupyter.conf; systemctl reload ssh")


def test_ssh_forwards_only_to_jupyter(hard):
    hard.nsenter(
        "python3 -m http.server -b 127.0.0.1 8888 >/dev/null 2>&1 &"
        " echo $! >/run/jupyter-like; sleep 0.5"
    )

    def ask(port):
        *argv, where = hard.ssh_argv(user="jupyter")
        argv += ["-W", f"127.0.0.1:{port}", where]
        done = subprocess.run(
            argv, input="GET / HTTP/1.0\r\n\r\n", capture_output=True, text=True, timeout=60
        )
        return done.stdout + done.stderr

    try:
        assert "HTTP/1.0 200" in ask(8888)
        assert "forwarding failed" in ask(22)
    finally:
        hard.nsenter("kill $(cat /run/jupyter-like)")


def test_match_block_that_allows_passwords_is_found(hard, fab):
    hard.nsenter(
        "printf 'Match User jupyter\\nPasswordAuthentication yes\\n' >>/etc/ssh/sshd_config;"
        " systemctl reload ssh"
    )
    try:
        done = fab(hard, "harden-ssh", check=False)
    finally:
        hard.nsenter("sed -i '/^Match User jupyter/,$d' /etc/ssh/sshd_config; systemctl reload ssh")
    assert done.returncode == 1, done.stdout
    assert "sshd does not take up: passwordauthentication no" in done.stdout, done.stdout


def test_socket_activated_sshd_is_hardened_too(new_host, suite, prepared, fab):
    host = new_host(suite, prepared)
    host.nsenter("systemctl disable -q --now ssh.service; systemctl enable -q --now ssh.socket")
    env = CLOSED
    done = fab(host, "harden-ssh", env=env)
    assert "Login jupyter" in done.stdout
    assert is_calm(host)
    assert gets_in(host, "jupyter")
    assert not gets_in(host)
    assert host.nsenter("systemctl is-active ssh.socket").stdout.strip() == "active"
    again = fab(
        [as_user(host)], "-i", host.key, "harden-ssh", env=CLOSED | {"SUDO_PASSWORD": USER_PASSWORD}
    )
    assert "changed=0 failed=0  1 round trip" in again.stdout, again.stdout


# -- users


def test_locked_user_is_out_and_unlocked_user_in(door, fab):
    assert "changed=1" in fab(door, "lock-user").stdout
    assert not gets_in(door, "jupyter")
    assert "changed=0 failed=0  1 round trip" in fab(door, "lock-user").stdout
    refused = fab(door, "create-user", env=SUDO, check=False)
    assert refused.returncode == 1
    assert "lock-user --unlock" in refused.stdout
    assert "changed=1" in fab(door, "lock-user", "--unlock").stdout
    door.ssh("sudo -S -k id", "jupyter", input=USER_PASSWORD + "\n")


def test_passwordless_sudo_can_be_turned_on_and_off(door, fab):
    assert (
        "changed=1" in fab(door, "create-user", "--passwordless-sudo", env=WITHOUT_PASSWORD).stdout
    )
    assert door.ssh("sudo -n id -u", "jupyter").stdout == "0\n"
    again = fab(door, "create-user", "--passwordless-sudo", env=WITHOUT_PASSWORD)
    assert "changed=0 failed=0  1 round trip" in again.stdout
    assert "changed=1" in fab(door, "create-user", env=SUDO).stdout
    assert door.ssh("sudo -n id -u", "jupyter", check=False).returncode
    assert is_calm(door)


def test_removing_a_key_keeps_the_others(door, fab, tmp_path):
    path = "/home/jupyter/.ssh/authorized_keys"
    before = door.nsenter(f"cat {path}").stdout
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "old", "-C", "old"],
        check=True,
    )
    key = (tmp_path / "old.pub").read_text()
    door.nsenter(f"printf '# kept\\n%s' {key!r} >>{path}".replace("\\n'", "'"))
    kept = fab(door, "create-user", env=SUDO)
    assert "changed=0" in kept.stdout
    assert (
        "changed=1"
        in fab(door, "create-user", "--remove-key", tmp_path / "old.pub", env=SUDO).stdout
    )
    assert door.nsenter(f"cat {path}").stdout == before + "# kept\n"
    assert is_calm(door)
    assert gets_in(door, "jupyter")
    refused = fab(door, "create-user", "--remove-key", f"{door.key}.pub", env=SUDO, check=False)
    assert refused.returncode == 1
    assert "no key could log in as jupyter" in refused.stdout
    door.nsenter(f"sed -i '/^# kept/d' {path}")


def test_only_named_keys_are_added(door, fab, tmp_path):
    path = "/home/jupyter/.ssh/authorized_keys"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "new", "-C", "new"],
        check=True,
    )
    new, roots = (
        (tmp_path / "new.pub").read_text(),
        door.nsenter("cat /root/.ssh/authorized_keys").stdout,
    )
    door.nsenter(f"cp -p {path} /root/kept; : >{path}")
    try:
        words = ["create-user", "--authorized-keys", tmp_path / "new.pub"]
        fab(door, *words, env=SUDO)
        assert door.nsenter(f"cat {path}").stdout == new
        fab(door, *words, "--copy-root-keys", env=SUDO)
        assert door.nsenter(f"cat {path}").stdout == new + roots
        assert gets_in(door, "jupyter")
    finally:
        door.nsenter(f"cp -p /root/kept {path}")


def test_user_is_removed_with_yes_and_the_home_stays(new_host, suite, prepared, fab):
    host = new_host(suite, prepared)
    refused = fab(host, "remove-user", check=False)
    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    foretold = fab(host, "--dry", "remove-user", check=False)
    assert foretold.returncode == 3
    assert gets_in(host, "jupyter")
    own = fab([as_user(host)], "-i", host.key, "remove-user", "--yes", check=False)
    assert own.returncode == 2
    assert "the login that Fabric uses" in own.stderr
    fab(host, "create-user", "--passwordless-sudo", env=WITHOUT_PASSWORD)
    assert "changed=3" in fab(host, "remove-user", "--yes").stdout
    left = host.nsenter(
        "getent passwd jupyter; ls -d /home/jupyter/.ssh; ls /etc/sudoers.d", check=False
    ).stdout
    assert left.split() == ["/home/jupyter/.ssh", "README"]
    assert "changed=0 failed=0  1 round trip" in fab(host, "remove-user", "--yes").stdout


# -- the operator's own ways


@pytest.fixture
def config(operator):
    """Write the operator's ~/.ssh/config."""
    return (operator.home / ".ssh/config").write_text


def test_ssh_config_of_the_operator_is_used(door, hard, config, operator, fab, lab):
    # `hard` allows no forwarding, so `door` is the way to it.
    door.nsenter(
        "printf 'Port 22\\nPort 2222\\n' >/etc/ssh/sshd_config.d/70-port.conf; systemctl reload ssh"
    )
    try:
        config(
            f"Host far\n  HostName {hard.address}\n  User root\n"
            f"  IdentityFile {hard.key}\n  ProxyJump near\n"
            f"Host near\n  HostName {door.address}\n  User jupyter\n"
            f"  Port 2222\n  IdentityFile {door.key}\n"
        )
        far = type("Named", (), {"string": "far", "key": None})
        done = fab(far, "harden-ssh")
        assert "changed=0 failed=0  1 round trip" in done.stdout, done.stdout
        changed = fab(far, "harden-ssh", env=setting(ssh__permit_open="9000"))
        assert "Login" in changed.stdout, changed.stdout
        assert "changed=3" in changed.stdout, changed.stdout
        fab(hard, "harden-ssh")
        log = door.nsenter(
            "journalctl -t sshd -t sshd-session --no-pager"
            " | grep -c 'Accepted publickey for jupyter'"
        )
        assert int(log.stdout) >= 2
    finally:
        door.nsenter("rm /etc/ssh/sshd_config.d/70-port.conf; systemctl reload ssh")


@pytest.fixture
def locked_key(tmp_path, operator):
    """A private key with a passphrase."""
    path = tmp_path / "locked"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "open sesame", "-f", path], check=True
    )
    return path


@pytest.fixture
def let_in(door, locked_key):
    """Let root in by that key."""
    plant = "cp -p /root/.ssh/authorized_keys /root/kept; cat >>/root/.ssh/authorized_keys"
    door.nsenter(plant, input=locked_key.with_suffix(".pub").read_text())
    yield as_user(door, "root")
    door.nsenter("mv /root/kept /root/.ssh/authorized_keys")


def test_key_with_passphrase_works_by_agent_and_prompt(let_in, locked_key, operator, fab, tmp_path):
    told = fab(let_in, "-i", locked_key, "install-apache", "--dry", check=False)
    assert told.returncode == 1, told.stderr
    assert "passphrase" in told.stderr, told.stderr
    with agent(tmp_path, locked_key) as socket:
        done = fab(let_in, "firewall", "--dry", env={"SSH_AUTH_SOCK": str(socket)}, check=False)
        assert done.returncode == 3, done.stderr
    words = [
        "-H",
        let_in.string,
        "-i",
        str(locked_key),
        "--prompt-for-passphrase",
        "firewall",
        "--dry",
    ]
    status, said = typed(words, operator, ("assphrase", "open sesame\n"))
    assert status == 3, said
    assert "open sesame" not in said, said


@contextlib.contextmanager
def agent(folder, key):
    """An ssh-agent that holds *key*; its socket."""
    socket = folder / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
    try:
        ask = folder / "ask"
        ask.write_text("#!/bin/sh\necho 'open sesame'\n")
        ask.chmod(0o700)
        env = os.environ | {
            "SSH_AUTH_SOCK": str(socket),
            "SSH_ASKPASS": str(ask),
            "SSH_ASKPASS_REQUIRE": "force",
        }
        while not socket.exists():
            pass
        subprocess.run(["ssh-add", key], env=env, check=True, capture_output=True)
        yield socket
    finally:
        process.terminate()
        process.wait()


def typed(words, operator, *answers):
    """Run fab on a terminal, answer each prompt, and return its status and what it printed."""
    child, terminal = pty.fork()
    if not child:
        os.chdir(REPOSITORY)
        os.execve(BIN / "fab", [str(BIN / "fab"), *words], operator.env())
    said = b""
    with contextlib.suppress(OSError):
        for prompt, text in answers:
            seen = b""
            while prompt.encode() not in seen or not seen.rstrip(b"' ").endswith(b":"):
                seen += os.read(terminal, 1024)
            said += seen
            time.sleep(0.2)  # what is typed before the prompt waits for it is thrown away
            os.write(terminal, text.encode())
        while more := os.read(terminal, 65536):
            said += more
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said.decode()


def test_new_key_has_the_typed_passphrase(operator):
    status, said = typed(
        ["create-ssh-key"],
        operator,
        ("Enter passphrase", "open sesame\n"),
        ("again", "open sesame\n"),
    )
    key = operator.home / ".ssh/id_ed25519"
    assert status == 0, said
    assert "open sesame" not in said, said
    show = ["ssh-keygen", "-y", "-f", key, "-P"]
    assert subprocess.run([*show, ""], capture_output=True).returncode
    assert subprocess.run([*show, "open sesame"], capture_output=True).returncode == 0


def test_new_key_is_copied_over_a_password_login(door, fab, operator, tmp_path):
    made = fab(None, "create-ssh-key", "--no-passphrase")
    assert "created" in made.stdout
    key = operator.home / ".ssh/id_ed25519"
    before = key.read_bytes()
    assert "is kept" in fab(None, "create-ssh-key", "--no-passphrase").stdout
    assert key.read_bytes() == before
    person = as_user(door)
    path = "/home/jupyter/.ssh/authorized_keys"
    door.nsenter(f"cp -p {path} /root/kept")
    try:
        for password, status, says in (
            (None, 1, "LOGIN_PASSWORD"),
            ("wrong", 1, "may not log in"),
            (USER_PASSWORD, 0, "is now authorized for jupyter"),
            (None, 0, "is authorized for jupyter already"),
        ):
            env = {"LOGIN_PASSWORD": password} if password else {}
            done = fab(person, "copy-ssh-key", env=env, check=False)
            assert done.returncode == status, done.stdout + done.stderr
            assert says in done.stdout + done.stderr, done.stdout + done.stderr
        assert door.nsenter(f"stat -c '%U %a' {path}").stdout == "jupyter 600\n"
        assert (
            door.nsenter(f"head -n 1 {path}").stdout == door.nsenter("head -n 1 /root/kept").stdout
        )
    finally:
        door.nsenter(f"cp -p /root/kept {path}")


# -- certificates of hosts


CERTIFICATES = {
    "right": ("-h -n {address}", "authority", True),
    "without a principal": ("-h", "authority", None),
    "for another host": ("-h -n example.org", "authority", False),
    "expired": ("-h -n {address} -V 20200101:20210101", "authority", False),
    "of a user": ("-n {address}", "authority", False),
    "by a stranger": ("-h -n {address}", "stranger", None),
    "by a stranger, of a known key": ("-h -n {address}", "stranger", True),
    "by a revoked authority": ("-h -n {address}", "authority", False),
}


def test_certified_host_is_known_as_in_openssh(door, fab, operator, tmp_path):
    for name in ("authority", "stranger"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True
        )
    public = tmp_path / "host.pub"
    public.write_text((door.root / "etc/ssh/ssh_host_ed25519_key.pub").read_text())
    authority = " ".join((tmp_path / "authority.pub").read_text().split()[:2])
    try:
        for case, (options, signer, wanted) in CERTIFICATES.items():
            words = options.format(address=door.address).split()
            subprocess.run(
                ["ssh-keygen", "-q", "-s", tmp_path / signer, "-I", "x", *words, public], check=True
            )
            certificate = (tmp_path / "host-cert.pub").read_text()
            drop_in = "/etc/ssh/sshd_config.d/70-cert.conf"
            conf = f"echo HostCertificate /etc/ssh/host-cert.pub >{drop_in}; systemctl reload ssh"
            door.nsenter(f"cat >/etc/ssh/host-cert.pub; {conf}; sleep 0.3", input=certificate)
            lines = [f"@cert-authority {door.address} {authority}"]
            lines += [f"@revoked * {authority}"] if "revoked" in case else []
            lines += [f"{door.address} {public.read_text()}"] if "known key" in case else []
            operator.known_hosts.write_text("\n".join(lines) + "\n")
            argv = [
                "ssh",
                "-F",
                "none",
                "-oBatchMode=yes",
                f"-oUserKnownHostsFile={operator.known_hosts}",
            ]
            argv += [
                "-oStrictHostKeyChecking=yes",
                "-oGlobalKnownHostsFile=none",
                "-i",
                door.key,
                door.string,
                "true",
            ]
            theirs = subprocess.run(argv, capture_output=True).returncode == 0
            (operator.home / ".ssh/config").write_text("StrictHostKeyChecking yes\n")
            done = fab(door, "firewall", "--dry", check=False)
            assert "Traceback" not in done.stderr
            assert (done.returncode != 1) == theirs, (case, theirs, done.stderr)
            assert wanted in (theirs, None), case
    finally:
        door.nsenter(
            "rm -f /etc/ssh/sshd_config.d/70-cert.conf /etc/ssh/host-cert.pub; systemctl reload ssh"
        )

"""Decisions on host keys, compared with those of OpenSSH for the same server and file."""

import base64
import contextlib
import os
import shutil
import socket
import subprocess
import threading
from pathlib import Path
from types import SimpleNamespace

import paramiko
import pytest

from fabfile.kit.errors import Unreachable
from fabfile.kit.known_hosts import KnownHosts

THIS, OTHER, THIRD = (paramiko.ECDSAKey.generate() for _ in range(3))
ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIC59LAOpUHriZez1tTVohaUzk6ICnSQTlJlyZaGiWu/G"
KEYS = {
    name: f"{key.get_name()} {key.get_base64()}"
    for name, key in (("this", THIS), ("other", OTHER), ("third", THIRD))
}
AT = "[127.0.0.1]:{port}"
CASES = {
    # name: the file, with {this} for the server's key; and whether the server is known, new or
    # refused
    "known": (f"{AT} {{this}}\n", "known"),
    "changed": (f"{AT} {{other}}\n", "refused"),
    "nothing": ("", "new"),
    "another-host": ("example.org {other}\n[127.0.0.2]:{port} {other}\n", "new"),
    "another-port": ("[127.0.0.1]:1 {other}\n", "new"),
    "no-port": ("127.0.0.1 {other}\n", "new"),
    "comments": (f"# {AT} {{other}}\n\n  \n{AT} {{this}} ada@laptop and more words\n", "known"),
    "spaces-and-tabs": (f"  {AT}\t{{this}}   \n", "known"),
    "several-of-one-type": (f"{AT} {{other}}\n{AT} {{third}}\n{AT} {{this}}\n", "known"),
    "several-and-none-of-them": (f"{AT} {{other}}\n{AT} {{third}}\n", "refused"),
    "with-another-type": (f"{AT} {ED25519}\n{AT} {{this}}\n", "known"),
    "list-of-names": (f"a.example,{AT},b.example {{this}}\n", "known"),
    "pattern": ("[127.0.*]:{port} {this}\n", "known"),
    "pattern-with-question-marks": ("[127.0.?.?]:{port} {this}\n", "known"),
    "pattern-of-another-key": ("[127.0.*]:{port} {other}\n", "refused"),
    "negated": (f"[127.0.*]:{{port}},!{AT} {{other}}\n", "new"),
    "negated-elsewhere": (f"!{AT},[127.0.*]:{{port}} {{other}}\n{AT} {{this}}\n", "known"),
    "hashed": (f"{AT} {{this}}\n", "known"),
    "hashed-changed": (f"example.org {{this}}\n{AT} {{other}}\n", "refused"),
    "revoked": (f"@revoked {AT} {{this}}\n", "refused"),
    "revoked-everywhere": (f"{AT} {{this}}\n@revoked * {{this}}\n", "refused"),
    "revoked-other": (f"@revoked {AT} {{other}}\n{AT} {{this}}\n", "known"),
    "revoked-other-alone": ("@revoked\t* {other}\n", "new"),
    "revoked-for-another-host": (f"@revoked example.org {{this}}\n{AT} {{this}}\n", "known"),
    "authority": (f"@cert-authority {AT} {{other}}\n", "new"),
    "authority-with-the-same-key": (f"@cert-authority {AT} {{this}}\n", "new"),
    "authority-and-key": (f"@cert-authority * {{other}}\n{AT} {{this}}\n", "known"),
    "carriage-returns": (f"{AT} {{this}}\r\n# x\r\n", "known"),
    "carriage-returns-changed": (f"{AT} {{other}}\r\n", "refused"),
    "carriage-returns-and-comment": (f"{AT} {{this}} ada@laptop\r\n", "known"),
    "no-newline-at-the-end": (f"example.org {{other}}\n{AT} {{this}}", "known"),
    "no-newline-at-the-end-new": ("example.org {other}", "new"),
    "rubbish": (
        f"rubbish\n{AT}\n{AT} ssh-nothing AAAA\n"
        f"@nothing {AT} {{this}}\n{AT} ecdsa-sha2-nistp256 !!!\n",
        "new",
    ),
}


class Server(paramiko.ServerInterface):
    """An SSH server that accepts every login and does nothing."""

    def check_auth_none(self, username):
        return paramiko.AUTH_SUCCESSFUL

    def check_channel_request(self, kind, chanid):
        return paramiko.OPEN_SUCCEEDED


@pytest.fixture(scope="module")
def port():
    """Serve on this port, with THIS as host key."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=100)

    def serve():
        with contextlib.suppress(OSError):
            while True:
                transport = paramiko.Transport(listener.accept()[0])
                transport.add_server_key(THIS)
                transport.start_server(event=threading.Event(), server=Server())

    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1]
    listener.close()


def write(path, name, port):
    """Write the known_hosts of a case."""
    path.write_bytes(CASES[name][0].format(port=port, **KEYS).encode())
    path.chmod(0o600)
    if name.startswith("hashed"):
        subprocess.run(["ssh-keygen", "-H", "-f", path], check=True, capture_output=True)
        path.with_name(path.name + ".old").unlink()
        assert "127.0.0.1" not in path.read_text()


def ssh(path, port, *options):
    """Start OpenSSH with this known_hosts, and return its process."""
    given = {
        "BatchMode": "yes",
        "StrictHostKeyChecking": "accept-new",
        "UserKnownHostsFile": path,
        "GlobalKnownHostsFile": "/dev/null",
        "IdentityFile": "none",
        "IdentityAgent": "none",
        "UpdateHostKeys": "no",
        "PreferredAuthentications": "none",
    }
    words = [
        "ssh",
        "-F",
        "none",
        "-p",
        str(port),
        *(f"-o{name}={value}" for name, value in given.items()),
        *options,
    ]
    return subprocess.Popen(
        [*words, "127.0.0.1", "true"], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


@pytest.fixture(scope="module")
def openssh(port, tmp_path_factory):
    """Return OpenSSH's result for each case: whether it refuses, and the file afterwards."""
    if not shutil.which("ssh"):
        pytest.skip("OpenSSH is not installed here")
    folder, running, made = tmp_path_factory.mktemp("openssh"), {}, {}
    for name in CASES:
        write(folder / name, name, port)
        running[name] = ssh(folder / name, port)
    for name, process in running.items():
        _, said = process.communicate(timeout=10)
        refused = "Host key verification failed" in said
        assert refused or "exec request failed" in said, said
        made[name] = ("refused" if refused else "accepted", folder / name)
    return made


def policy(path, port, host="127.0.0.1", **options):
    """Return the policy with this known_hosts and these options of ssh_config."""
    options = {"userknownhostsfile": str(path), "globalknownhostsfile": "/dev/null"} | options
    return KnownHosts(SimpleNamespace(host=host, port=port, ssh_config=options))


def decide(keys, key=THIS):
    """Return whether *key* is accepted or refused."""
    try:
        keys.missing_host_key(None, "127.0.0.1", key)
    except Unreachable:
        return "refused"
    return "accepted"


def found(path, port, key=THIS):
    """Return whether OpenSSH finds *key* for the server in the file."""
    asked = subprocess.run(
        ["ssh-keygen", "-F", f"[127.0.0.1]:{port}", "-f", path], capture_output=True, text=True
    )
    return any(
        key.get_base64() in line for line in asked.stdout.splitlines() if line[0] not in "#@"
    )


@pytest.mark.parametrize("name", CASES)
def test_a_host_key_is_judged_as_openssh_does(name, port, openssh, tmp_path):
    path, expected = tmp_path / "known_hosts", CASES[name][1]
    write(path, name, port)
    before = path.read_bytes()
    verdict = decide(policy(path, port, stricthostkeychecking="accept-new"))
    assert verdict == ("refused" if expected == "refused" else "accepted")
    assert verdict == openssh[name][0]
    if expected == "new":
        assert path.read_bytes().startswith(before)
        assert found(path, port)
    else:
        assert path.read_bytes() == before
        assert before.count(b"\n") == openssh[name][1].read_bytes().count(b"\n")


def test_a_recorded_key_is_known_to_fab_and_openssh(port, tmp_path):
    path = tmp_path / "known_hosts"
    assert decide(policy(path, port)) == "accepted"
    assert [
        decide(policy(path, port, stricthostkeychecking="yes"), key) for key in (THIS, OTHER)
    ] == [
        "accepted",
        "refused",
    ]
    with ssh(path, port, "-oStrictHostKeyChecking=yes") as process:
        assert "exec request failed" in process.communicate(timeout=10)[1]


def test_a_new_file_and_its_folder_are_private(port, tmp_path):
    path = tmp_path / "home/.ssh/known_hosts"
    assert decide(policy(path, port)) == "accepted"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.read_text() == f"[127.0.0.1]:{port} {KEYS['this']}\n"


def test_the_standard_port_is_not_written(tmp_path):
    policy(tmp_path / "known_hosts", 22, "web.example.org").missing_host_key(None, "", THIS)
    assert (tmp_path / "known_hosts").read_text() == f"web.example.org {KEYS['this']}\n"


def test_names_are_hashed_if_the_user_wants_that(port, tmp_path):
    path = tmp_path / "known_hosts"
    decide(policy(path, port, hashknownhosts="yes"))
    assert path.read_text().startswith("|1|")
    assert "127" not in path.read_text()
    assert found(path, port)
    assert decide(policy(path, port, stricthostkeychecking="yes")) == "accepted"


def test_a_changed_key_is_rejected_with_advice(port, tmp_path):
    path = tmp_path / "known_hosts"
    write(path, "changed", port)
    with pytest.raises(Unreachable) as caught:
        policy(path, port).missing_host_key(None, "", THIS)
    said = str(caught.value)
    digest = subprocess.run(
        ["ssh-keygen", "-l", "-f", "-"], input=f"x {KEYS['this']}", capture_output=True, text=True
    ).stdout
    assert digest.split()[1] in said
    assert digest.split()[1].startswith("SHA256:")
    command = said.rpartition("ssh-keygen -R ")[2]
    assert command == f"'[127.0.0.1]:{port}'"
    subprocess.run(
        ["sh", "-c", f"ssh-keygen -f '{path}' -R {command}"], check=True, capture_output=True
    )
    assert decide(policy(path, port)) == "accepted"


@pytest.mark.parametrize("strict", ["no", "off", "ask", "accept-new", "yes"])
def test_a_changed_key_is_rejected_with_every_option(port, tmp_path, strict):
    write(tmp_path / "known_hosts", "changed", port)
    assert decide(policy(tmp_path / "known_hosts", port, stricthostkeychecking=strict)) == "refused"


@pytest.mark.parametrize("strict", ["yes", "YES", "true"])
def test_strict_checking_rejects_and_does_not_record_a_new_key(port, tmp_path, strict):
    path = tmp_path / "known_hosts"
    assert decide(policy(path, port, stricthostkeychecking=strict)) == "refused"
    assert not path.exists()


def test_a_key_of_a_type_not_yet_known_is_rejected(port, tmp_path):
    # OpenSSH accepts it, but an attacker in between could offer a type that is not known yet.
    (tmp_path / "known_hosts").write_text(f"[127.0.0.1]:{port} {ED25519}\n")
    assert decide(policy(tmp_path / "known_hosts", port)) == "refused"


def test_an_alias_is_looked_up_without_the_port(port, tmp_path):
    path, options = tmp_path / "known_hosts", {"hostkeyalias": "the-alias"}
    path.write_text(f"the-alias {KEYS['other']}\n")
    with ssh(path, port, "-oHostKeyAlias=the-alias") as process:
        assert "Host key verification failed" in process.communicate(timeout=10)[1]
    assert decide(policy(path, port, **options)) == "refused"
    path.unlink()
    decide(policy(path, port, **options))
    assert path.read_text() == f"the-alias {KEYS['this']}\n"


def test_case_does_not_matter_in_names(port, tmp_path):
    (tmp_path / "known_hosts").write_text(f"web.example.org {KEYS['other']}\n")
    assert decide(policy(tmp_path / "known_hosts", 22, "WEB.Example.org")) == "refused"


def test_all_files_are_read_and_the_first_is_written(port, tmp_path):
    one, two, everyone = (tmp_path / name for name in ("one", "two", "everyone"))
    two.write_text(f"[127.0.0.1]:{port} {KEYS['this']}\n")
    everyone.write_text(f"@revoked * {KEYS['other']}\n")
    options = {"globalknownhostsfile": str(everyone)}
    assert decide(policy(f"{one} {two}", port, **options)) == "accepted"
    assert not one.exists()
    assert decide(policy(one, port, **options), OTHER) == "refused"
    assert not one.exists()
    assert decide(policy(one, port, **options), THIRD) == "accepted"
    assert found(one, port, THIRD)


def test_an_unwritable_file_is_reported(port, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(Unreachable, match="cannot record the host key"):
        policy(tmp_path / "file/known_hosts", port).missing_host_key(None, "", THIS)


def test_known_key_types_are_requested_first(port, tmp_path):
    (tmp_path / "known_hosts").write_text(
        f"[127.0.0.1]:{port} {KEYS['this']}\n@revoked * {ED25519}\n"
    )
    with socket.create_connection(("127.0.0.1", port)) as connected:
        transport = policy(tmp_path / "known_hosts", port).transport(connected)
        assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert transport.get_security_options().key_types[0] == THIS.get_name()


def test_known_keys_are_read_from_a_file_with_comments(port, tmp_path):
    write(tmp_path / "known_hosts", "comments", port)
    [(marker, kind, data)] = policy(tmp_path / "known_hosts", port).known
    assert (marker, kind, base64.b64encode(data).decode()) == (
        "",
        THIS.get_name(),
        THIS.get_base64(),
    )


def test_an_authority_without_its_certificate_is_rejected(port, tmp_path):
    # OpenSSH asks there; we record new keys without asking, unless an authority is known.
    path = tmp_path / "known_hosts"
    write(path, "authority", port)
    before = path.read_bytes()
    assert decide(policy(path, port)) == "refused"
    assert path.read_bytes() == before


def test_ask_rejects_a_new_key_without_a_terminal(port, tmp_path, monkeypatch):
    path = tmp_path / "known_hosts"
    monkeypatch.setattr("sys.stdin", open(os.devnull))
    assert decide(policy(path, port, stricthostkeychecking="ask")) == "refused"
    assert not path.exists()


def test_without_a_user_file_nothing_is_recorded(port, tmp_path):
    keys = policy("none", port)
    assert keys.own is None
    assert decide(keys) == "accepted"
    assert not Path("none").exists()


def test_tokens_in_a_file_name_are_expanded(tmp_path):
    options = {"hostkeyalias": "alias", "userknownhostsfile": f"{tmp_path}/%k-%p-%%"}
    assert policy(tmp_path, 22, **options).own == tmp_path / "alias-22-%"

"""The commands for the tunnel and rsync, and the checks before a release upgrade."""

import os
import shlex
import socket
import subprocess
from types import SimpleNamespace

import pytest
from fabric import Config, Connection
from invoke import Exit

from fabfile.local.forwarding import show_page
from fabfile.local.openssh import passwords, ssh_config, ssh_environment, ssh_words
from fabfile.local.ports import free_port, holder, is_free
from fabfile.settings import schema
from fabfile.tasks.notebooks import rsync_words
from fabfile.tasks.sshd import harden_ssh
from fabfile.tasks.system import ready_for_release
from fabfile.tasks.tunnel import check_tunnel


def connection(host="ada@web.example", **options):
    """Return a connection of an operator who has no ssh_config."""
    config = Config(lazy=True)
    config.set_runtime_ssh_path(os.devnull)
    config.load_ssh_config()
    return Connection(host, config=config, **options)


def settings(words):
    """Return the -o settings of a command of ssh."""
    return dict(word[2:].split("=", 1) for word in words if word.startswith("-o"))


def test_ssh_goes_where_fab_goes():
    words = ssh_words(
        connection("ada@web.example:2222", connect_kwargs={"key_filename": ["/a key", "~/b"]}), "-N"
    )
    assert words[:5] == ["ssh", "-p", "2222", "-l", "ada"]
    assert words[-1] == "-N"
    assert [words[at + 1] for at, word in enumerate(words) if word == "-i"] == [
        "/a key",
        os.path.expanduser("~/b"),
    ]
    assert settings(words)["StrictHostKeyChecking"] == "accept-new"


def test_without_a_terminal_and_a_password_ssh_asks_nothing():
    assert settings(ssh_words(connection()))["BatchMode"] == "yes"
    assert "BatchMode" not in settings(ssh_words(connection(connect_kwargs={"password": "x"})))


def test_jump_hosts_are_nested_and_keep_their_keys():
    first = connection("eve@first", connect_kwargs={"key_filename": "/100% mine"})
    second = connection("bob@second", gateway=first)
    command = settings(ssh_words(connection(gateway=second)))["ProxyCommand"]
    outer = shlex.split(command.replace("%%", "%"))
    assert outer[-3:] == ["second", "-W", "[%h]:%p"]
    assert "bob" in outer
    inner = shlex.split(settings(outer)["ProxyCommand"].replace("%%", "%"))
    assert inner[-3:] == ["first", "-W", "[%h]:%p"]
    assert "/100% mine" in inner
    assert settings(ssh_words(connection(gateway="nc %h %p")))["ProxyCommand"] == "nc %h %p"


def test_a_key_in_memory_is_rejected_before_connecting():
    with pytest.raises(Exit) as caught:
        check_tunnel(connection(connect_kwargs={"pkey": object()}))
    assert caught.value.code == 2
    assert "pkey" in caught.value.message


def test_ssh_gets_passwords_from_a_temporary_program():
    secret = "it's $HOME `id` %s"
    c = connection(connect_kwargs={"password": secret, "passphrase": "phrase"})
    assert secret not in " ".join(ssh_words(c))
    assert secret not in ssh_config(c)
    with ssh_environment(c) as env:
        for asked, answer in (
            ("ada@web.example's password: ", secret),
            ("Enter passphrase for key '/k': ", "phrase"),
        ):
            assert (
                subprocess.run(
                    [env["SSH_ASKPASS"], asked], env=env, capture_output=True, text=True
                ).stdout
                == f"{answer}\n"
            )
        assert secret not in open(env["SSH_ASKPASS"]).read()
    assert not os.path.exists(env["SSH_ASKPASS"])
    assert passwords(connection()) == {}


@pytest.mark.skipif(not os.path.exists("/usr/bin/ssh"), reason="OpenSSH is not installed here")
def test_openssh_reads_the_settings_that_rsync_is_given(tmp_path):
    file, mine = tmp_path / "config", tmp_path / "mine"
    mine.write_text("Host *\n    Compression yes\n")
    mine.chmod(0o600)
    c = connection(gateway=connection("eve@first"), connect_kwargs={"key_filename": "/a key"})
    c.config.set_runtime_ssh_path(str(mine))
    file.write_text(ssh_config(c))
    said = subprocess.run(
        ["ssh", "-G", "-F", file, "web.example"], capture_output=True, text=True, check=True
    ).stdout
    found = dict(line.split(" ", 1) for line in said.splitlines() if " " in line)
    assert (found["identityfile"], found["batchmode"], found["controlmaster"]) == (
        "/a key",
        "yes",
        "false",
    )
    assert found["compression"] == "yes"
    assert found["proxycommand"].endswith("first -W '[%h]:%p'")


def test_the_next_free_port_replaces_one_in_use(capsys):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert not is_free(port)
        assert str(os.getpid()) in holder(port)
        assert free_port(port, "web") > port
    assert is_free(port)
    assert f"web  local port {port} is in use by " in capsys.readouterr().out


@pytest.mark.parametrize("port", [0, 65536, -1, "x", 1.5])
def test_an_invalid_port_is_rejected(port):
    with pytest.raises(Exit) as caught:
        check_tunnel(connection(), port)
    assert caught.value.code == 2


def test_no_browser_takes_over_a_terminal(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    assert not show_page("http://localhost:1/")


RSYNC_AS = {"ada": "rsync", "root": "runuser -u ada -- rsync", "eve": "sudo -n -u ada rsync"}


@pytest.mark.parametrize(("user", "become"), RSYNC_AS.items())
def test_rsync_runs_as_the_user_and_quotes_what_it_is_given(user, become):
    c = SimpleNamespace(user=user, original_host="web", port=2222)
    words = rsync_words(
        c, "/tmp/a b/config", "/a folder's/", "/there $x/", "ada", True, ["--dry-run"]
    )
    assert words[0] == "rsync"
    assert words[-2:] == ["/a folder's/", f"{user}@web:/there $x/"]
    assert {"--delete", "--dry-run", "-s", f"--rsync-path={become}"} <= set(words)
    assert ".ipynb_checkpoints" in words


def test_sshd_forwards_to_each_jupyter_with_any_settings():
    c = Connection("web", "root", 22, Config(lazy=True))
    others, found = {("jupyter", 8888): "8889\n", ("jupyter-ada", 8889): "8888\n"}, set()
    for (name, port), told in others.items():
        loaded = schema.load(
            c, {"jupyter.name": name, "jupyter.port": port, "ssh.permit_open": "9000"}
        )
        drop_in, in_force = (part for part in harden_ssh.body(c, loaded) if hasattr(part, "fill"))
        seen = drop_in.parse(f"{told}\0absent\n")
        assert "sed -n 's/^X-Port=//p'" in drop_in.probe()
        assert drop_in.changed(seen)
        [line] = [
            line
            for line in drop_in.filled(seen).content.splitlines()
            if line.startswith("PermitOpen")
        ]
        now = in_force.parse(f"{told}\0{line.lower()}\nallowtcpforwarding local\n")
        assert "permitopen" not in in_force.changed(now)
        assert "permitopen" in in_force.changed(now | {"others": (1,)})
        found.add(line)
    to = " ".join(f"localhost:{port} 127.0.0.1:{port}" for port in (8888, 8889, 9000))
    assert found == {f"PermitOpen {to}"}


FINE = "system debian bookworm\nfree 9000000\nsuite bookworm http://a/\nsuite bookworm-security http://b/\n"


@pytest.mark.parametrize(
    ("output", "why"),
    [
        (FINE, ""),
        ("system debian trixie\nheld curl\nfree 1\nsuite stable http://c/\n", ""),  # nowhere to go
        (f"{FINE}held curl\nheld tree\n", "held: curl tree"),
        (f"{FINE}half-installed tree\n", "dpkg --configure -a"),
        (f"{FINE}suite stable http://c/\n", "not part of bookworm: stable http://c/"),
        ("system debian bookworm\nfree 100000\n", "97 MiB free"),
        (f"{FINE}reboot required\n", ""),
        (
            "system ubuntu noble\nfree 9000000\nsuite stable http://c/\n",
            "",
        ),  # which it takes out itself
        ("system ubuntu noble\nfree 9000000\nreboot required\n", "system-update --reboot"),
        ("system ubuntu noble\nfree 9000000\nheld curl\n", "held: curl"),
    ],
)
def test_what_prevents_a_release_upgrade_is_named(output, why):
    problem = ready_for_release(output).problem
    assert why in problem
    assert bool(problem) == bool(why)

"""The tunnel: a visitor reaches Jupyter over SSH only, whatever happens to the connection."""

import contextlib
import re
import signal
import socket
import subprocess

import pytest

from . import lab as the_lab
from .fixtures.ways import asleep, group
from .visitor import PASSWORD, eventually


def test_jupyter_works_through_the_tunnel_until_ctrl_c(hidden, tunnel, tmp_path):
    with tunnel(hidden) as opened:
        visitor = opened.visitor()
        assert visitor.ask("GET", "/api/contents").status == 403
        assert visitor.log_in("wrong") == 401
        assert visitor.log_in(PASSWORD) == 302
        assert visitor.compute("6*7") == "42"
        assert "42x" in visitor.type_in_terminal("echo $((6*7))x\r", until="42x")
        opened.says("alive: Jupyter ")
        assert (tmp_path / "shown").read_text() == f"http://localhost:{opened.port}/jupyter/\n"
        assert group(opened.process)
        assert opened.end() == 0
        assert not group(opened.process)
        assert "Traceback" not in opened.text
        assert "tunnel closed" in opened.text.splitlines()[-1]


def test_verify_uses_a_tunnel_and_names_the_fix(hidden, fab):
    env = {"JUPYTER_PASSWORD": PASSWORD, "FABRIC_REMOTE_JUPYTER_JUPYTER_ACCESS": "tunnel"}

    def verify():
        done = fab(hidden, "verify", env=env, check=False)
        return done.returncode, re.findall(r"  (ok|failed) +([\w ]+): ", done.stdout), done.stdout

    status, steps, out = verify()
    names = ["server", "reachable", "login", "kernel", "terminal", "foreign origin"]
    assert (status, steps) == (0, [("ok", name) for name in names]), out
    # As an operator's own line in sshd's configuration may do.
    drop_in = "/etc/ssh/sshd_config.d/00-a.conf"
    hidden.ssh(f"echo 'PermitOpen none' >{drop_in}; systemctl reload ssh")
    status, steps, out = verify()
    assert (status, steps[:2]) == (1, [("ok", "server"), ("failed", "reachable")])
    assert "nothing answers through the tunnel: " in out
    assert "fix it with: harden-ssh" in out
    hidden.ssh(f"rm {drop_in}; systemctl reload ssh; systemctl stop jupyter")
    status, steps, out = verify()
    assert (status, {word for word, _ in steps}) == (
        1,
        {"failed"},
    )
    assert "fix it with: configure-jupyter" in out


def test_tunnel_ends_with_the_terminal(hidden, tunnel, tmp_path):
    with tunnel(hidden, "--no-browser") as opened:
        assert opened.port
        assert (opened.end(signal.SIGHUP), group(opened.process)) == (0, [])
    assert not (tmp_path / "shown").exists()


def test_taken_port_is_replaced_by_the_next_one(hidden, tunnel):
    with contextlib.ExitStack() as taken:
        taken.enter_context(tunnel(hidden, "--no-browser", "--port=8950"))
        first, *_ = [taken.enter_context(tunnel(hidden, "--no-browser", "--port=8960"))]
        assert first.port == 8960
        with socket.create_server(("127.0.0.1", 8961)):
            second = taken.enter_context(tunnel(hidden, "--no-browser", "--port=8960"))
            assert second.port == 8962
        assert re.search(r"local port 8960 is in use by ssh \(process \d+\)\n", second.text)
        assert re.search(r"local port 8961 is in use by py\S+ \(process \d+\)\n", second.text)
        assert second.visitor().log_in(PASSWORD) == 302


def test_tunnel_reconnects_while_the_kernel_runs(hidden, tunnel):
    with tunnel(hidden, "--no-browser") as opened:
        visitor = opened.visitor()
        assert visitor.log_in(PASSWORD) == 302
        with visitor.started("kernels", "id") as kernel:
            assert visitor.compute_in(kernel, "x = 41; x") == "41"
            hidden.nsenter("pkill -f '^sshd(-session)?: root'")
            opened.says("the connection is lost")
            assert eventually(lambda: opened.text.count("to Jupyter on the server") == 2), (
                opened.text
            )
            assert visitor.compute_in(kernel, "x + 1") == "42"
            asleep(opened.process, 11)
            opened.says("this machine was asleep")
            assert eventually(lambda: opened.text.count("to Jupyter on the server") == 3), (
                opened.text
            )
            assert visitor.compute_in(kernel, "x + 2") == "43"
        assert opened.end() == 0


def test_program_on_the_port_is_not_taken_for_jupyter(hidden, tunnel):
    with tunnel(hidden, "--no-browser") as opened:
        port = opened.port
        hidden.nsenter("pkill -f '^sshd(-session)?: root'")
        opened.says("the connection is lost")
        with socket.create_server(("localhost", port)):
            opened.says(f"the connection is lost (local port {port} is in use by py")
            assert opened.text.count("to Jupyter on the server") == 1
        assert eventually(lambda: opened.text.count("to Jupyter on the server") == 2, 30), (
            opened.text
        )
        assert opened.visitor().log_in(PASSWORD) == 302


def test_cut_line_and_missing_jupyter_are_reported(hidden, tunnel):
    with tunnel(hidden, "--no-browser") as opened:
        assert opened.port
        hidden.ssh("systemctl stop jupyter")
        opened.says("nothing answers on port 8888 of the server")
        hidden.ssh(
            "systemd-run -q --unit=other -p Type=exec python3 -m http.server -b 127.0.0.1 8888"
        )
        opened.says("does not serve Jupyter at /jupyter/")
        hidden.ssh("systemctl stop other; systemctl start jupyter")
        opened.says("alive: Jupyter")
        hidden.cut()
        try:
            opened.says("the connection is lost (the server no longer answers)", 40)
        finally:
            hidden.plug()
        assert eventually(lambda: opened.text.count("to Jupyter on the server") == 2, 40), (
            opened.text
        )
        assert opened.visitor().log_in(PASSWORD) == 302


# -- each form of authentication that fab has, and a host in between


@pytest.fixture
def agent(operator, lab):
    """An ssh-agent that knows the lab's key."""
    said = subprocess.run(
        ["ssh-agent", "-s"], capture_output=True, text=True, env=operator.env()
    ).stdout
    env = dict(re.findall(r"(SSH_\w+)=([^;]+);", said))
    subprocess.run(["ssh-add", "-q", lab.base.key()], env=operator.env(**env), check=True)
    yield {"SSH_AUTH_SOCK": env["SSH_AUTH_SOCK"]}
    subprocess.run(["ssh-agent", "-k"], env=operator.env(**env), stdout=subprocess.DEVNULL)


def test_tunnel_supports_every_login_of_fab(
    hidden, tunnel, agent, operator, tmp_path, tunnelled, new_host
):
    jump = new_host(hidden.suite, lower=tunnelled(hidden.suite))
    locked = tmp_path / "locked"
    keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "a phrase", "-f", str(locked)]
    subprocess.run(keygen, check=True)
    hidden.ssh(
        "cat >>.ssh/authorized_keys; echo root:'a word' | chpasswd",
        input=locked.with_suffix(".pub").read_text(),
    )
    drop_in = "/etc/ssh/sshd_config.d/00-a.conf"
    hidden.ssh(
        f"printf 'PermitRootLogin yes\\nPasswordAuthentication yes\\n' >{drop_in};"
        " systemctl reload ssh"
    )
    jump.ssh(f"echo 'PermitOpen {hidden.address}:22' >{drop_in}; systemctl reload ssh")
    config = tmp_path / "config"
    config.write_text(
        f"Host srv\n  HostName {hidden.address}\n  User root\n  IdentityFile {hidden.key}\n"
        f"Host far\n  HostName {hidden.address}\n  User root\n  ProxyJump jump\n"
        f"Host jump\n  HostName {jump.address}\n  User jupyter\n"
    )
    there = ["-H", hidden.string]
    ways = {
        "agent": {"core": there, "env": agent},
        "settings of ssh": {"core": ["-S", str(config), "-H", "srv"]},
        "a host in between": {"core": ["-S", str(config), "-H", "far", "-i", str(hidden.key)]},
        "a passphrase": {
            "core": [*there, "-i", str(locked), "--prompt-for-passphrase"],
            "input": "a phrase\n",
        },
        "a password": {"core": [*there, "--prompt-for-login-password"], "input": "a word\n"},
    }
    with contextlib.ExitStack() as stack:
        opened = {
            name: stack.enter_context(tunnel(hidden, "--no-browser", **way))
            for name, way in ways.items()
        }
        results = {name: one.visitor().log_in(PASSWORD) for name, one in opened.items()}
        assert results == dict.fromkeys(ways, 302)
        assert all(one.end() == 0 for one in opened.values())
    with tunnel(hidden, core=there) as refused:
        assert refused.process.wait(30) == 1
        assert "cannot open the tunnel: " in refused.text
        assert "Permission denied" in refused.text


def test_invalid_requests_fail_before_connecting(fab):
    absent = the_lab.Host("absent", "bookworm", "192.0.2.1", the_lab.base.folder(), ())
    done = fab(absent, "tunnel", "--port=99999", check=False, timeout=20)
    assert (done.returncode, done.stderr) == (
        2,
        "--port 99999: a whole number from 1 to 65535 is expected\n",
    )
    done = fab(
        [absent, absent.__class__("other", "bookworm", "192.0.2.2", the_lab.base.folder(), ())],
        "tunnel",
        check=False,
    )
    assert (done.returncode, done.stderr.splitlines()[0]) == (
        2,
        "tunnel connects to one server at a time; give one host with -H",
    )

"""The service of Jupyter: its sandbox, what runs it, how it is handled, and its password."""

import json
import re
import subprocess

import pytest

from .fixtures.operator import BIN, REPOSITORY
from .visitor import PASSWORD, eventually

UNIT = "/etc/systemd/system/jupyter.service"
SESSION = "/usr/local/lib/remote-jupyter-jupyter.sh"
TMUX = "tmux -S /run/jupyter/tmux"
CONFIG = "/home/jupyter/.jupyter/jupyter_server_config.py"
TUNNEL = {"jupyter.access": "tunnel"}
AT_WORK = """
import subprocess, sys
run = lambda *words: subprocess.run(words, capture_output=True, text=True)
pip = [sys.executable, "-m", "pip", "install", "-q", "--force-reinstall", "--no-deps", "six"]
done = [run(*pip).returncode, run("ps", "-e").returncode]
done += [run("sudo", "-n", "true").returncode != 0, run("touch", "/etc/x").returncode != 0]
done
"""


# Who types one of these tasks by hand does not repeat the settings of the installation.
ANOTHER_PYTHON = {"JUPYTER_ACCESS": "tunnel", "PYTHON_DISTRIBUTION": "anaconda"}


def test_kernels_terminals_and_pip_work_in_the_sandbox(hidden, tunnel):
    score = hidden.ssh("systemd-analyze security jupyter.service | tail -n 1").stdout
    assert float(re.search(r"level for jupyter.service: ([\d.]+)", score)[1]) <= 1.5
    with tunnel(hidden, "--no-browser") as opened:
        visitor = opened.visitor()
        assert visitor.log_in(PASSWORD) == 302
        assert "42x" in visitor.type_in_terminal("echo $((6*7))x\r", until="42x")
        assert visitor.compute(AT_WORK) == "[0, 0, True, True]"


def test_sudo_devices_and_memory_limit(hidden, tunnel, run):
    hidden.ssh("echo 'jupyter ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/test")
    look = "import os, subprocess; (os.path.exists('/dev/net/tun'),"
    look += " subprocess.run(['sudo', '-n', 'true']).returncode == 0)"
    with tunnel(hidden, "--no-browser") as opened:
        visitor = opened.visitor()

        def seen():
            assert eventually(lambda: visitor.ask("GET", "/api").status == 200)
            assert visitor.log_in(PASSWORD) == 302
            return visitor.compute(look)

        assert seen() == "(False, False)"
        more = TUNNEL | {"jupyter.devices": "/dev/net/tun", "jupyter.memory": "700M"}
        assert run(hidden, "configure-jupyter", settings=more).changed == {
            f"File {UNIT}",
            "restart jupyter",
        }
        assert seen() == "(True, False)"
        assert hidden.ssh("systemctl show -P MemoryMax jupyter").stdout == f"{700 << 20}\n"
        assert (
            run(hidden, "configure-jupyter", settings=TUNNEL | {"jupyter.sudo": "yes"}).status == 0
        )
        assert seen().endswith(", True)")
        assert run(hidden, "tunnel-setup").changed == {f"File {UNIT}", "restart jupyter"}
        assert seen() == "(False, False)"


def test_jupyter_runs_in_tmux(hidden, tunnel, run, fab):
    in_tmux = TUNNEL | {"jupyter.runner": "tmux"}
    first = run(hidden, "configure-jupyter", settings=in_tmux)
    assert {f"File {UNIT}", f"File {SESSION}", "restart jupyter"} < first.changed
    assert run(hidden, "configure-jupyter", settings=in_tmux).is_calm
    # What jupyter sees after an SSH login and `tmux attach`.
    attach = [*hidden.ssh_argv(f"timeout 3 {TMUX} attach", user="jupyter")]
    attach[1:1] = ["-tt"]
    shown = subprocess.run(
        attach, capture_output=True, text=True, env={"TERM": "xterm", "PATH": "/usr/bin:/bin"}
    ).stdout
    assert "ServerApp]" in shown, shown
    hidden.ssh("tmux new-session -d -s mine 'sleep 1000'", user="jupyter")
    with tunnel(hidden, "--no-browser") as opened:
        assert opened.visitor().log_in(PASSWORD) == 302
        assert "Jupyter Server" in fab(hidden, "logs").stdout
        hidden.ssh(f"{TMUX} kill-session -t =jupyter", user="jupyter")
        opened.says("nothing answers")
        opened.says("alive", 20)
        fab(hidden, "restart", env={"FABRIC_REMOTE_JUPYTER_JUPYTER_RUNNER": "tmux"})
        assert hidden.ssh(f"{TMUX} ls -F '#S'", user="jupyter").stdout == "jupyter\n"
        assert hidden.ssh("tmux ls -F '#S'", user="jupyter").stdout == "mine\n"
    hidden.reboot()
    assert eventually(
        lambda: hidden.ssh(f"{TMUX} has-session", user="jupyter", check=False).returncode == 0
    )
    assert eventually(
        lambda: (
            hidden.ssh("curl -sf http://127.0.0.1:8888/jupyter/api", check=False).returncode == 0
        ),
        30,
    )
    assert run(hidden, "configure-jupyter", settings=in_tmux).is_calm
    back = run(hidden, "tunnel-setup")
    assert back.changed == {f"File {UNIT}", f"FileAbsent {SESSION}", "restart jupyter"}
    assert hidden.ssh(f"{TMUX} ls", user="jupyter", check=False).returncode == 1


def test_root_never_runs_files_of_the_user(hidden, run, fab):
    watched = '#!/bin/sh\nid -u >>/home/jupyter/ran\nexec /home/jupyter/jupyter-env/bin/real "$@"\n'
    plant = """
        cd ~/jupyter-env/bin; wrapper=~/w/$(basename "$(readlink -f python)")
        ln -s /usr/bin/python3 real; mkdir ~/w; cat >"$wrapper"; chmod 755 "$wrapper"
        ln -sf "$wrapper" python; ln -sf "$wrapper" python3
    """
    hidden.ssh(plant, user="jupyter", input=watched)
    fab(
        hidden,
        "restart",
        "status",
        env={f"FABRIC_REMOTE_JUPYTER_{name}": value for name, value in ANOTHER_PYTHON.items()},
    )
    assert (
        run(hidden, "configure-jupyter", settings=TUNNEL | {"jupyter.interface": "notebook"}).status
        == 0
    )
    assert run(hidden, "install-anaconda").status == 0
    ran = hidden.ssh("sort -u /home/jupyter/ran").stdout
    assert ran == hidden.ssh("id -u jupyter").stdout


def test_start_stop_restart_and_status(hidden, fab):
    def by_hand(*words, check=True):
        return fab(
            hidden, *words, check=check, env={"FABRIC_REMOTE_JUPYTER_JUPYTER_ACCESS": "tunnel"}
        )

    before = hidden.ssh("systemctl show -P MainPID jupyter").stdout
    assert re.search(r"jupyter.service  state: active, responds\n", by_hand("status").stdout)
    assert by_hand("stop").stdout.endswith("jupyter.service stopped\n")
    stopped = by_hand("status", check=False)
    assert stopped.returncode == 1
    assert "state: inactive" in stopped.stdout
    assert "fix it with: start" in stopped.stderr
    assert hidden.ssh("systemctl is-enabled jupyter").stdout == "enabled\n"
    assert by_hand("start").stdout.endswith("jupyter.service started and responds\n")
    started = hidden.ssh("systemctl show -P MainPID jupyter").stdout
    assert by_hand("restart").stdout.endswith("jupyter.service restarted and responds\n")
    assert len({before, started, hidden.ssh("systemctl show -P MainPID jupyter").stdout}) == 3
    hidden.ssh("systemctl kill -s KILL jupyter")
    assert eventually(lambda: by_hand("status", check=False).returncode == 1)
    assert eventually(lambda: by_hand("status", check=False).returncode == 0, 30)  # back by itself
    assert "restarts after failures: 1" in by_hand("status").stdout
    hidden.ssh(f"echo 'c = 1 +' >>{CONFIG}")
    broken = by_hand("restart", check=False)
    assert broken.returncode == 1
    assert "restart failed" in broken.stderr
    assert "Traceback" not in broken.stderr
    assert by_hand("--dry", "start").stdout.endswith("dry run: would start jupyter.service\n")
    hidden.ssh(f"sed -i '$ d' {CONFIG}")
    by_hand("start")
    assert by_hand("open", check=False).returncode == 1


def test_log_is_followed_until_ctrl_c(hidden, fab, operator):
    core = ["-H", hidden.string, "-i", str(hidden.key)]
    log = operator.home / "log"
    with open(log, "w") as out:
        argv = [BIN / "fab", *core, "logs", "--follow", "--lines=3"]
        env = operator.env(PYTHONUNBUFFERED="1")
        process = subprocess.Popen(
            argv, cwd=REPOSITORY, env=env, stdout=out, stderr=out, start_new_session=True
        )
    try:
        assert eventually(lambda: log.read_text().count("\n") >= 3)
        hidden.ssh("systemctl restart jupyter")
        assert eventually(lambda: "Stopped jupyter.service" in log.read_text()), log.read_text()
        process.send_signal(2)
        assert process.wait(10) == 0
        assert "Traceback" not in log.read_text()
    finally:
        process.kill()
    assert eventually(lambda: hidden.ssh("pgrep -x journalctl", check=False).returncode == 1)


def test_new_password_applies_at_once_and_kernels_continue(hidden, tunnel, run, fab):
    with tunnel(hidden, "--no-browser") as opened:
        visitor, other = opened.visitor(), opened.visitor()
        assert visitor.log_in(PASSWORD) == other.log_in(PASSWORD) == 302
        kernel = json.loads(visitor.ask("POST", "/api/kernels", "{}").text)["id"]
        assert visitor.compute_in(kernel, "x = 42; x") == "42"
        changed = run(hidden, "set-password", JUPYTER_PASSWORD="another one")
        assert changed.changed == {"PasswordFile /home/jupyter/.jupyter/password-hash"}
        assert other.ask("GET", "/api/contents").status == 403  # the old login has ended
        assert visitor.log_in(PASSWORD) == 401
        assert visitor.log_in("another one") == 302
        assert visitor.compute_in(kernel, "x") == "42"
        hidden.ssh(": >/home/jupyter/.jupyter/password-hash")  # an empty one allows no login
        assert opened.visitor().ask("GET", "/api/contents").status == 403
        assert opened.visitor().log_in("") == 401
        assert visitor.log_in("another one") == 302
        run(hidden, "set-password", JUPYTER_PASSWORD="another one")
        assert run(hidden, "tunnel-setup", JUPYTER_PASSWORD="another one").is_calm
    assert (
        run(hidden, "set-password", "--no-prompt", check=False, JUPYTER_PASSWORD=" x").status == 2
    )
    hidden.ssh(f"sed -i '/PasswordOfFile/d' {CONFIG}")
    refused = run(hidden, "set-password", check=False)
    assert refused.status == 1
    assert "run configure-jupyter" in refused.text


def test_settings_that_the_server_did_not_load_are_found(hidden, run):
    drop_in = "/etc/systemd/system/jupyter.service.d/x.conf"
    start = "/home/jupyter/jupyter-env/bin/jupyter lab --no-browser --ServerApp.root_dir=/srv"
    hidden.ssh(
        f"mkdir {drop_in[:-7]}; printf '[Service]\\nExecStart=\\nExecStart={start}\\n' >{drop_in}"
    )
    hidden.ssh("systemctl daemon-reload; systemctl restart jupyter")
    assert eventually(
        lambda: (
            hidden.ssh("curl -sf http://127.0.0.1:8888/jupyter/api", check=False).returncode == 0
        ),
        30,
    )
    found = run(hidden, "tunnel-setup", check=False)
    assert found.status == 1
    assert "LoadedSettings jupyter" in found.text
    assert "root_dir is '/srv' and not '/home/jupyter/notebooks'" in found.text
    hidden.ssh(f"rm {drop_in}; systemctl daemon-reload")
    other = "/home/jupyter/.jupyter/jupyter_server_config.json"
    hidden.ssh(f"cat >{other}", user="jupyter", input='{"ServerApp": {"root_dir": "/srv"}}')
    found = run(hidden, "tunnel-setup", check=False)
    assert (found.status, found.changed) == (1, set())
    assert (
        "jupyter_server_config.json holds ServerApp.root_dir, which would override our settings"
        in found.text
    )
    hidden.ssh(f"rm {other}")
    assert run(hidden, "tunnel-setup").having("failed") == set()
    assert run(hidden, "tunnel-setup").is_calm


def test_classic_configuration_is_migrated(hidden, run, tunnel):
    classic = "/home/jupyter/.jupyter/jupyter_notebook_config.py"
    lines = [
        "c = get_config()",
        "c.NotebookApp.ip = '*'",
        "c.NotebookApp.password = u'sha1:0:0'",
        "c.NotebookApp.port = 9999",
    ]
    lines += [
        "c.NotebookApp.certfile = u'/nowhere.pem'",
        "c.NotebookApp.terminals_enabled = False",
        "",
    ]
    hidden.ssh(f"cat >{classic}", user="jupyter", input="\n".join(lines))
    in_notebook = TUNNEL | {"jupyter.interface": "notebook"}
    migrated = run(hidden, "configure-jupyter", settings=in_notebook)
    assert migrated.changed == {f"MovedAside {classic}", f"File {UNIT}", "restart jupyter"}
    assert run(hidden, "configure-jupyter", settings=in_notebook).is_calm
    assert hidden.ssh("cat /home/jupyter/.jupyter/classic.py").stdout == "\n".join(lines)
    assert "127.0.0.1:8888" in hidden.ssh("ss -Hltn").stdout
    assert "9999" not in hidden.ssh("ss -Hltn").stdout
    with tunnel(hidden, "--no-browser") as opened:
        visitor = opened.visitor()
        assert visitor.log_in(PASSWORD) == 302
        assert visitor.compute("6*7") == "42"
        assert visitor.ask("POST", "/api/terminals", "{}").status in (
            403,
            404,
        )  # what we say nothing of goes on


@pytest.mark.parametrize("words", ["status", "start", "logs", "logs --follow"])
def test_missing_service_is_reported(new_host, fab, words):
    bare = new_host("bookworm")
    done = fab(bare, *words.split(), check=False)
    assert done.returncode == 1
    assert "jupyter.service does not exist; run configure-jupyter first" in done.stderr

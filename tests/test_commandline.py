"""What `fab` prints by itself: the list, the help of a task, and answers to mistakes."""

import subprocess
import sys
from pathlib import Path

import pytest

import fabfile

ROOT = Path(__file__).parents[1]


def test_the_list_has_one_line_a_task_in_the_order_of_use(run_fab):
    lines = [line.split(maxsplit=1) for line in run_fab("--list").stdout.splitlines()[2:] if line]
    assert [name for name, *_ in lines] == list(fabfile.ns.task_names)
    assert all(text.endswith(".") for _, text in lines)


def test_help_shows_the_setting_and_default_of_a_flag(run_fab):
    text = " ".join(run_fab("--help", "full-setup").stdout.split())
    assert (
        "--base-url=STRING Path of Jupyter's URL. Setting jupyter.base_url, default: /jupyter."
        in text
    )
    text = " ".join(run_fab("--help", "create-user").stdout.split())
    assert "--sudo Grant sudo to the account that runs Jupyter;" in text
    assert "Setting user.sudo, default: false." in text
    assert "Setting user.authorized_keys, default: empty." in text
    assert "--lines=INT Number of past lines. Default: 50." in " ".join(
        run_fab("--help", "logs").stdout.split()
    )


@pytest.mark.parametrize(
    ("words", "answer"),
    {
        "fulsetup": "fulsetup: unknown task; did you mean full-setup?",
        "setup": "setup: unknown task; did you mean full-setup, tunnel-setup or direct-setup?",
        "--help verfy": "verfy: unknown task; did you mean verify?",
        "-H a full-setup xyzzy": "xyzzy: unknown task; see fab --list",
        "-H a stab": "stab: unknown task; see fab --list",
        "-H a full-setup --usr ada": "full-setup: unknown flag --usr; did you mean --user?",
        "--hots a full-setup": "unknown flag --hots; did you mean --hosts?",
        "-H a logs -q": "logs: unknown flag -q; see fab --help logs",
        "-H a full-setup --port 9999": "full-setup: unknown flag --port; for the setting "
        "jupyter.port, use -f FILE or FABRIC_REMOTE_JUPYTER_JUPYTER_PORT=…",
        "-H a full-setup --user": "full-setup: --user needs a value",
        "-H a logs --lines many": "--lines many: must be a whole number",
        "-H a logs --lines=many": "--lines many: must be a whole number",
        "--list --list-format jsn": "--list-format jsn: must be flat, nested or json; "
        "did you mean json?",
        "-H a full-setup --issuer lets": "remote_jupyter.tls.issuer: 'lets' is not valid: "
        "self-signed or letsencrypt or own; did you mean letsencrypt?",
    }.items(),
)
def test_a_mistake_gets_one_line_with_the_nearest_name(run_fab, words, answer):
    done = run_fab(*words.split())
    assert (done.returncode, done.stdout, done.stderr) == (2, "", answer + "\n")


def test_a_flag_that_several_settings_could_mean_names_them(run_fab):
    answer = run_fab("-H", "a", "install-apache", "--name", "x").stderr
    assert (
        "unknown flag --name; for the setting user.name or admin.name or jupyter.name, use"
        in answer
    )


def test_inv_says_that_a_task_belongs_to_fab():
    inv = Path(sys.executable).with_name("inv")
    done = subprocess.run([inv, "full-setup"], cwd=ROOT, capture_output=True, text=True)
    answer = "full-setup: this is a task of fab; run fab full-setup\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", answer)
    done = subprocess.run([inv, "lnt"], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr == "lnt: unknown task; did you mean lint?\n"


def test_fab_finds_the_tasks_from_another_folder(run_fab, tmp_path):
    done = run_fab("-r", ROOT, "fulsetup", cwd=tmp_path)
    assert done.stderr == "fulsetup: unknown task; did you mean full-setup?\n"


def test_a_teams_tasks_are_listed_in_the_order_of_its_fabfile(run_fab, tmp_path):
    (tmp_path / "remote_jupyter").symlink_to(ROOT / "fabfile")
    (tmp_path / "fabfile.py").write_text(
        "from fabric import task\nfrom fabric.main import program\n"
        "from remote_jupyter import adopt, verify, create_user\n"
        'adopt(program)\n@task\ndef a_task(c):\n    """Do ours."""\n'
    )
    lines = run_fab("--list", cwd=tmp_path).stdout.splitlines()[2:]
    assert [line.split()[0] for line in lines if line] == ["verify", "create-user", "a-task"]


def test_setup_without_parentheses_makes_a_task(run_fab, tmp_path):
    (tmp_path / "remote_jupyter").symlink_to(ROOT / "fabfile")
    (tmp_path / "fabfile.py").write_text(
        "from fabric.main import program\nfrom remote_jupyter import adopt, setup\n"
        'adopt(program)\n@setup\ndef workshop(c, s):\n    """Do ours."""\n    yield\n'
    )
    done = run_fab("--list", cwd=tmp_path)
    assert [line.split()[0] for line in done.stdout.splitlines()[2:] if line] == ["workshop"]
    answer = "workshop sets up a server: name it with -H [user@]host\n"
    assert run_fab("workshop", cwd=tmp_path).stderr == answer

"""What `fab` prints by itself: the list, the help of a task, and an answer to what was mistyped."""

from pathlib import Path

import pytest

import fabfile

ROOT = Path(__file__).parents[1]


def test_the_list_has_one_line_a_task_in_the_order_of_the_collection(run_fab):
    lines = [line.split(maxsplit=1) for line in run_fab("--list").stdout.splitlines()[2:] if line]
    assert [name for name, *_ in lines] == list(fabfile.ns.task_names)
    assert all(text.endswith(".") for _, text in lines)


def test_help_shows_the_setting_behind_a_flag_and_the_default(run_fab):
    text = " ".join(run_fab("--help", "full-setup").stdout.split())
    assert (
        "--base-url=STRING Path of Jupyter's URL. Setting jupyter.base_url, default: /jupyter."
        in text
    )
    text = " ".join(run_fab("--help", "create-user").stdout.split())
    assert "--no-sudo Do not grant sudo." in text
    assert "Setting user.sudo, default: true." in text
    assert "Setting user.authorized_keys, default: empty." in text
    assert "--lines=INT How many lines of what was. Default: 50." in " ".join(
        run_fab("--help", "logs").stdout.split()
    )


@pytest.mark.parametrize(
    ("words", "answer"),
    {
        "fulsetup": "fulsetup: there is no such task; did you mean full-setup?",
        "--help verfy": "verfy: there is no such task; did you mean verify?",
        "-H a full-setup xyzzy": "xyzzy: there is no such task; fab --list names all",
        "-H a full-setup --usr ada": "full-setup: there is no flag --usr; did you mean --user?",
        "--hots a full-setup": "there is no flag --hots; did you mean --hosts?",
        "-H a logs -q": "logs: there is no flag -q; fab --help TASK names those of a task",
        "-H a create-user --key x": "create-user: there is no flag --key; fab --help TASK names those of a task",
        "-H a full-setup --user": "full-setup: --user needs a value",
        "-H a logs --lines many": "--lines many: a whole number is expected",
        "-H a logs --lines=many": "--lines many: a whole number is expected",
        "--list --list-format jsn": "--list-format jsn: flat or nested or json; did you mean json?",
        "-H a full-setup --issuer lets": "remote_jupyter.tls.issuer: 'lets' is not valid: "
        "self-signed or letsencrypt or own; did you mean letsencrypt?",
    }.items(),
)
def test_what_was_mistyped_is_answered_with_the_nearest_in_one_line(run_fab, words, answer):
    done = run_fab(*words.split())
    assert (done.returncode, done.stdout, done.stderr) == (2, "", answer + "\n")


def test_a_teams_tasks_are_listed_in_the_order_of_their_fabfile(run_fab, tmp_path):
    (tmp_path / "remote_jupyter").symlink_to(ROOT / "fabfile")
    (tmp_path / "fabfile.py").write_text(
        "from fabric import task\nfrom fabric.main import program\nfrom remote_jupyter import adopt, verify, create_user\n"
        'adopt(program)\n@task\ndef a_task(c):\n    """Do ours."""\n'
    )
    lines = run_fab("--list", cwd=tmp_path).stdout.splitlines()[2:]
    assert [line.split()[0] for line in lines if line] == ["verify", "create-user", "a-task"]

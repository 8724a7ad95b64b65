"""The README's commands and its fabfile, on a server."""

import re
import shlex
import subprocess

import pytest

from .. import readme
from .fixtures.operator import BIN, REPOSITORY
from .visitor import PASSWORD


@pytest.fixture
def converged(new_host, tell):
    """A clone of a converged server, for this test alone."""
    return new_host("bookworm", lower=tell("bookworm").layer)


@pytest.fixture
def person(operator, converged):
    """Run a command of the README as a person with an SSH key and a settings file."""
    (operator.home / ".ssh/id_ed25519").write_text(converged.key.read_text())
    (operator.home / ".ssh/id_ed25519").chmod(0o600)
    public = subprocess.run(
        ["ssh-keygen", "-y", "-f", converged.key], check=True, capture_output=True, text=True
    ).stdout
    (operator.home / ".ssh/id_ed25519.pub").write_text(public)
    [settings] = [block for block in readme.blocks("yaml") if "user:" in block]
    (operator.home / "settings.yml").write_text(settings)

    def run(line, cwd, *statuses):
        words = shlex.split(
            line.replace(readme.HOST, converged.address).replace(
                "settings.yml", f"{operator.home}/settings.yml"
            )
        )
        assert words[0] in ("fab", ".venv/bin/fab")
        env = operator.env(JUPYTER_PASSWORD=PASSWORD)
        asked = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "timeout": 300}
        done = subprocess.run([BIN / "fab", *words[1:]], cwd=cwd, env=env, **asked)
        assert done.returncode in statuses, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run


def test_commands_and_fabfile_of_the_readme_run(person, tmp_path, converged):
    lines = readme.commands(on_a_host=True)
    assert len(lines) >= 4
    for line in (line for line in lines if "workshop" not in line):
        person(line, REPOSITORY, *((0, 3) if "--dry" in line else (0,)))

    [example] = readme.blocks("python")
    (tmp_path / "fabfile.py").write_text(example)
    (tmp_path / "remote_jupyter").symlink_to(REPOSITORY / "fabfile")
    assert "workshop" in person("fab --list", tmp_path, 0)
    [line] = [line for line in lines if "workshop" in line]
    person(line, tmp_path, 0)
    assert (
        converged.ssh("cat /etc/profile.d/workshop.sh; command -v dot").stdout
        == "export WORKSHOP=2026\n/usr/bin/dot\n"
    )
    assert " changed=0 " in person(line, tmp_path, 0)


def test_undo_commands_of_the_readme_work(converged, tell, full_setup):
    commands = {}
    for _, resource in readme.changes():
        command = resource.undo_hint().partition(", then ")[0]
        if re.match(r"(rm|a2dis\w+|ufw|systemctl) ", command) and "PORT" not in command:
            commands[resource.label] = command
    undone = [label for _, label in reversed(tell("bookworm").first.items) if label in commands]
    assert len(undone) > 15
    converged.ssh("\n".join(["set -e", *(commands[label] for label in dict.fromkeys(undone))]))
    foretold = full_setup(converged, "--dry")
    assert foretold.status == 3, foretold.text
    assert set(undone) <= foretold.having("would change", "unknown"), foretold.text

"""The parts of README.md that tests use: fenced blocks, and the table of `inv undo-table`."""

import re
from pathlib import Path

from fabric import Config, Connection

import fabfile
from fabfile.kit.plan import Flush, Section
from fabfile.kit.rollback import VerifyLogin
from fabfile.kit.task import SetupTask, hidden

README = Path(__file__).parents[1] / "README.md"
MARKS = "<!-- made by inv undo-table -->\n", "<!-- end -->\n"
HOST = "server.example.org"
NOT_RUN = "# not run in the tests"
# With default settings, the first asks for a password and the second has nothing to renew.
WITHOUT_A_PLAN = ("set-password", "renew-cert")


# Without it there is no administrator to create.
SETTINGS = {"create-admin": {"admin.name": "admin"}}


def blocks(language):
    """Return the text of each fenced block in *language*."""
    return re.findall(
        rf"^```{language}\n(.*?)^```$", README.read_text(encoding="utf-8"), re.M | re.S
    )


def commands(on_a_host):
    """Return the shell commands for a server, or those without one, except those not run in tests.

    Args:
        on_a_host: Whether to return the commands that name the example server.
    """
    lines = [
        line
        for block in blocks("sh")
        for line in block.splitlines()
        if line and NOT_RUN not in line
    ]
    return [line.split("  #")[0].strip() for line in lines if (HOST in line) is on_a_host]


def changes():
    """Yield (task, resource) for each change of each task with default settings, presets first."""
    config = Config(
        overrides={"run": {"dry": True}}, user_prefix="/nonexistent/", system_prefix="/nonexistent/"
    )
    c, seen = Connection(f"root@{HOST}", config=config), set()
    for name, task in fabfile.ns.tasks.items():
        if not isinstance(task, SetupTask) or name in WITHOUT_A_PLAN:
            continue
        tasks = []
        with hidden("FABRIC_"):
            parts = list(task.body(c, task.schema.load(c, SETTINGS.get(name))))
        for part in parts:
            if isinstance(part, Section):
                tasks.append(part.task) if part.task else tasks.pop()
            elif (
                not isinstance(part, (Flush, VerifyLogin))
                and not part.read_only
                and part.label not in seen
            ):
                seen.add(part.label)
                yield tasks[-1], part


def undo_table():
    """Return the table of all changes and how to undo them."""
    rows = [
        f"| `{task}` | {resource.label} | {resource.undo_hint()} |" for task, resource in changes()
    ]
    return "\n".join(["| task | change | undo |", "| --- | --- | --- |", *rows, ""])


def with_table(text):
    """Return the README's *text* with the current table."""
    before, _, rest = text.partition(MARKS[0])
    return before + MARKS[0] + undo_table() + MARKS[1] + rest.partition(MARKS[1])[2]


def main():
    """Write the table into the README."""
    README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")

"""README.md is right: its commands run, and the tasks, settings and tests it names exist."""

import re
import shlex
from pathlib import Path

import pytest

import fabfile
from fabfile.kit.resources import Resource
from fabfile.settings import schema

from . import readme

TEXT = readme.README.read_text(encoding="utf-8")
ROOT = readme.README.parent
PAGES = [
    readme.README,
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
]


def test_the_undo_table_is_up_to_date():
    assert readme.with_table(TEXT) == TEXT, "update it with: inv undo-table"


def kinds(base=Resource):
    """Yield every resource class of the package."""
    for kind in base.__subclasses__():
        if kind.__module__.startswith("fabfile"):
            if not kind.__name__.startswith("_"):  # a part of others
                yield kind
            yield from kinds(kind)


@pytest.mark.parametrize("kind", list(kinds()))
def test_each_resource_that_changes_something_has_an_undo_hint(kind):
    assert kind.read_only or kind.undo


@pytest.mark.parametrize("line", readme.commands(on_a_host=False))
def test_a_command_without_a_server_runs(run_fab, line):
    name, *words = shlex.split(line)
    assert name == ".venv/bin/fab", (
        f"{line}: mark it with {readme.NOT_RUN!r}, or let the test run it"
    )
    assert run_fab(*words).returncode == 0


def test_few_commands_are_not_run():
    assert TEXT.count(readme.NOT_RUN) <= 8


def test_the_tables_name_exactly_the_tasks():
    known = set(fabfile.ns.task_names)
    tables = TEXT.partition("## The tasks")[2].partition("\n## ")[0]
    named = {
        name
        for row in re.findall(r"^\| (`.*?) \|", tables, re.M)
        for name in re.findall(r"`([\w-]+)[^`]*`", row)
    }
    assert named == known


def test_named_settings_exist():
    groups = {dotted.split(".")[0] for dotted in schema.settings}
    named = {
        f"{group}.{name}" for group, name in re.findall(r"`(\w+)\.(\w+)", TEXT) if group in groups
    }
    assert named
    assert named <= set(schema.settings)


def test_each_guarantee_names_existing_tests():
    promises = TEXT.partition("## Safety guarantees")[2].partition("\n## ")[0]
    tests = {
        name
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)", file.read_text())
    }
    rows = [row for row in promises.splitlines() if row.startswith("* ")]
    parts = re.split(r"^\* ", promises, flags=re.M)[1:]
    assert len(rows) == len(parts) >= 6
    for part in parts:
        named = re.findall(r"`(test_\w+)`", part)
        assert named, (part, set(named) - tests)
        assert not set(named) - tests, (part, set(named) - tests)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_existing_files(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_files_exist(page):
    for name in re.findall(
        r"`((?:fabfile|tests|config|docs)/[\w./-]+)`", page.read_text(encoding="utf-8")
    ):
        assert Path(ROOT, name).exists() or "timezone" in name, (
            name
        )  # the example of CONTRIBUTING.md

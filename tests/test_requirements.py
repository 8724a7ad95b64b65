"""requirements.txt is installed without a resolver, so these tests are what sees that it is complete."""

import itertools
import os
import re
import subprocess
import sys
from importlib.metadata import requires, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from .hosts import pythons
from .samples import tomllib

REPOSITORY = Path(__file__).parents[1]
TEXT = (REPOSITORY / "requirements.txt").read_text()
PINNED = [Requirement(line) for line in re.findall(r"^(\w.*) \\$", TEXT, re.M)]
KNOWN = {("patchwork", "fabric")}  # patchwork says fabric<3; its helpers run on Fabric 3


def holds(need, python=None):
    """Return whether *need* is one, on this machine or with another Python, without extras."""
    more = {"python_version": python, "python_full_version": f"{python}.0"} if python else {}
    return need.marker is None or need.marker.evaluate({"extra": "", **more})


def pins(need, python):
    """Return the version that is pinned for *need*."""
    [pin] = [
        pin
        for pin in PINNED
        if canonicalize_name(pin.name) == canonicalize_name(need.name) and holds(pin, python)
    ]
    return str(pin.specifier).removeprefix("==")


@pytest.mark.parametrize("pin", [pin for pin in PINNED if holds(pin)], ids=str)
def test_a_pinned_version_is_installed_and_what_it_needs_is_pinned_for_each_python(pin):
    assert str(pin.specifier) == f"=={version(pin.name)}"
    for need in map(Requirement, requires(pin.name) or []):
        for python in pythons.VERSIONS:
            if holds(pin, python) and holds(need, python):
                assert (pin.name, need.name) in KNOWN or need.specifier.contains(
                    pins(need, python)
                ), python


def test_what_the_distribution_needs_is_pinned():
    asked = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    groups = [asked["project"]["dependencies"], *asked["dependency-groups"].values()]
    for need in map(Requirement, itertools.chain(*groups)):
        assert all(need.specifier.contains(pins(need, python)) for python in pythons.VERSIONS), need


def test_requirements_name_packages_and_hashes_and_no_place():
    blocks = re.split(r"^(?=\w)", TEXT, flags=re.M)[1:]
    assert len(blocks) == len(PINNED)
    assert all("\n    --hash=sha256:" in block for block in blocks)
    assert "://" not in TEXT
    assert not re.search(r"^-", TEXT, re.M)
    assert str(REPOSITORY) not in TEXT


def test_an_empty_environment_takes_requirements_and_lists_the_tasks(tmp_path):
    def run(*words):
        done = subprocess.run(
            words,
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            env=os.environ | {"PIP_NO_INPUT": "1"},
        )
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    run(sys.executable, "-m", "venv", tmp_path)
    run(
        tmp_path / "bin/pip",
        "install",
        "--quiet",
        "--no-deps",
        "--require-hashes",
        "-r",
        "requirements.txt",
    )
    assert re.search(r"^ +full-setup +\w", run(tmp_path / "bin/fab", "--list"), re.M)

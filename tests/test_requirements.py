"""requirements.txt is installed without a resolver, so these tests check that it is complete.

tests/hosts/test_package.py installs it into an empty environment.
"""

import itertools
import re
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
    """Return whether *need* applies here, or to another Python, without extras."""
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


INSTALLED = [pin for pin in PINNED if holds(pin)]


@pytest.mark.parametrize("pin", INSTALLED, ids=str)
def test_the_installed_version_is_the_pinned_one(pin):
    assert str(pin.specifier) == f"=={version(pin.name)}"


@pytest.mark.parametrize("pin", INSTALLED, ids=str)
def test_dependencies_are_pinned_for_each_python(pin):
    for need in map(Requirement, requires(pin.name) or []):
        for python in pythons.VERSIONS:
            if holds(pin, python) and holds(need, python):
                assert (pin.name, need.name) in KNOWN or need.specifier.contains(
                    pins(need, python)
                ), python


def test_the_dependencies_of_pyproject_are_pinned():
    asked = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    groups = [asked["project"]["dependencies"], *asked["dependency-groups"].values()]
    for need in map(Requirement, itertools.chain(*groups)):
        assert all(need.specifier.contains(pins(need, python)) for python in pythons.VERSIONS), need


def test_each_package_has_hashes_and_no_url_or_path():
    blocks = re.split(r"^(?=\w)", TEXT, flags=re.M)[1:]
    assert len(blocks) == len(PINNED)
    assert all("\n    --hash=sha256:" in block for block in blocks)
    assert "://" not in TEXT
    assert not re.search(r"^-", TEXT, re.M)
    assert str(REPOSITORY) not in TEXT

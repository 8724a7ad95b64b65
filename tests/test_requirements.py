"""requirements.txt is installed without a resolver, so this test is what sees that it is complete."""

from importlib.metadata import requires, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LINES = (Path(__file__).parents[1] / "requirements.txt").read_text().splitlines()
PINNED = [Requirement(line) for line in LINES if line and not line.startswith("#")]
KNOWN = {("patchwork", "fabric")}  # patchwork says fabric<3; its helpers run on Fabric 3


def is_needed(need):
    """Whether some supported Python needs it, without extras."""
    environments = [{"extra": "", "python_version": python} for python in ("3.11", "3.12", "3.13")]
    return need.marker is None or any(map(need.marker.evaluate, environments))


@pytest.mark.parametrize("pin", PINNED, ids=str)
def test_a_pinned_version_is_installed_and_so_is_all_that_it_needs(pin):
    assert str(pin.specifier) == f"=={version(pin.name)}"
    names = {canonicalize_name(other.name) for other in PINNED}
    for need in map(Requirement, requires(pin.name) or []):
        if is_needed(need):
            assert canonicalize_name(need.name) in names
            assert (pin.name, need.name) in KNOWN or need.specifier.contains(version(need.name))

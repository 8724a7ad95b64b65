"""Which tests need a host, on which release they run, in what order and on which worker."""

from pathlib import Path

import pytest

from . import releases

HERE = Path(__file__).parent
# The last to begin is what the other workers wait for: what takes longest comes first.
LONGEST_FIRST = [
    "release",
    "full_setup",
    "conda",
    "lockout",
    "certs",
    "faults_midway",
    "runner",
    "tls",
    "direct",
    "several",
    "tunnel",
]
# Tests that need no host of the others of their file run on a worker of their own.
APART = {
    "test_killed_operator_rolls_back_in_time": "killed_operator",
    "test_full_setup_with_anaconda_on_both_releases": "anaconda",
    "test_jupyter_moves_to_another_distribution": "anaconda",
    "test_removal_stops_the_service": "anaconda",
}


def pytest_generate_tests(metafunc):
    """Choose the releases of a test that asks for `suite` and does not say which."""
    marks = metafunc.definition.iter_markers("parametrize")
    named = any("suite" in mark.args[0] for mark in marks)
    if "suite" in metafunc.fixturenames and not named:
        metafunc.parametrize("suite", releases.of(metafunc), indirect=True)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark what needs a host, and give each test its place, before xdist reads the groups."""
    for item in items:
        group = item.path.stem.removeprefix("test_")
        if HERE in item.path.parents:
            item.add_marker("host")
            if {"lab", "layer", "new_host"} & set(item.fixturenames):
                item.add_marker("lab")
            group = APART.get(getattr(item, "originalname", item.name), group)
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=_place)
    return (yield)


def _place(item):
    """Return a number for sorting: the longest host tests first, other tests last."""
    if HERE not in item.path.parents:
        return len(LONGEST_FIRST) + 2
    group = item.get_closest_marker("xdist_group").args[0]
    if group in APART.values():
        return 0
    return LONGEST_FIRST.index(group) + 1 if group in LONGEST_FIRST else len(LONGEST_FIRST) + 1

"""Which tests need a host, on which release they run, and in what order."""

from pathlib import Path

import pytest

from . import releases
from .order import place

HERE = Path(__file__).parent


def pytest_generate_tests(metafunc):
    """Choose the releases of a test that asks for `suite` and does not say which."""
    marks = metafunc.definition.iter_markers("parametrize")
    named = any("suite" in mark.args[0] for mark in marks)
    if "suite" in metafunc.fixturenames and not named:
        metafunc.parametrize("suite", releases.of(metafunc), indirect=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark what needs a host, and put the longest tests first."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("host")
            if {"lab", "layer", "new_host"} & set(item.fixturenames):
                item.add_marker("lab")
    items.sort(key=place)

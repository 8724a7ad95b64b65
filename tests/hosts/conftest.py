"""Which tests need a host, and in what order they run."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent
LONGEST_FIRST = [
    "test_release",
    "test_full_setup",
    "test_lockout",
    "test_conda",
    "test_runner",
    "test_certs",
    "test_several",
]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark what needs a host, and what needs one of its own."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("host")
            if {"lab", "layer", "new_host"} & set(item.fixturenames):
                item.add_marker("lab")
    # Two workers end together when what takes longest comes first.
    order = {name: number for number, name in enumerate(LONGEST_FIRST)}
    items.sort(
        key=lambda item: (
            order.get(item.path.stem, len(order)) if HERE in item.path.parents else len(order) + 1
        )
    )

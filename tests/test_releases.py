"""The table of host tests that run on both Debian releases."""

import ast
from pathlib import Path

import pytest

from .hosts import releases

HOSTS = Path(__file__).parent / "hosts"


def names(file):
    """Return the names of the tests in a file."""
    tree = ast.parse((HOSTS / f"{file}.py").read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("name", releases.BOTH)
def test_the_table_names_a_test_and_a_reason(name):
    file, test = name.split("::")
    assert test in names(file)
    assert releases.BOTH[name]


def test_other_tests_take_turns_on_both_releases():
    class Metafunc:
        module = releases

        @staticmethod
        def function():
            pass

    suites = [releases.of(Metafunc) for _ in range(4)]
    assert [len(one) for one in suites] == [1] * 4
    assert suites[0] == suites[2] != suites[1] == suites[3]

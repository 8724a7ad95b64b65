"""Rules of the design that the source itself must keep."""

import ast
from pathlib import Path

import invoke
import pytest

import fabfile
from fabfile.kit.task import SetupTask

PACKAGE = Path(fabfile.__file__).parent
SOURCES = {
    str(path.relative_to(PACKAGE)): path.read_text(encoding="utf-8")
    for path in sorted(PACKAGE.rglob("*.py"))
}
TREES = {name: ast.parse(text) for name, text in SOURCES.items()}
OF_THE_KIT = [name for name in SOURCES if name.startswith("kit/")]
DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef
TASKS = {name: fabfile.ns[name] for name in fabfile.ns.task_names}
SETUP_TASKS = {name: task for name, task in TASKS.items() if isinstance(task, SetupTask)}


def nodes(kind, names=SOURCES):
    """Yield (source, node) for each node of this kind."""
    for name in names:
        for node in ast.walk(TREES[name]):
            if isinstance(node, kind):
                yield name, node


def imported(names=SOURCES):
    """Yield (source, how many folders up, module) for each import."""
    for name, node in nodes(ast.ImportFrom | ast.Import, names):
        if isinstance(node, ast.ImportFrom):
            yield name, node.level, node.module or ""
        else:
            yield from ((name, 0, alias.name) for alias in node.names)


def code_lines(name):
    """Return how many lines of a source are code: no blank line, comment or docstring."""
    documented = set()
    for _, node in nodes(DOCUMENTED, [name]):
        if ast.get_docstring(node) is not None:
            documented |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    lines = enumerate(map(str.strip, SOURCES[name].splitlines()), 1)
    return sum(
        bool(line) and not line.startswith("#") and number not in documented
        for number, line in lines
    )


def test_the_engine_stays_small():
    # Small enough to be read in an hour. Docstrings are not counted: they help the reader.
    lines = {name: code_lines(name) for name in OF_THE_KIT if name.count("/") == 1}
    assert sum(lines.values()) <= 1600, lines


def test_the_engine_imports_nothing_from_outside_itself():
    assert not [
        (name, module) for name, level, module in imported(OF_THE_KIT) if level > name.count("/")
    ]


def test_the_engine_knows_nothing_of_jupyter():
    for name in OF_THE_KIT:
        code = ast.parse(SOURCES[name])
        for node in ast.walk(code):
            if isinstance(node, DOCUMENTED) and ast.get_docstring(node) is not None:
                node.body[0] = ast.Pass()
        assert "jupyter" not in ast.unparse(code).lower().replace("remote-jupyter", ""), name


def test_imports_inside_the_package_are_relative():
    ours = {"fabfile", "remote_jupyter", "kit"} | {Path(name).stem for name in SOURCES} - {
        "patchwork"
    }
    assert not [
        (name, module)
        for name, level, module in imported()
        if not level and module.split(".")[0] in ours
    ]


def test_patchwork_is_imported_in_one_place():
    found = {
        name
        for name, level, module in imported()
        if not level and module.split(".")[0] == "patchwork"
    }
    assert found == {"kit/patchwork.py"}


def test_nothing_is_run_or_put_past_the_root_shell():
    of = ("c", "context", "connection", "self._connection")
    calls = (
        (name, node.func) for name, node in nodes(ast.Call) if isinstance(node.func, ast.Attribute)
    )
    found = [
        (name, ast.unparse(called))
        for name, called in calls
        if called.attr in ("run", "sudo", "put", "get", "local")
        and ast.unparse(called.value) in of
        and name != "kit/shell.py"
    ]
    assert not found


def test_no_f_string_builds_shell():
    found = []
    for name, node in nodes(ast.Call):
        if ast.unparse(node.func) in ("sh", "Shell"):
            found += [
                (name, ast.unparse(node))
                for part in ast.walk(node.args[0])
                if isinstance(part, ast.JoinedStr)
            ]
    assert not found


def test_no_shell_text_holds_a_zero_byte():
    # dash passes over it; what printf shall print is written with two backslashes.
    texts = [
        (name, node.value) for name, node in nodes(ast.Constant) if isinstance(node.value, str)
    ]
    assert not [(name, text) for name, text in texts if "\0" in text and "\n" in text]


def test_all_that_is_public_is_explained():
    # What a kind of resource has is explained once, where it is declared.
    [base] = [
        node
        for _, node in nodes(ast.ClassDef, ["kit/resources/base.py"])
        if node.name == "Resource"
    ]
    declared = {node.name for node in base.body if isinstance(node, ast.FunctionDef)}

    def silent(name, body, inside=""):
        for node in body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                if not ast.get_docstring(node) and not (inside and node.name in declared):
                    yield f"{name}: {inside}{node.name}"
                if isinstance(node, ast.ClassDef):
                    yield from silent(name, node.body, f"{node.name}.")

    assert not [name for name, tree in TREES.items() if not ast.get_docstring(tree)]
    assert not [found for name, tree in TREES.items() for found in silent(name, tree.body)]


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_explained_and_so_is_each_of_its_flags(name, monkeypatch):
    monkeypatch.setattr(
        TASKS[name], "help", dict(TASKS[name].help)
    )  # which get_arguments takes apart
    assert TASKS[name].__doc__
    assert TASKS[name].__doc__.splitlines()[0].endswith(".")
    assert not [flag for flag in TASKS[name].get_arguments() if len(flag.help or "") < 10]


def test_the_tasks_of_the_design_are_there():
    assert set(TASKS) >= {
        *(
            "preflight",
            "create-user",
            "harden-ssh",
            "firewall",
            "install-anaconda",
            "configure-jupyter",
            "install-apache",
        ),
        *("enable-apache-modules", "configure-apache", "issue-cert", "full-setup", "verify"),
    }


@pytest.mark.parametrize("name", SETUP_TASKS)
def test_a_setup_task_takes_a_report_and_refuses_the_operators_own_machine(name):
    assert "report" in TASKS[name].argspec(TASKS[name].body).parameters
    with pytest.raises(invoke.Exit) as caught:
        TASKS[name](invoke.Context())
    assert caught.value.code == 2
    assert "-H" in caught.value.message

"""Rules of the design that the source itself must keep."""

import ast
from pathlib import Path

import invoke
import pytest

import fabfile
from fabfile.kit.task import SetupTask

PACKAGE = Path(fabfile.__file__).parent
REPOSITORY = PACKAGE.parent
TESTS = REPOSITORY / "tests"
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef
TASKS = {name: fabfile.ns[name] for name in fabfile.ns.task_names}
SETUP_TASKS = {name: task for name, task in TASKS.items() if isinstance(task, SetupTask)}
LONGEST_NAME = 70
# What each part of the package imports from. The parts of a folder may import each other.
MAY_IMPORT = {
    "kit": {"kit"},
    "resources": {"kit", "resources"},
    "local": {"kit", "local"},
    "settings": {"kit", "resources", "local", "settings"},
    "tasks": {"kit", "resources", "local", "settings", "tasks"},
}
SUBJECTS = {
    *("jupyter", "conda", "pip", "venv", "apache", "apache2", "certbot", "letsencrypt"),
    *("ufw", "sshd", "notebook", "kernel"),
}


def sources(folder):
    """Return the text of each Python file of a folder, by its path."""
    return {
        str(path.relative_to(folder)): path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob("*.py"))
    }


SOURCES = sources(PACKAGE)
TREES = {name: ast.parse(text) for name, text in SOURCES.items()}
OF_THE_KIT = [name for name in SOURCES if name.startswith("kit/")]
TEST_TREES = {name: ast.parse(text) for name, text in sources(TESTS).items()}


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


def without_docstrings(name):
    """Return the code of a source without comments and docstrings."""
    tree = ast.parse(SOURCES[name])
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node) is not None:
            node.body[0] = ast.Pass()
    return ast.unparse(tree)


class TestLayout:
    """What belongs into which folder."""

    def test_the_engine_stays_small(self):
        # Small enough to be read in an hour. Docstrings are not counted: they help the reader.
        lines = {name: code_lines(name) for name in OF_THE_KIT if name.count("/") == 1}
        assert sum(lines.values()) <= 1800, lines

    def test_the_engine_imports_nothing_from_outside_itself(self):
        assert not [
            (name, module)
            for name, level, module in imported(OF_THE_KIT)
            if level > name.count("/")
        ]

    @pytest.mark.parametrize("name", OF_THE_KIT)
    def test_the_engine_names_no_subject(self, name):
        code = without_docstrings(name).lower().replace("remote-jupyter", "")
        assert "jupyter" not in code
        names = {
            word
            for node in ast.walk(TREES[name])
            for field in ("id", "attr", "arg", "name")
            if isinstance(found := getattr(node, field, None), str)
            for word in found.lower().split("_")
        }
        assert not names & SUBJECTS

    def test_imports_between_folders_run_one_way(self):
        found = []
        for name, level, module in imported():
            folder = name.partition("/")[0]
            if level == name.count("/") + 1 and folder in MAY_IMPORT:
                if module.partition(".")[0] not in MAY_IMPORT[folder]:
                    found.append((name, module))
        assert not found

    def test_tasks_define_no_classes(self):
        # A resource belongs into resources/, and what runs on this machine into local/.
        found = [
            (name, node.name) for name, node in nodes(ast.ClassDef) if name.startswith("tasks/")
        ]
        assert not found

    def test_only_presets_join_the_tasks_of_many_files(self):
        joined = {}
        for name, node in nodes(ast.YieldFrom):
            call = ast.unparse(node.value)
            if name.startswith("tasks/") and ".body(" in call:
                joined.setdefault(name, set()).add(call.partition(".body(")[0])
        del joined["tasks/presets.py"]
        assert joined == {
            # A site needs its modules; an ACME server's challenge needs a site, or Apache at least.
            "tasks/apache.py": {"enable_apache_modules", "configure_apache", "install_apache"},
            # The service runs the Jupyter of this Python.
            "tasks/jupyter.py": {"install_anaconda"},
            # A new release has another Python, for which both are set up again.
            "tasks/system.py": {"install_anaconda", "configure_jupyter"},
        }


class TestImports:
    """What is imported, and under which names."""

    def test_imports_inside_the_package_are_relative(self):
        ours = {"fabfile", "remote_jupyter", "kit"} | {Path(name).stem for name in SOURCES}
        assert not [
            (name, module)
            for name, level, module in imported()
            if not level and module.split(".")[0] in ours - {"patchwork"}
        ]

    def test_patchwork_is_imported_in_one_place(self):
        found = {
            name
            for name, level, module in imported()
            if not level and module.split(".")[0] == "patchwork"
        }
        assert found == {"kit/patchwork.py"}

    def test_no_name_shadows_an_import(self):
        trees = {
            **{f"fabfile/{name}": tree for name, tree in TREES.items()},
            **{f"tests/{name}": tree for name, tree in TEST_TREES.items()},
            "tasks.py": ast.parse((REPOSITORY / "tasks.py").read_text(encoding="utf-8")),
        }
        found = {
            f"{name}:{line} {shadow}"
            for name, tree in trees.items()
            for shadow, line in shadows(tree)
        }
        assert not found

    @pytest.mark.parametrize(
        ("code", "names"),
        [
            ("import os\ndef f(os): pass", ["os"]),
            ("from a import b as c\nc = 1", ["c"]),
            ("import a\ndef f():\n for a in []: pass", ["a"]),
            ("import a\nf = lambda *a: 1", ["a"]),
            ("from a import b\ndef b(): pass", ["b"]),
            ("import a\ntry: pass\nexcept E as a: pass", ["a"]),
            ("import a\nclass C:\n a: int\n def a(self): pass", []),
            ("import a.b\nb = 1", []),
        ],
    )
    def test_a_shadow_is_found(self, code, names):
        assert [name for name, _ in shadows(ast.parse(code))] == names


def shadows(tree):
    """Yield (name, line) for each name that hides what the same module imports."""
    names = {
        (alias.asname or alias.name).partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    of_classes = {  # an attribute hides nothing
        part
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for statement in node.body
        for part in (statement, getattr(statement, "target", None))
    }
    for node in ast.walk(tree):
        name = None
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            name = node.id
        elif isinstance(node, ast.arg):
            name = node.arg
        elif isinstance(node, ast.ExceptHandler | ast.FunctionDef | ast.ClassDef):
            name = node.name
        if name in names and node not in of_classes:
            yield name, node.lineno


def constant(node):
    """Return whether an expression is a text, a constant of a module, or a sum of these."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return constant(node.left) and constant(node.right)
    if isinstance(node, ast.Name | ast.Attribute):
        return ast.unparse(node).rpartition(".")[2].isupper()
    return isinstance(node, ast.Constant)


class TestShell:
    """How shell text is made and run."""

    def test_every_command_goes_through_the_root_shell(self):
        of = ("c", "context", "connection", "self._connection")
        calls = (
            (name, node.func)
            for name, node in nodes(ast.Call)
            if isinstance(node.func, ast.Attribute)
        )
        found = [
            (name, ast.unparse(called))
            for name, called in calls
            if called.attr in ("run", "sudo", "put", "get", "local")
            and ast.unparse(called.value) in of
            and name != "kit/shell.py"
        ]
        assert not found

    def test_shell_text_is_constant(self):
        found = []
        quoting = {name: set() for name in SOURCES}  # what each source imports of kit.quote
        for name, node in nodes(ast.ImportFrom):
            if (node.module or "").rpartition(".")[2] == "quote":
                quoting[name] |= {alias.name for alias in node.names}
        for name, node in nodes(ast.Call):
            called = ast.unparse(node.func)
            if called in ("sh", "Shell"):
                found += [
                    (name, ast.unparse(node))
                    for part in ast.walk(node.args[0])
                    if isinstance(part, ast.JoinedStr)
                ]
            if called in ("script", "program") and called in quoting[name]:
                if not constant(node.args[0]):
                    found.append((name, ast.unparse(node)))
        assert not found

    def test_no_shell_text_holds_a_null_byte(self):
        # dash skips it; what printf is to print is written with two backslashes.
        texts = [
            (name, node.value) for name, node in nodes(ast.Constant) if isinstance(node.value, str)
        ]
        assert not [(name, text) for name, text in texts if "\0" in text and "\n" in text]


class TestWords:
    """What is explained, and what is too long."""

    def test_all_that_is_public_is_explained(self):
        # What a kind of resource has is explained once, where it is declared.
        [base] = [
            node
            for _, node in nodes(ast.ClassDef, ["kit/resources/base.py"])
            if node.name == "Resource"
        ]
        declared = {node.name for node in base.body if isinstance(node, ast.FunctionDef)}

        def silent(name, body, inside=""):
            for node in body:
                if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith(
                    "_"
                ):
                    if not ast.get_docstring(node) and not (inside and node.name in declared):
                        yield f"{name}: {inside}{node.name}"
                    if isinstance(node, ast.ClassDef):
                        yield from silent(name, node.body, f"{node.name}.")

        assert not [name for name, tree in TREES.items() if not ast.get_docstring(tree)]
        assert not [found for name, tree in TREES.items() for found in silent(name, tree.body)]

    @pytest.mark.parametrize("name", TASKS)
    def test_a_task_and_each_of_its_flags_are_explained(self, name, monkeypatch):
        help = dict(TASKS[name].help)  # which get_arguments takes apart
        monkeypatch.setattr(TASKS[name], "help", help)
        assert TASKS[name].__doc__
        assert TASKS[name].__doc__.splitlines()[0].endswith(".")
        assert not [flag for flag in TASKS[name].get_arguments() if len(flag.help or "") < 10]

    def test_names_of_tests_are_short(self):
        found = {
            f"{name}: {node.name}"
            for name, tree in TEST_TREES.items()
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef)
            and node.name.startswith("test_")
            and len(node.name) > LONGEST_NAME
        }
        assert not found


class TestTasks:
    """What `fab --list` shows."""

    def test_the_tasks_of_the_design_are_there(self):
        assert set(TASKS) >= {
            *("preflight", "create-user", "harden-ssh", "firewall"),
            *("install-anaconda", "configure-jupyter"),
            *("install-apache", "enable-apache-modules", "configure-apache"),
            *("issue-cert", "full-setup", "verify"),
        }

    @pytest.mark.parametrize("name", SETUP_TASKS)
    def test_a_setup_task_takes_a_report(self, name):
        assert "report" in TASKS[name].argspec(TASKS[name].body).parameters

    @pytest.mark.parametrize("name", SETUP_TASKS)
    def test_a_setup_task_refuses_the_operators_own_machine(self, name):
        with pytest.raises(invoke.Exit) as caught:
            TASKS[name](invoke.Context())
        assert caught.value.code == 2
        assert "-H" in caught.value.message

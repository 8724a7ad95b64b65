"""Run shellcheck over all shell.

That is the scripts, the constant texts of `script` calls, and every text that the resources of the
samples and of the tasks generate. A finding names the script, the source line, the sample or the
task. To keep the texts in FOLDER: python -m tests.shell_texts FOLDER
"""

import ast
import contextlib
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from textwrap import dedent

from fabric import Config, Connection
from invoke import Exit

import fabfile
from fabfile.kit import quote, secret, shell
from fabfile.kit.ledger import Ledger
from fabfile.kit.resources.base import Resource
from fabfile.kit.task import SetupTask
from fabfile.local import openssh, ssh_keys
from fabfile.settings import schema

from .samples import load, resources, samples

REPOSITORY = Path(__file__).parents[1]
SCRIPTS = [REPOSITORY / ".ci/run", *sorted((REPOSITORY / "tests/hosts").glob("*.sh"))]
PROGRAMS = sorted((REPOSITORY / "config/scripts").glob("*.sh"))
WAYS = [  # the ways to Jupyter, with the settings that change most
    {"admin.name": "ada"},
    {
        "jupyter.access": "tunnel",
        "jupyter.runner": "tmux",
        "python.distribution": "venv",
        "python.update": "yes",
    },
    {
        "jupyter.access": "direct",
        "python.distribution": "miniforge",
        "python.upload": "yes",
        "user.sudo": "no",
    },
    {
        "tls.issuer": "letsencrypt",
        "tls.email": "ada@example.org",
        "tls.domains": "example.org",
        "python.accept_terms": "yes",
    },
]
TASKS = {
    name: fabfile.ns[name]
    for name in fabfile.ns.task_names
    if isinstance(fabfile.ns[name], SetupTask)
}
LEFT_OUT = {
    "SC2015": "a && b || c runs c if either fails, and that is meant",
    "SC2174": "the parent folders keep their usual mode",
    "SC1091": "/etc/os-release is a file of the server",
    "SC2016": "text in single quotes is for another shell, and checked by itself",
    "SC2034": "a part that several texts share may set what one of them does not use",
    "SC2043": "a loop over values that were put in; here it was one value",
    "SC2041": "the same, with a quoted value",
    "SC2157": "a value that was put in is constant here",
}
PLAIN_LEFT_OUT = {
    "SC2154": "`script` and `program` assign the variables before this text",
    "SC2164": "steps run with `set -e`; the generated texts are checked for it",
}


LEDGER = Ledger()


class Texts(dict):
    """Shell texts by names that are good for files. A repeated text keeps its first name."""

    def __init__(self):
        super().__init__()
        self.known, self.name = set(), ""
        self.quoted = quote.words

    def add(self, kind, text):
        """Add *text*, which belongs to what `name` says now."""
        if text and str(text) not in self.known:
            self.known.add(str(text))
            start = "set -e; " if kind in ("apply", "inner") else ""  # as they are run
            self[f"{self.name}.{kind}.{len(self)}"] = f"{start}{text}\n"

    def words(self, values):
        """Stand in for `quote.words`, which puts one script into another, and add the inner one."""
        values = list(values)
        for value in values:
            if isinstance(value, quote.Shell) or "\n" in str(value):
                self.add("inner", str(value).replace("$$", "$"))  # systemd needs them doubled
        return self.quoted(values)

    def resource(self, resource):
        """Add the texts of a resource and its handlers, and its content if that is a script."""
        self.add("probe", resource.probe())
        handlers = (
            resource.notify,
            getattr(resource, "reload", None),
            getattr(resource, "restart", None),
        )
        for handler in filter(None, handlers):
            for text in (handler.script, LEDGER.mark_pending(handler), LEDGER.run(handler)):
                self.add("handler", text)
        if resource.rollback:
            self.add("rollback", LEDGER.arm(resource.rollback))
        if isinstance(resource, resources.File) and (
            resource.content.startswith("#!") or resource.path.endswith(".sh")
        ):
            self.add("content", resource.content)
            self.add("apply", resource.apply(resource.parse("absent\n")))


def constants():
    """Return the constant texts of `script` calls by their source lines."""
    texts = {}
    package = Path(fabfile.__file__).parent
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "script":
                if node.args and isinstance(node.args[0], ast.Constant):
                    name = ".".join(path.relative_to(package).with_suffix("").parts)
                    texts[f"{name}.{node.lineno}"] = dedent(node.args[0].value).strip("\n") + "\n"
    return texts


def generated():
    """Return all texts that are generated, by their names."""
    texts = Texts()
    for name in [name for name in os.environ if name.startswith("FABRIC_")]:
        del os.environ[name]
    os.environ["JUPYTER_PASSWORD"] = "x"  # set-password asks for one
    for scheme in ("argon2", "sha512_crypt"):
        # Slow hashes are not the subject here.
        secret._scheme(scheme).default_rounds = secret._scheme(scheme).min_rounds
    for module in [module for name, module in sys.modules.items() if name.startswith("fabfile.")]:
        if getattr(module, "words", None) is texts.quoted:
            module.words = texts.words
    for name in ("lock", "list", "roll_back", "disarm"):
        texts.add(name, getattr(LEDGER, name)())
    texts.add("preamble", shell.PREAMBLE)
    texts.add("askpass", openssh.ASKPASS)
    texts.add("copy-key", ssh_keys.COPY)
    texts.add("find-key", ssh_keys.FIND)
    for name, sample in samples().items():
        texts.name, resource = name.replace("/", "."), load(sample)
        texts.resource(resource)
        if sample["expect"].get("changed") and "conflict" not in sample["expect"]:
            texts.add("apply", resource.apply(resource.parse(sample["probe"]["output"])))
    c = Connection("root@example.org", config=Config(), inline_ssh_env=False)
    for name, task in TASKS.items():
        planned = False
        for number, settings in enumerate(WAYS):
            texts.name = f"{name}.{number}"
            flags = {"yes": True} if "yes" in task.extra else {}
            with contextlib.suppress(ValueError, Exit):  # the task is for another way
                for part in list(task.body(c, schema.load(c, settings), **flags)):
                    planned = True
                    if isinstance(part, Resource):
                        texts.resource(part)
        assert planned, name
    return texts


def main(folder):
    """Run shellcheck over all texts, which go to *folder*, and over the scripts."""
    program = [Path(sys.executable).parent / "shellcheck", "--format=gcc"]
    plain = [*program, "--shell=sh", f"--exclude={','.join([*LEFT_OUT, *PLAIN_LEFT_OUT])}"]
    program.append(f"--exclude={','.join(LEFT_OUT)}")
    texts = generated()
    for name, text in (texts | constants()).items():
        (folder / name).write_text(text, encoding="utf-8", errors="surrogateescape")
    names = list(texts)
    runs = [[*program, *SCRIPTS], [*plain, *PROGRAMS, *constants()]]
    runs += [[*program, "--shell=sh", *names[part::4]] for part in range(4)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        done = pool.map(lambda words: subprocess.run(words, cwd=folder).returncode, runs)
        sys.exit(any(list(done)))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    with tempfile.TemporaryDirectory() as made:
        main(Path(made))

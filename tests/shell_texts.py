"""Runs shellcheck over all shell: the scripts, and every text that the resources of the samples and of the tasks generate.

python -m tests.shell_texts [FOLDER], where FOLDER keeps the texts; a finding names the sample or the task.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

from invoke import Config, Exit

import fabfile
from fabfile.kit import quote, rollback, secret, shell
from fabfile.kit.resources.base import Resource
from fabfile.kit.task import SetupTask
from fabfile.local import openssh, ssh_keys
from fabfile.settings import schema

from .samples import load, resources, samples

REPOSITORY = Path(__file__).parents[1]
SCRIPTS = [REPOSITORY / ".ci/run", *sorted((REPOSITORY / "tests/hosts").glob("*.sh"))]
WAYS = [  # the ways to Jupyter, and between them what changes most
    {},
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
    "SC2015": "a && b || c is meant as it is: c where either fails",
    "SC2174": "the folders above keep the usual mode",
    "SC1091": "/etc/os-release is the server's",
    "SC2016": "a text in single quotes is for another shell, and looked at by itself",
    "SC2034": "a part that several texts have sets what not all of them use",
    "SC2043": "the values of a loop were put in; here there was one",
    "SC2041": "the same, where it is quoted",
    "SC2157": "a value was put in, and is constant here",
}


class Texts(dict):
    """The texts by names that are good for files; a text that comes again keeps its first name."""

    def __init__(self):
        super().__init__()
        self.known, self.name = set(), ""

    def add(self, kind, text):
        """Note *text*, of the thing that is named now."""
        if text and str(text) not in self.known:
            self.known.add(str(text))
            start = "set -e; " if kind in ("apply", "inner") else ""  # as they are run
            self[f"{self.name}.{kind}.{len(self)}"] = f"{start}{text}\n"

    def words(self, values):
        """Stand for `quote.words`, which puts one script into another: note that script."""
        values = list(values)
        for value in values:
            if isinstance(value, quote.Shell) or "\n" in str(value):
                self.add("inner", str(value).replace("$$", "$"))  # as systemd has it
        return quote.words(values)

    def resource(self, resource):
        """Note what *resource* asks and what its handler runs, and the scripts among the files."""
        self.add("probe", resource.probe())
        handlers = (
            resource.notify,
            getattr(resource, "reload", None),
            getattr(resource, "restart", None),
        )
        for handler in filter(None, handlers):
            for text in (handler.script, handler.mark_pending(), handler.run()):
                self.add("handler", text)
        if resource.rollback:
            self.add("guard", resource.rollback.arm())
        if isinstance(resource, resources.File) and (
            resource.content.startswith("#!") or resource.path.endswith(".sh")
        ):
            self.add("content", resource.content)
            self.add("apply", resource.apply(resource.parse("absent\n")))


def gathered():
    """Return all texts by their names."""
    texts = Texts()
    for name in [name for name in os.environ if name.startswith("FABRIC_")]:
        del os.environ[name]
    os.environ["JUPYTER_PASSWORD"] = "x"  # set-password asks for one
    for scheme in ("argon2", "sha512_crypt"):
        secret._scheme(scheme).default_rounds = secret._scheme(
            scheme
        ).min_rounds  # how slow hashes are is not the subject
    for module in [module for name, module in sys.modules.items() if name.startswith("fabfile.")]:
        if getattr(module, "words", None) is quote.words and module is not quote:
            module.words = texts.words
    for name, text in vars(rollback).items():
        if isinstance(text, quote.Shell):
            texts.add(name.lower(), text)
    texts.add("preamble", shell.PREAMBLE)
    texts.add("askpass", openssh.ASKPASS)
    texts.add("copy-key", ssh_keys.COPY)
    for name, sample in samples().items():
        texts.name, resource = name.replace("/", "."), load(sample)
        texts.resource(resource)
        if sample["expect"].get("changed") and "conflict" not in sample["expect"]:
            texts.add("apply", resource.apply(resource.parse(sample["probe"]["output"])))
    c = SimpleNamespace(
        config=Config(),
        host="example.org",
        original_host="example.org",
        port=22,
        user="root",
        connect_kwargs={},
    )
    c.transport = None
    for name, task in TASKS.items():
        planned = False
        for number, settings in enumerate(WAYS):
            texts.name = f"{name}.{number}"
            with contextlib.suppress(
                ValueError, Exit
            ):  # which say that this task is for another way
                for part in list(
                    task.body(
                        c,
                        schema.load(c, settings),
                        **({"yes": True} if "yes" in task.extra else {}),
                    )
                ):
                    planned = True
                    if isinstance(part, Resource):
                        texts.resource(part)
        assert planned, name
    return texts


def main(folder):
    """Run shellcheck over all texts, which go to *folder*, and over the scripts."""
    for name, text in (texts := gathered()).items():
        (folder / name).write_text(text, encoding="utf-8", errors="surrogateescape")
    options = ["--format=gcc", f"--exclude={','.join(LEFT_OUT)}"]
    names = list(texts)
    runs = [[*SCRIPTS], *(["--shell=sh", *names[part::4]] for part in range(4))]

    def run(words):
        return subprocess.run(
            [Path(sys.executable).parent / "shellcheck", *options, *words], cwd=folder
        ).returncode

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        sys.exit(any(list(pool.map(run, runs))))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    with tempfile.TemporaryDirectory() as made:
        main(Path(made))

"""A virtual environment, and what pip installed in it."""

import re
from dataclasses import dataclass

from ..quote import sh, words
from .base import Resource
from .directory import Directory
from .unit import as_unit


def canonical(name):
    """Return the name of a Python distribution as PyPI compares it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


@dataclass(frozen=True)
class Venv(Resource):
    """A Python virtual environment at *path* that belongs to *user*."""

    path: str
    user: str

    slow = True

    def probe(self):
        return sh(
            """
            p={}
            if [ -L "$p" ]; then echo 'a symbolic link'
            elif [ -f "$p/pyvenv.cfg" ]; then
                set -- "$p"/lib/python3*/site-packages/pip/__init__.py
                if [ -x "$p/bin/python" ] && [ -f "$1" ]; then stat -c '%U' "$p/pyvenv.cfg"; else echo unfinished; fi
            elif [ -e "$p" ] && { [ ! -d "$p" ] || [ -n "$(ls -A "$p")" ]; }; then echo 'something else'
            else echo absent; fi
            """,
            self.path,
        )

    def parse(self, output):
        state = output.strip()
        return {"owner": None if state in ("absent", "unfinished") else state}

    def want(self):
        return {"owner": self.user}

    def refuse(self, seen):
        if seen["owner"] in (None, self.user):
            return None
        return f"there is {seen['owner']} and no environment of {self.user}; move it away, or set python.prefix"

    def apply(self, seen):
        # What is there is mended and not cleared: the user may have installed more.
        return sh(
            """
            {}
            {}
            """,
            Directory(self.path, self.user).apply({}),
            as_unit("remote-jupyter-venv", sh("python3 -m venv {}", self.path), self.user),
        )


@dataclass(frozen=True)
class PipPackages(Resource):
    """Distributions that pip installed in the environment at *prefix*, such as ``jupyterlab`` or ``notebook==7.5.*``."""

    prefix: str
    user: str
    packages: tuple[str, ...]

    changes_unseen = True
    slow = True

    @property
    def label(self):
        return f"PipPackages {' '.join(self.packages)}"

    def probe(self):
        # RECORD is what pip writes last of each distribution.
        return sh("ls -d {}/lib/python3*/site-packages/*.dist-info/RECORD 2>/dev/null; :", self.prefix)

    def parse(self, output):
        from packaging.requirements import Requirement

        found = dict(re.findall(r"site-packages/(.+?)-([^-]+)\.dist-info/RECORD", output))
        versions = {canonical(name): version for name, version in found.items()}
        seen = {}
        for package in self.packages:
            requirement = Requirement(package)
            version = versions.get(canonical(requirement.name))
            fits = version is not None and requirement.specifier.contains(version, prereleases=True)
            seen[package] = "installed" if fits else version
        return seen

    def want(self):
        return {package: "installed" for package in self.packages}

    def apply(self, seen):
        pip = "{} install --no-input --disable-pip-version-check --progress-bar off {}"
        return as_unit("remote-jupyter-pip", sh(pip, f"{self.prefix}/bin/pip", words(self.packages)), self.user)

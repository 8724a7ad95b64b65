"""A virtual environment, and what pip installed in it."""

import re
from dataclasses import dataclass

from ..kit.quote import sh, words
from ..kit.resources.base import CANNOT_KNOW, Resource
from ..kit.resources.directory import Directory
from ..kit.resources.unit import as_unit

RECORD = re.compile(
    r"site-packages/(.+?)-([^-]+)\.dist-info/RECORD"
)  # what pip writes last of each distribution


def canonical(name):
    """Return the name of a Python distribution as PyPI compares it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed(packages, found):
    """Return "installed" for each of *packages* that is among the (name, version) *found*, else the version that is, or None."""
    from packaging.requirements import Requirement

    versions = {canonical(name): version for name, version in found}
    actual = {}
    for package in packages:
        requirement = Requirement(package)
        version = versions.get(canonical(requirement.name))
        actual[package] = "installed" if version and fits(requirement, version) else version
    return actual


def fits(requirement, version):
    """Return whether *version*, as pip or conda has it, is allowed by *requirement*."""
    from packaging.version import InvalidVersion

    try:
        return not requirement.specifier or requirement.specifier.contains(
            version, prereleases=True
        )
    except InvalidVersion:
        return False


@dataclass(frozen=True)
class Venv(Resource):
    """A Python virtual environment at *path* that belongs to *user*."""

    path: str
    user: str

    slow = True

    undo = "rm -r {0.path}"

    def probe(self):
        return sh(
            """
            p={}
            if [ -L "$p" ]; then echo 'a symbolic link'
            elif [ -f "$p/pyvenv.cfg" ]; then
                # A new release of the system brings another Python, for which nothing is there yet.
                python=$(readlink -f "$p/bin/python")
                pip="$p/lib/${python##*/}/site-packages/pip/__init__.py"
                if [ -x "$python" ] && [ -f "$pip" ]; then stat -c '%U' "$p/pyvenv.cfg"; else echo unfinished; fi
            elif [ -e "$p" ] && { [ ! -d "$p" ] || [ -n "$(ls -A "$p")" ]; }; then echo 'something else'
            else echo absent; fi
            """,
            self.path,
        )

    def parse(self, output):
        state = output.strip()
        return {"owner": None if state in ("absent", "unfinished") else state}

    def desired(self):
        return {"owner": self.user}

    def conflict(self, actual):
        if actual["owner"] in (None, self.user):
            return None
        return f"there is {actual['owner']} and no environment of {self.user}; move it away, or set python.prefix"

    def apply(self, actual):
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

    needs_reprobe = slow = True

    undo = "{0.prefix}/bin/pip uninstall {1}"

    @property
    def label(self):
        return f"PipPackages {' '.join(self.packages)}"

    def probe(self):
        return sh(
            """
            p={}; python=$(readlink -f "$p/bin/python")
            ls -d "$p/lib/${python##*/}"/site-packages/*.dist-info/RECORD 2>/dev/null; :
            """,
            self.prefix,
        )

    def parse(self, output):
        return installed(self.packages, RECORD.findall(output))

    def desired(self):
        return dict.fromkeys(self.packages, "installed")

    def apply(self, actual):
        pip = "{} install --no-input --disable-pip-version-check --progress-bar off {}"
        return as_unit(
            "remote-jupyter-pip", sh(pip, f"{self.prefix}/bin/pip", words(self.packages)), self.user
        )


# Of pip's report only this: the rest is long, and holds the index's address, which may have a password in it.
REPORTED = """
import json, sys
for one in json.load(sys.stdin)["install"]:
    print(one["metadata"]["name"], one["metadata"]["version"])
"""


@dataclass(frozen=True)
class PipUpdates(Resource):
    """The newest *packages*, such as ``pip`` itself, that pip finds for the environment at *prefix*."""

    prefix: str
    user: str
    packages: tuple[str, ...]

    needs_reprobe = slow = True

    undo = "{0.prefix}/bin/pip install NAME==VERSION, with the version as it was"

    @property
    def label(self):
        """The kind and the packages."""
        return f"PipUpdates {' '.join(self.packages)}"

    def probe(self):
        return sh(
            """
            pip={} user={}
            [ -x "$pip" ] || exit {}
            report=$(runuser -u "$user" -- env HOME="$(getent passwd "$user" | cut -d: -f6)" "$pip" install --upgrade --dry-run \\
                --quiet --no-input --no-cache-dir --disable-pip-version-check --report - {}) || exit
            printf '%s' "$report" | runuser -u "$user" -- "${pip%/*}/python" -c {}
            """,
            *(f"{self.prefix}/bin/pip", self.user, CANNOT_KNOW, words(self.packages), REPORTED),
        )

    def parse(self, output):
        return {"updates": ", ".join(output.splitlines())}

    def desired(self):
        return {"updates": ""}

    def apply(self, actual):
        pip = "{} install --upgrade --no-input --disable-pip-version-check --progress-bar off {}"
        return as_unit(
            "remote-jupyter-pip", sh(pip, f"{self.prefix}/bin/pip", words(self.packages)), self.user
        )

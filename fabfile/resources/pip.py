"""A virtual environment, and the packages that pip installs in it."""

import re
from dataclasses import dataclass

from ..kit.quote import script
from ..kit.resources.base import CANNOT_KNOW, Resource
from ..kit.resources.directory import Directory
from ..kit.resources.unit import as_unit

# The file that pip writes last of each distribution.
RECORD = re.compile(r"site-packages/(.+?)-([^-]+)\.dist-info/RECORD")


def canonical(name):
    """Return the normalized name of a Python distribution (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed(packages, found):
    """Compare requirements with installed distributions.

    Args:
        packages: requirements, such as ``notebook==7.5.*``.
        found: the name and version of each distribution.

    Returns:
        For each requirement "installed", the version that does not satisfy it, or None.
    """
    from packaging.requirements import Requirement

    versions = {canonical(name): version for name, version in found}
    actual = {}
    for package in packages:
        requirement = Requirement(package)
        version = versions.get(canonical(requirement.name))
        actual[package] = "installed" if version and fits(requirement, version) else version
    return actual


def fits(requirement, version):
    """Return whether *requirement* allows *version*; False for a version that is not PEP 440."""
    from packaging.version import InvalidVersion

    if not requirement.specifier:
        return True
    try:
        return requirement.specifier.contains(version, prereleases=True)
    except InvalidVersion:
        return False


@dataclass(frozen=True)
class Venv(Resource):
    """A Python virtual environment with pip that belongs to this user.

    Args:
        path: its folder.
        user: the owner.
    """

    path: str
    user: str

    slow = True

    undo = "rm -r {0.path}"

    def probe(self):
        return script(
            """
            if [ -L "$path" ]; then
                echo 'a symbolic link'
            elif [ -f "$path/pyvenv.cfg" ]; then
                # A release upgrade brings another Python, which has no site-packages here yet.
                python=$(readlink -f "$path/bin/python")
                pip="$path/lib/${python##*/}/site-packages/pip/__init__.py"
                if [ -x "$python" ] && [ -f "$pip" ]; then
                    stat -c '%U' "$path/pyvenv.cfg"
                else
                    echo unfinished
                fi
            elif [ ! -e "$path" ]; then
                echo absent
            elif [ -d "$path" ] && [ -z "$(ls -A "$path")" ]; then
                echo absent
            else
                echo 'something else'
            fi
            """,
            path=self.path,
        )

    def parse(self, output):
        state = output.strip()
        return {"owner": None if state in ("absent", "unfinished") else state}

    def desired(self):
        return {"owner": self.user}

    def conflict(self, actual):
        if actual["owner"] in (None, self.user):
            return None
        return (
            f"there is {actual['owner']} and no environment of {self.user}; "
            "move it away, or set python.prefix"
        )

    def apply(self, actual):
        # Without --clear, as the user may have installed more.
        make = script('python3 -m venv "$path"', path=self.path)
        return script(
            """
            make_folder
            make_environment
            """,
            make_folder=Directory(self.path, self.user).apply({}),
            make_environment=as_unit("remote-jupyter-venv", make, self.user),
        )


@dataclass(frozen=True)
class PipPackages(Resource):
    """Packages that pip installs in a virtual environment.

    Args:
        prefix: the environment's folder.
        user: its owner.
        packages: requirements, such as ``jupyterlab`` or ``notebook==7.5.*``.
    """

    prefix: str
    user: str
    packages: tuple[str, ...]

    needs_reprobe = slow = True

    undo = "{0.prefix}/bin/pip uninstall {1}"

    @property
    def label(self):
        return f"PipPackages {' '.join(self.packages)}"

    def probe(self):
        return script(
            """
            python=$(readlink -f "$prefix/bin/python")
            ls -d "$prefix/lib/${python##*/}"/site-packages/*.dist-info/RECORD 2>/dev/null
            :
            """,
            prefix=self.prefix,
        )

    def parse(self, output):
        return installed(self.packages, RECORD.findall(output))

    def desired(self):
        return dict.fromkeys(self.packages, "installed")

    def apply(self, actual):
        install = script(PIP_INSTALL + '"$@"', *self.packages, prefix=self.prefix)
        return as_unit("remote-jupyter-pip", install, self.user)


PIP_INSTALL = '"$prefix/bin/pip" install --no-input --disable-pip-version-check --progress-bar off '

# Print only this of pip's report, which also holds the index URL, perhaps with a password.
PRINT_REPORT = """
import json, sys
for one in json.load(sys.stdin)["install"]:
    print(one["metadata"]["name"], one["metadata"]["version"])
"""


@dataclass(frozen=True)
class PipUpdates(Resource):
    """The newest versions of packages that pip finds for a virtual environment.

    Args:
        prefix: the environment's folder.
        user: its owner.
        packages: names, such as ``pip``.
    """

    prefix: str
    user: str
    packages: tuple[str, ...]

    needs_reprobe = slow = True

    undo = "{0.prefix}/bin/pip install NAME==VERSION, with the version from before"

    @property
    def label(self):
        """The kind and the packages."""
        return f"PipUpdates {' '.join(self.packages)}"

    def probe(self):
        return script(
            """
            [ -x "$prefix/bin/pip" ] || exit "$cannot_know"
            home=$(getent passwd "$user" | cut -d: -f6)
            report=$(runuser -u "$user" -- env HOME="$home" "$prefix/bin/pip" install --upgrade \\
                --dry-run --quiet --no-input --no-cache-dir --disable-pip-version-check \\
                --report - "$@") || exit
            printf '%s' "$report" | runuser -u "$user" -- "$prefix/bin/python" -c "$print_report"
            """,
            *self.packages,
            prefix=self.prefix,
            user=self.user,
            cannot_know=CANNOT_KNOW,
            print_report=PRINT_REPORT,
        )

    def parse(self, output):
        return {"updates": ", ".join(output.splitlines())}

    def desired(self):
        return {"updates": ""}

    def apply(self, actual):
        upgrade = script(PIP_INSTALL + '--upgrade "$@"', *self.packages, prefix=self.prefix)
        return as_unit("remote-jupyter-pip", upgrade, self.user)

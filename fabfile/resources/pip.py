"""A virtual environment, and the packages that pip installs in it."""

import re
from dataclasses import dataclass
from pathlib import Path

from ..kit.quote import Shell, program, script
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


# The folder of the stamps: one file per prefix, named after its path with % for /. It says "begun"
# until what was installed is on the disk. If it still says so, the installation was interrupted,
# and after a power failure files may be empty.
STAMPS = "/var/lib/remote-jupyter/installed"

# The Python program that finds damaged distributions on the server.
CHECKER = Path(__file__).with_name("distributions.py").read_text(encoding="utf-8")

COMPLETE = {"installation": "complete"}


def stamp(prefix):
    """Return the path of the stamp for what is installed at *prefix*."""
    return f"{STAMPS}/{prefix.replace('/', '%')}"


# Find damage as the user, as the environment is the user's; "$@" are the names of distributions.
# The descriptors that may hold this run's locks are closed.
FIND_DAMAGE = Shell("""
    python=$(readlink -f "$prefix/bin/python")
    runuser -u "$user" -- timeout 20 "$python" -I -S -c "$checker" \\
        "$prefix/lib/${python##*/}/site-packages" "$@" pip \\
        </dev/null 2>/dev/null 8>&- 9>&- | head -c 100000
""")


# Print the stamp, if it is about this prefix and not about another one at the same path.
PRINT_STAMP = Shell("""
    if [ -e "$stamp" ] && grep -qx -e begun -e "inode $(stat -c %i "$prefix")" "$stamp"; then
        echo stamped
        sed 's/^/known /' "$stamp"
    fi
""")


def stamped(prefix, user, install, packages):
    """Return shell code that runs *install* and then stamps the installation as complete.

    The stamp holds what was installed, and what the check finds right after the installation:
    some packages come with sizes that are wrong.

    Args:
        prefix: the environment's folder.
        user: its owner.
        install: shell code.
        packages: what it installs.
    """
    return script(
        """
        install -d -m 0700 "${stamp%/*}"
        echo begun >"$stamp"
        sync -f "$stamp"
        ( run_installer ) || exit
        sync -f "$prefix"
        {
            stat -c 'inode %i' "$prefix"
            printf 'installed %s\\n' "$@"
            find_damage '*'
        } >"$stamp.new"
        sync "$stamp.new"
        mv "$stamp.new" "$stamp"
        sync -f "$stamp"
        """,
        *packages,
        prefix=prefix,
        user=user,
        stamp=stamp(prefix),
        checker=CHECKER,
        find_damage=FIND_DAMAGE,
        run_installer=install,
    )


def damages(output):
    """Return the damage that the probe found, as "INSTALLER NAME VERSION" or "missing NAME".

    What was so right after the installation, as the stamp knows, is left out.
    """
    lines = output.splitlines()
    found = {line for line in lines if line.startswith(("damaged ", "missing "))}
    return sorted(line.removeprefix("damaged ") for line in found if f"known {line}" not in lines)


def installation(output):
    """Return the state of an installation, of the lines that the probe printed."""
    lines = output.splitlines()
    if "stamped" not in lines or "known begun" in lines or "checked" not in lines:
        return {"installation": "interrupted"}
    if damaged := damages(output):
        return {"installation": f"damaged: {' '.join(line.split()[1] for line in damaged)}"}
    return COMPLETE


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
    """Packages that pip installs in a virtual environment, with all their files intact.

    Damaged packages are installed again, also those that the packages require.

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
            ls -d "$prefix/lib/${python##*/}"/site-packages/*.dist-info/RECORD 2>/dev/null || exit 0
            print_stamp
            find_damage "$@"
            """,
            *self.packages,
            prefix=self.prefix,
            user=self.user,
            stamp=stamp(self.prefix),
            checker=CHECKER,
            find_damage=FIND_DAMAGE,
            print_stamp=PRINT_STAMP,
        )

    def parse(self, output):
        return installed(self.packages, RECORD.findall(output)) | installation(output)

    def desired(self):
        return dict.fromkeys(self.packages, "installed") | COMPLETE

    def apply(self, actual):
        install = program("pip-install", *self.packages, prefix=self.prefix, checker=CHECKER)
        unit = as_unit("remote-jupyter-pip", install, self.user)
        return stamped(self.prefix, self.user, unit, self.packages)


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
            report=$(timeout 300 runuser -u "$user" -- env HOME="$home" "$prefix/bin/pip" install \\
                --upgrade --dry-run --quiet --no-input --no-cache-dir --disable-pip-version-check \\
                --report - "$@" </dev/null 8>&- 9>&-) || exit
            printf '%s' "$report" |
                timeout 20 runuser -u "$user" -- "$prefix/bin/python" -c "$print_report" 8>&- 9>&-
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
        unit = as_unit("remote-jupyter-pip", upgrade, self.user)
        return stamped(self.prefix, self.user, unit, self.packages)

"""A virtual environment, and the packages that pip installs in it."""

import re
from dataclasses import dataclass
from pathlib import Path

from ..kit.quote import program, script, sh
from ..kit.resources.base import CANNOT_KNOW, Resource
from ..kit.resources.directory import Directory
from ..kit.resources.home import as_owner
from ..kit.resources.unit import PROXIES, as_unit

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


def find_damage(prefix, user, packages):
    """Return shell code that prints which of *packages*, and of those they require, are damaged.

    Args:
        prefix: the environment's folder.
        user: its owner, whose Python looks.
        packages: names of distributions; ``*`` means all.
    """
    find = script(
        """
        python=$(readlink -f "$prefix/bin/python") || exit 0
        timeout -k 1 20 "$python" -I -S -c "$checker" \\
            "$prefix/lib/${python##*/}/site-packages" "$@" pip 2>/dev/null | head -c 100000
        """,
        *packages,
        prefix=prefix,
        checker=CHECKER,
    )
    return as_owner(user, find, seconds=30, no_user=":")


def print_inode(prefix, user):
    """Return shell code that prints the inode of the folder *prefix* of *user*."""
    find = script('stat -c %i "$prefix"', prefix=prefix)
    return as_owner(user, find, no_user=":")


def print_stamp(prefix, user):
    """Return shell code that prints the stamp of *prefix*.

    It prints nothing if the stamp is about another folder that was at the same path.
    """
    return script(
        """
        if [ -e "$stamp" ] && grep -qx -e begun -e "inode $(print_inode)" "$stamp"; then
            echo stamped
            sed 's/^/known /' "$stamp"
        fi
        """,
        stamp=stamp(prefix),
        print_inode=print_inode(prefix, user),
    )


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
        sync_files
        inode=$(print_inode)
        {
            echo "inode $inode"
            printf 'installed %s\\n' "$@"
            find_damage
        } >"$stamp.new"
        sync "$stamp.new"
        mv "$stamp.new" "$stamp"
        sync -f "$stamp"
        """,
        *packages,
        stamp=stamp(prefix),
        run_installer=install,
        sync_files=as_owner(user, script('sync -f "$prefix"', prefix=prefix), seconds=600),
        print_inode=print_inode(prefix, user),
        find_damage=find_damage(prefix, user, ["*"]),
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
        look = script(
            """
            if [ -L "$path" ]; then
                echo 'a symbolic link'
            elif [ -f "$path/pyvenv.cfg" ]; then
                # A release upgrade brings another Python, which has no site-packages here yet.
                python=$(readlink -f "$path/bin/python") || :
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
        # Root only looks whether something is at the path, which reveals and changes nothing.
        no_user = script(
            """
            if [ -L "$path" ] || [ -e "$path" ]; then echo 'something else'; else echo absent; fi
            """,
            path=self.path,
        )
        return as_owner(self.user, look, no_user=no_user)

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
        list_packages = script(
            """
            python=$(readlink -f "$prefix/bin/python") || exit 0
            ls -d "$prefix/lib/${python##*/}"/site-packages/*.dist-info/RECORD 2>/dev/null || :
            """,
            prefix=self.prefix,
        )
        return script(
            """
            packages=$(list_packages) || exit
            [ -n "$packages" ] || exit 0
            printf '%s\\n' "$packages"
            print_stamp
            find_damage
            """,
            list_packages=as_owner(self.user, list_packages, no_user=":"),
            find_damage=find_damage(self.prefix, self.user, self.packages),
            print_stamp=print_stamp(self.prefix, self.user),
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
        ask = script(
            """
            [ -x "$prefix/bin/pip" ] || exit "$cannot_know"
            use_proxies
            report=$("$prefix/bin/pip" install \\
                --upgrade --dry-run --quiet --no-input --no-cache-dir --disable-pip-version-check \\
                --report - "$@") || exit
            printf '%s' "$report" | "$prefix/bin/python" -c "$print_report"
            """,
            *self.packages,
            prefix=self.prefix,
            cannot_know=CANNOT_KNOW,
            use_proxies=PROXIES,
            print_report=PRINT_REPORT,
        )
        return as_owner(self.user, ask, seconds=320, no_user=sh("exit {}", CANNOT_KNOW))

    def parse(self, output):
        return {"updates": ", ".join(output.splitlines())}

    def desired(self):
        return {"updates": ""}

    def apply(self, actual):
        upgrade = script(PIP_INSTALL + '--upgrade "$@"', *self.packages, prefix=self.prefix)
        unit = as_unit("remote-jupyter-pip", upgrade, self.user)
        return stamped(self.prefix, self.user, unit, self.packages)

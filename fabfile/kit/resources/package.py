"""Debian packages."""

import re
from dataclasses import dataclass

from ..quote import Shell, program, script, sh, words
from .base import Resource
from .unit import as_unit


def apt_script(lock_timeout: int, commands: str) -> Shell:
    """Return shell code that runs *commands*, in which ``apt`` is a careful apt-get.

    It waits for other package managers, asks no questions, keeps configuration files that were
    changed, and restarts no service because a file of it was replaced.

    Args:
        lock_timeout: seconds to wait for another package manager.
        commands: shell code that calls ``apt``.
    """
    return program("apt", patience=lock_timeout, commands=Shell(commands))


# Prints the services that still run replaced files. None is restarted: that would end kernels.
STALE_SERVICES = Shell("""
! command -v needrestart >/dev/null ||
    timeout 60 needrestart -b -l -r l 2>/dev/null </dev/null | grep '^NEEDRESTART-SVC: ' || :
""")


def by_apt(lock_timeout: int, commands: str) -> Shell:
    """Return shell code that runs `apt_script` as a unit, then prints the stale services."""
    unit = as_unit("remote-jupyter-apt", apt_script(lock_timeout, commands))
    return sh("(\n{}\n)\n{}", unit, STALE_SERVICES)


def stale_services(output: str) -> str | None:
    """Return the notice about the services that `by_apt` printed, or None."""
    services = ", ".join(re.findall(r"^NEEDRESTART-SVC: (\S+)", output, re.M))
    if not services:
        return None
    return f"These services still run old code: {services}; restart them when it suits you"


@dataclass(frozen=True, init=False)
class Package(Resource):
    """Installed Debian packages.

    All packages of a plan merge into one run of apt. It runs as a transient unit, so that it
    finishes even if the connection is lost. It never removes another package.

    Args:
        names: the packages.
        lock_timeout: seconds to wait for another package manager.
    """

    names: tuple[str, ...]
    lock_timeout: int = 300

    needs_reprobe = slow = True

    undo = "apt-get purge {1}, if /var/log/apt/history.log shows that they are new"

    def __init__(self, *names, lock_timeout=300, notify=None):
        for name, value in (("names", names), ("lock_timeout", lock_timeout), ("notify", notify)):
            object.__setattr__(self, name, value)

    def merge(self, other):
        if not isinstance(other, Package):
            return None
        names = dict.fromkeys((*self.names, *other.names))
        return Package(
            *names,
            lock_timeout=max(self.lock_timeout, other.lock_timeout),
            notify=self.notify or other.notify,
        )

    @property
    def label(self):
        return f"Package {' '.join(self.names)}"

    def probe(self):
        # The simulation runs without the caches, because apt would write them.
        return script(
            """
            status=$(dpkg-query -W -f '${Package} ${db:Status-Status}\\n' "$@" 2>/dev/null)
            [ -z "$status" ] || echo "$status"
            [ "$(echo "$status" | grep -c ' installed$')" = "$#" ] ||
                apt-get -s -o Debug::NoLocking=1 \\
                    -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \\
                    --no-install-recommends install "$@" 2>/dev/null |
                sed -n 's/^Remv \\([^ ]*\\).*/\\1 removed/p'
            """,
            *self.names,
        )

    def parse(self, output):
        lines = [line.split() for line in output.splitlines()]
        there, removed = (
            {name for name, status in lines if status == one} for one in ("installed", "removed")
        )
        actual = {name: "installed" if name in there else "absent" for name in self.names}
        return actual | ({"removed": " ".join(sorted(removed))} if removed else {})

    def desired(self):
        return {name: "installed" for name in self.names}

    def conflict(self, actual):
        if "removed" not in actual:
            return None
        return (
            f"to install this, apt would remove {actual['removed']}; "
            "remove that yourself if it is not needed, or leave this task out"
        )

    def progress(self, line):
        # apt's status lines: pmstatus:apache2:66.6667:Unpacking apache2 (amd64)
        status = re.match(r"[dp][lm]status:.*?:(\d+)(?:\.\d+)?:(.*)", line)
        return f"{status[1]} %  {status[2]}" if status else line

    def notice(self, output=""):
        return stale_services(output)

    def apply(self, actual):
        install = sh(
            "apt update\n"
            "apt -o APT::Status-Fd=1 install --yes --no-remove --no-install-recommends {}",
            words(self.changed(actual)),
        )
        return by_apt(self.lock_timeout, install)

"""All packages up to date, and the system upgraded to its next release."""

from dataclasses import dataclass

from ..kit.quote import Shell, program, script
from ..kit.resources.base import Resource
from ..kit.resources.package import Package, apt_script, by_apt
from ..kit.resources.unit import as_unit

# What ucf leaves behind; apt warns about each file at each run.
REMOVE_LEFTOVERS = Shell("rm -f /etc/apt/apt.conf.d/*.ucf-old /etc/apt/apt.conf.d/*.ucf-dist")

KINDS = ("upgrade", "remove", "held", "left")


@dataclass(frozen=True)
class PackagesUpgraded(Resource):
    """Every package at the newest version of its release, and no package that nothing needs.

    Held packages stay as they are.

    Args:
        lock_timeout: how long to wait for another apt, in seconds.
        fresh: how old the package lists may be, in seconds.
    """

    lock_timeout: int = 300
    fresh: int = 3600

    needs_reprobe = slow = True
    progress = Package.progress
    notice = Package.notice

    undo = "apt-get install NAME=VERSION, with the versions of /var/log/apt/history.log"

    @property
    def label(self):
        return "PackagesUpgraded"

    def probe(self):
        return script(
            """
            lists=/var/lib/apt/lists
            last=$(stat -c %Y $lists/partial 2>/dev/null || echo 0)
            if [ $(($(date +%s) - last)) -lt "$fresh" ] &&
                find $lists -name '*Packages*' | grep -q .
            then
                echo fresh
            else
                echo old
            fi
            simulate() { apt-get -s -o Debug::NoLocking=1 "$1" 2>/dev/null; }
            simulate dist-upgrade | sed -n 's/^Inst \\([^ ]*\\).*/upgrade \\1/p'
            simulate autoremove | sed -n 's/^Remv \\([^ ]*\\).*/remove \\1/p'
            apt-mark showhold | sed 's/^/held /'
            for f in /etc/apt/apt.conf.d/*.ucf-old /etc/apt/apt.conf.d/*.ucf-dist; do
                [ ! -e "$f" ] || echo "left $f"
            done
            """,
            fresh=self.fresh,
        )

    def parse(self, output):
        lists, *lines = output.splitlines()
        found = {kind: [] for kind in KINDS}
        for line in lines:
            kind, _, name = line.partition(" ")
            found[kind].append(name)
        held = found.pop("held")
        actual = {kind: " ".join(names) for kind, names in found.items()} | {"lists": lists}
        return actual | ({"warning": f"held packages stay: {' '.join(held)}"} if held else {})

    def desired(self):
        return {"lists": "fresh", "upgrade": "", "remove": "", "left": ""}

    def apply(self, actual):
        upgrade = script(
            """
            apt update
            touch /var/lib/apt/lists/partial
            apt -o APT::Status-Fd=1 --yes upgrade
            apt -o APT::Status-Fd=1 --yes dist-upgrade
            apt --yes autoremove
            remove_leftovers
            """,
            remove_leftovers=REMOVE_LEFTOVERS,
        )
        return by_apt(self.lock_timeout, upgrade)


# Debian's next releases; on Ubuntu, do-release-upgrade knows the next one.
NEXT = {"bookworm": "trixie"}

BACKUP = "/var/backups/remote-jupyter-sources.tar"

UNFINISHED = "/var/lib/remote-jupyter-release"

# A sed program that renames each suite of a release to that of the next one, except in comments.
NEXT_RELEASE = "; ".join(
    rf"/^[[:space:]]*#/! s/\b{one}(-updates|-security|-backports)?\b/{two}\1/g"
    for one, two in NEXT.items()
)


@dataclass(frozen=True)
class ReleaseUpgraded(Resource):
    """The newest release of Debian or Ubuntu that can be reached from the present one.

    Debian is upgraded by its package sources, Ubuntu by do-release-upgrade.

    Args:
        lock_timeout: how long to wait for another apt, in seconds.
    """

    lock_timeout: int = 300

    needs_reprobe = slow = True
    progress = Package.progress

    undo = "there is none; back up the server first"

    @property
    def label(self):
        return "ReleaseUpgraded"

    def probe(self):
        # Before the reboot, do-release-upgrade refuses to go on, and the release that it has just
        # installed must not be followed by yet another one.
        return script(
            """
            . /etc/os-release
            echo "$VERSION_CODENAME"
            if [ -e "$unfinished" ]; then
                echo unfinished
            elif [ "$ID" = ubuntu ] && [ ! -e /run/reboot-required ] &&
                command -v do-release-upgrade >/dev/null &&
                do-release-upgrade -c -q >/dev/null 2>&1
            then
                echo newer
            fi
            """,
            unfinished=UNFINISHED,
        )

    def parse(self, output):
        name, *more = output.split()
        return {"name": name, "next": NEXT.get(name) or " ".join(more)}

    def desired(self):
        return {"next": ""}

    def apply(self, actual):
        if actual["next"] == "newer":
            # It starts only on an up-to-date system. This front end keeps changed configuration.
            upgrade = script(
                """
                apt update
                apt --yes dist-upgrade
                do-release-upgrade -f DistUpgradeViewNonInteractive
                """
            )
        else:
            upgrade = program(
                "release-upgrade",
                backup=BACKUP,
                unfinished=UNFINISHED,
                next_release=NEXT_RELEASE,
                remove_leftovers=REMOVE_LEFTOVERS,
            )
        return as_unit("remote-jupyter-release", apt_script(self.lock_timeout, upgrade))

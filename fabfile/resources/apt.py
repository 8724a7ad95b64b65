"""All packages up to date, and the whole system at its next release."""

from dataclasses import dataclass

from ..kit.quote import Shell, sh
from ..kit.resources.base import Resource
from ..kit.resources.package import Package, apt_script
from ..kit.resources.unit import as_unit

CLEAN = "rm -f /etc/apt/apt.conf.d/*.ucf-old /etc/apt/apt.conf.d/*.ucf-dist"  # apt complains of each, at each run


@dataclass(frozen=True)
class PackagesUpgraded(Resource):
    """Every package is as new as its release has it, what nobody needs is gone; held packages stay as they are.

    The lists of packages are fetched anew where they are older than *fresh* seconds.
    """

    lock_timeout: int = 300
    fresh: int = 3600

    needs_reprobe = slow = True
    progress = Package.progress

    undo = "apt-get install NAME=VERSION, with the versions of /var/log/apt/history.log"

    @property
    def label(self):
        return "Upgraded"

    def probe(self):
        return sh(
            """
            last=$(stat -c %Y /var/lib/apt/lists/partial 2>/dev/null || echo 0)
            [ $(($(date +%s) - last)) -lt {} ] && find /var/lib/apt/lists -name '*Packages*' | grep -q . && echo fresh || echo old
            apt-get -s -o Debug::NoLocking=1 dist-upgrade 2>/dev/null | sed -n 's/^Inst \\([^ ]*\\).*/upgrade \\1/p'
            apt-get -s -o Debug::NoLocking=1 autoremove 2>/dev/null | sed -n 's/^Remv \\([^ ]*\\).*/remove \\1/p'
            apt-mark showhold | sed 's/^/held /'
            for f in /etc/apt/apt.conf.d/*.ucf-old /etc/apt/apt.conf.d/*.ucf-dist; do [ ! -e "$f" ] || echo "left $f"; done
            """,
            self.fresh,
        )

    def parse(self, output):
        state, *lines = output.splitlines()
        found = {
            kind: [line.split(" ", 1)[1] for line in lines if line.startswith(f"{kind} ")]
            for kind in KINDS
        }
        actual = {kind: " ".join(found[kind]) for kind in KINDS if kind != "held"} | {
            "lists": state
        }
        return actual | (
            {"warning": f"held as they are: {' '.join(found['held'])}"} if found["held"] else {}
        )

    def desired(self):
        return {"lists": "fresh", "upgrade": "", "remove": "", "left": ""}

    def apply(self, actual):
        steps = [
            "apt update",
            "touch /var/lib/apt/lists/partial",
            "apt -o APT::Status-Fd=1 --yes upgrade",
        ]
        steps += ["apt -o APT::Status-Fd=1 --yes dist-upgrade", "apt --yes autoremove", CLEAN]
        return as_unit("remote-jupyter-apt", apt_script(self.lock_timeout, "\n".join(steps)))


KINDS = ("upgrade", "remove", "held", "left")


NEXT = {"bookworm": "trixie"}  # of Debian; Ubuntu's own tool knows its own


BACKUP = "/var/backups/remote-jupyter-sources.tar"


UNFINISHED = "/var/lib/remote-jupyter-release"


@dataclass(frozen=True)
class NewRelease(Resource):
    """The system is at the newest release that can be reached: Debian's by its sources, Ubuntu's by do-release-upgrade."""

    lock_timeout: int = 300

    needs_reprobe = slow = True
    progress = Package.progress

    undo = "there is none; make a copy of the server before"

    @property
    def label(self):
        return "NewRelease"

    def probe(self):
        return sh(
            """
            . /etc/os-release
            echo "$VERSION_CODENAME"
            if [ -e {} ]; then echo unfinished
            # It refuses to go on before a reboot, and what it has just done is not to be followed by the release after that.
            elif [ "$ID" = ubuntu ] && [ ! -e /run/reboot-required ] && command -v do-release-upgrade >/dev/null &&
                do-release-upgrade -c -q >/dev/null 2>&1
            then echo newer; fi
            """,
            UNFINISHED,
        )

    def parse(self, output):
        name, *more = output.split()
        return {"name": name, "next": NEXT.get(name) or " ".join(more)}

    def desired(self):
        return {"next": ""}

    def apply(self, actual):
        if actual["next"] == "newer":
            # It begins with a system that is up to date only. This view of it answers that changed configuration files stay.
            ubuntus = "apt update\napt --yes dist-upgrade\ndo-release-upgrade -f DistUpgradeViewNonInteractive"
            return as_unit("remote-jupyter-release", apt_script(self.lock_timeout, ubuntus))
        # Whatever ends this in the middle, the sources name the new release already, and the next run goes on.
        script = sh(
            """
            for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
                [ ! -e "$f" ] || set -- "$@" "$f"
            done
            backup={} unfinished={}
            [ -e "$unfinished" ] || tar -cf "$backup" "$@"
            touch "$unfinished"
            for f; do sed -i -E {} "$f"; done
            apt update || { tar -xf "$backup" -C /; rm "$unfinished"; exit 1; }
            apt -o APT::Status-Fd=1 --yes --without-new-pkgs upgrade
            apt -o APT::Status-Fd=1 --yes full-upgrade
            apt --yes autoremove
            {}
            rm "$unfinished"
            """,
            BACKUP,
            UNFINISHED,
            NAMES_OF_THE_NEXT,
            Shell(CLEAN),
        )
        return as_unit("remote-jupyter-release", apt_script(self.lock_timeout, script))


# A script of sed: each suite of a release becomes that of the next one, comments left alone.
NAMES_OF_THE_NEXT = "; ".join(
    rf"/^[[:space:]]*#/! s/\b{one}(-updates|-security|-backports)?\b/{two}\1/g"
    for one, two in NEXT.items()
)

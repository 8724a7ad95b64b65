"""Debian packages."""

import re
from dataclasses import dataclass

from ..quote import Shell, sh, words
from .base import Resource
from .unit import as_unit

# dpkg waits for no lock, and apt only for dpkg's, not for those of its lists and archives.
PATIENTLY = Shell("""
            began=$(date +%s) told='' said=$(mktemp); trap 'rm -f "$said"' EXIT
            patiently() {
                while s=0; "$@" 2>"$said" || s=$?; [ $s != 0 ]; do
                    pid=$(grep -i ' lock' "$said" | sed -n 's/.*\\(pid\\|process\\) \\([0-9]*\\).*/\\2/p' | head -n 1)
                    [ -n "$pid" ] || break
                    holder="$(cat "/proc/$pid/comm" 2>/dev/null || echo another) (process $pid)"
                    if [ $(($(date +%s) - began)) -ge "$patience" ]; then
                        echo "$holder is still at work with packages after $patience s:" \\
                            "let it end, or set apt.lock_timeout" >>"$said"
                        break
                    fi
                    [ "$told" = "$holder" ] || echo "waiting for $holder"
                    told=$holder
                    sleep 1
                done
                cat "$said" >&2
                return $s
            }
""")


def apt_script(lock_timeout, commands):
    """Return shell text for *commands*, in which ``apt`` waits for others, asks nothing and keeps changed configuration files."""
    return sh(
        """
        export DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=a LC_ALL=C.UTF-8
        patience={}
        {}
        apt() {
            patiently apt-get -q -o "DPkg::Lock::Timeout=$patience" \\
                -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "$@"
        }
        patiently dpkg --configure -a
        {}
        """,
        lock_timeout,
        PATIENTLY,
        Shell(commands),
    )


@dataclass(frozen=True, init=False)
class Package(Resource):
    """Debian packages that are installed, all those of one plan by one run of apt.

    apt runs as a transient unit, so that it ends its work when the connection does not last. It waits *lock_timeout*
    seconds for another apt, asks nothing, keeps configuration files that were changed, and removes no other package.
    """

    names: tuple[str, ...]
    lock_timeout: int = 300

    needs_reprobe = slow = True

    undo = "apt-get purge {1}, where /var/log/apt/history.log shows that it was not there before"

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
        # What apt would do is asked without the caches that it would write.
        return sh(
            """
            status=$(dpkg-query -W -f '${Package} ${db:Status-Status}\\n' {} 2>/dev/null)
            [ -z "$status" ] || echo "$status"
            [ "$(echo "$status" | grep -c ' installed$')" = {} ] ||
                apt-get -s -o Debug::NoLocking=1 -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \\
                    --no-install-recommends install {} 2>/dev/null |
                sed -n 's/^Remv \\([^ ]*\\).*/\\1 removed/p'
            """,
            words(self.names),
            len(self.names),
            words(self.names),
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
        kept = "where nobody needs that, remove it yourself, else leave this task out"
        return f"to install this, apt would remove {actual['removed']}; {kept}"

    def progress(self, line):
        # apt's status lines: pmstatus:apache2:66.6667:Unpacking apache2 (amd64)
        status = re.match(r"[dp][lm]status:.*?:(\d+)(?:\.\d+)?:(.*)", line)
        return f"{status[1]} %  {status[2]}" if status else line

    def apply(self, actual):
        install = "apt update\napt -o APT::Status-Fd=1 install --yes --no-remove --no-install-recommends {}"
        return as_unit(
            "remote-jupyter-apt",
            apt_script(self.lock_timeout, sh(install, words(self.changed(actual)))),
        )

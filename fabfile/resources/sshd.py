"""sshd: its effective settings, our drop-in, and the host key that the operator knows."""

import base64
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from fabric import Connection

from ..kit.known_hosts import KnownHosts
from ..kit.ledger import Ledger
from ..kit.quote import Shell, script
from ..kit.resources import MARK, File
from ..kit.resources.base import CANNOT_KNOW, Handler, Resource

# A socket-activated sshd loses its socket on SIGHUP; sessions outlive a restart.
RELOAD_SSHD = """
if systemctl is-active -q ssh.socket; then ! systemctl is-active -q ssh || systemctl restart ssh
elif systemctl is-active -q ssh; then systemctl reload ssh; fi
"""

# sshd's pid file is as old as its last reload. What it has not read yet would take effect with our
# reload, and the rollback would not undo it. Files that have our mark, or that an armed rollback
# restores, are those of the run itself.
FOREIGN_UNREAD = f"""
foreign_unread() {{
    [ -e /run/sshd.pid ] || return 0
    find /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*.conf -cnewer /run/sshd.pid 2>/dev/null |
        while IFS= read -r file; do
            cat {Ledger.state}/rollback/*/paths 2>/dev/null | grep -qxF "$file" ||
                grep -qF "{MARK}" "$file" || echo "$file"
        done
}}
"""

# A file that was never put in place is not in force either. If sshd has read nothing since the
# rollback was armed, there is nothing to undo, and others' unread files stay out of force.
ROLLBACK = f"""
[ -e changed ] || exit 0
{FOREIGN_UNREAD}
[ /run/sshd.pid -nt complete ] || [ -z "$(foreign_unread)" ] || exit 0
{RELOAD_SSHD}"""

RELOAD = Handler(
    "reload ssh",
    f"""
mkdir -p /run/sshd && sshd -t || exit
{FOREIGN_UNREAD}
unread=$(foreign_unread | paste -sd ' ')
if [ -n "$unread" ]; then
    echo "sshd has not read $unread since it changed" >&2
    echo "run systemctl reload ssh and make sure that you can still log in" >&2
    exit 1
fi
{RELOAD_SSHD}""",
)

# Prints sshd's settings for a login as $user over a connection like this one. The connection's
# own addresses and port are given, as sshd refuses to evaluate `Match LocalPort` without them.
EFFECTIVE = Shell("""
# shellcheck disable=SC2086 # the fields of the connection: client, port, server, port
set -- $SSH_CONNECTION
sshd -T -C "user=$user,host=localhost,addr=$1${3:+,laddr=$3}${4:+,lport=$4}"
""")


@dataclass(frozen=True)
class SshdSettings(Resource):
    """sshd has these settings in force for a user's logins, and offers no weak algorithms.

    Args:
        user: the user who logs in.
        settings: lines as ``sshd -T`` prints them, such as "permitrootlogin no".
        weak: algorithms by setting, with patterns, such as "macs hmac-md5*,hmac-sha1*".
    """

    user: str
    settings: tuple[str, ...] = ()
    weak: tuple[str, ...] = ()

    undo = "not needed: it only checks what sshd has in force"

    @property
    def label(self):
        return f"SshdSettings {self.user}"

    def probe(self):
        return script(
            """
            command -v sshd >/dev/null || exit "$cannot_know"
            mkdir -p -m 0755 /run/sshd
            effective 2>&1
            :
            """,
            cannot_know=CANNOT_KNOW,
            user=self.user,
            effective=EFFECTIVE,
        )

    def parse(self, output):
        actual = dict(line.split(" ", 1) for line in output.splitlines() if " " in line)
        return actual | {"weak algorithms": " ".join(self.offered_weak(actual))}

    def offered_weak(self, actual):
        """Return the weak algorithms among the settings *actual*."""
        found = []
        for line in self.weak:
            setting, _, patterns = line.partition(" ")
            for name in actual.get(setting, "").split(","):
                if any(fnmatchcase(name, pattern) for pattern in patterns.split(",")):
                    found.append(name)
        return found

    def desired(self):
        desired = dict(setting.split(" ", 1) for setting in self.settings)
        return desired | ({"weak algorithms": ""} if self.weak else {})

    def apply(self, actual):
        # The drop-in precedes this in the plan: a setting that is not in force by now is
        # decided by another file.
        return script(
            """
            now=$(effective)
            for setting in "$@"; do
                printf '%s\\n' "$now" | grep -qxiF "$setting" && continue
                echo "sshd does not take up: $setting; another line comes first," \\
                    "or sshd_config does not include sshd_config.d/*.conf at its top:" >&2
                cd /etc/ssh
                grep -iE "^[[:space:]]*(${setting%% *}|include|match)" \\
                    "$PWD/sshd_config" "$PWD"/sshd_config.d/*.conf >&2
                exit 1
            done
            """,
            *self.settings,
            user=self.user,
            effective=EFFECTIVE,
        )


# Prints the ports of other users' Jupyters, from our own unit files, which only root can write.
OTHER_PORTS = Shell("""
cd /etc/systemd/system && for unit in jupyter.service jupyter-*.service; do
    [ "$unit" = "$name.service" ] || ! grep -qsF "$mark" "$unit" ||
        sed -n 's/^X-Port=//p' "$unit"
done
""")

PERMIT_OPEN = "<permit-open>"  # stands for the addresses to which sshd may forward


@dataclass(frozen=True, kw_only=True)
class _WithPermitOpen(Resource):
    """A resource whose texts hold `PERMIT_OPEN`, for the addresses of all Jupyters of the host.

    Other users' ports are known on the host only.

    Args:
        ports: the ports of this Jupyter and those that the settings name.
        name: this Jupyter's name.
    """

    ports: tuple[int, ...]
    name: str

    def probe(self):
        return script(
            """
            other_ports || :
            printf '\\000'
            inner
            """,
            name=self.name,
            mark=MARK,
            other_ports=OTHER_PORTS,
            inner=Shell(super().probe()),
        )

    def parse(self, output):
        ports, _, rest = output.partition("\0")
        return super().parse(rest) | {"others": tuple(map(int, ports.split()))}

    def changed(self, actual):
        return super(_WithPermitOpen, self.filled(actual)).changed(actual)

    def diff(self, actual):
        return super(_WithPermitOpen, self.filled(actual)).diff(actual)

    def apply(self, actual):
        return super(_WithPermitOpen, self.filled(actual)).apply(actual)

    def filled(self, actual):
        """Return this resource with the addresses of the host in its texts."""
        raise NotImplementedError

    def fill(self, text, actual):
        """Return *text* with the addresses of the host, the same for every Jupyter's settings."""
        ports = sorted({*self.ports, *actual["others"]})
        addresses = " ".join(f"localhost:{port} 127.0.0.1:{port}" for port in ports)
        return text.replace(PERMIT_OPEN, addresses)


@dataclass(frozen=True)
class SshdDropIn(_WithPermitOpen, File):
    """Our file in sshd_config.d, with the addresses to which sshd may forward."""

    label = property(lambda self: f"File {self.path}")

    def filled(self, actual):
        """Return the file with the addresses of the host in its content."""
        return replace(self, content=self.fill(self.content, actual))


@dataclass(frozen=True)
class SshdEffective(_WithPermitOpen, SshdSettings):
    """sshd has these settings in force, with the addresses to which it may forward."""

    def filled(self, actual):
        """Return the settings with the addresses of the host in them."""
        return replace(self, settings=tuple(self.fill(text, actual) for text in self.settings))


@dataclass(frozen=True)
class KnownHostKey(Resource):
    """The operator's known_hosts has a host key of a type that sshd offers after hardening.

    A known_hosts that has only an ECDSA key of the server would make the next login fail.

    Args:
        connection: the connection to the server.
    """

    connection: Connection = field(compare=False, repr=False)

    label = "KnownHostKey"
    undo = "ssh-keygen -R HOST, on your machine"

    def probe(self):
        return "cat /etc/ssh/ssh_host_ed25519_key.pub /etc/ssh/ssh_host_rsa_key.pub 2>/dev/null; :"

    def parse(self, output):
        offered = [line.split()[:2] for line in output.splitlines()]
        known = {
            (kind, base64.b64encode(data).decode())
            for mark, kind, data in KnownHosts(self.connection).known
            if not mark
        }
        lacking = known and not known & set(map(tuple, offered))
        return {"state": "lacking" if lacking else "known", "offered": offered}

    def desired(self):
        return {"state": "known"}

    def apply(self, actual):
        # Like OpenSSH's UpdateHostKeys: the present connection proves whose keys these are.
        for kind, text in actual["offered"]:
            KnownHosts(self.connection).record(kind, base64.b64decode(text))
        return ":"

"""What sshd really does."""

import base64
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from fabric import Connection

from ..kit.known_hosts import KnownHosts
from ..kit.quote import sh, words
from ..kit.resources import MARK, File
from ..kit.resources.base import CANNOT_KNOW, Handler, Resource

# After SIGHUP a socket-activated sshd would not find its socket again; sessions outlive its restart.
TAKE_UP = """
if systemctl is-active -q ssh.socket; then ! systemctl is-active -q ssh || systemctl restart ssh
elif systemctl is-active -q ssh; then systemctl reload ssh; fi
"""


# What was never in its place need not be taken out of a running sshd.
BACK = f"[ -e changed ] || exit 0\n{TAKE_UP}"


RELOAD = Handler("reload ssh", f"mkdir -p /run/sshd && sshd -t || exit\n{TAKE_UP}")


@dataclass(frozen=True)
class SshdSettings(Resource):
    """For logins as *user*, sshd has each of *settings*, such as "permitrootlogin no", in force, whichever file says so.

    Of *weak*, such as "macs hmac-md5*,hmac-sha1*", it offers none. See sshd -T.
    """

    user: str
    settings: tuple[str, ...] = ()
    weak: tuple[str, ...] = ()

    undo = "nothing is left: it looks whether the file is in force"

    @property
    def label(self):
        return f"SshdSettings {self.user}"

    def probe(self):
        return sh(
            """
            command -v sshd >/dev/null || exit {}
            mkdir -p -m 0755 /run/sshd
            sshd -T -C user={},host=localhost,addr="${SSH_CONNECTION%% *}" 2>&1; :
            """,
            CANNOT_KNOW,
            self.user,
        )

    def parse(self, output):
        actual = dict(line.split(" ", 1) for line in output.splitlines() if " " in line)
        weak = [
            name
            for key, _, patterns in (line.partition(" ") for line in self.weak)
            for name in actual.get(key, "").split(",")
            if any(fnmatchcase(name, pattern) for pattern in patterns.split(","))
        ]
        return actual | {"weak algorithms": " ".join(weak)}

    def desired(self):
        return dict(setting.split(" ", 1) for setting in self.settings) | (
            {"weak algorithms": ""} if self.weak else {}
        )

    def apply(self, actual):
        # The drop-in comes before this in the plan; what is not in force by then never will be.
        return sh(
            """
            now=$(sshd -T -C user={},host=localhost,addr="${SSH_CONNECTION%% *}")
            for setting in {}; do
                printf '%s\\n' "$now" | grep -qxiF "$setting" && continue
                echo "sshd does not take up: $setting; another line comes first," \\
                    "or sshd_config does not include sshd_config.d/*.conf at its top:" >&2
                grep -iE "^[[:space:]]*(${setting%% *}|include|match)" /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*.conf >&2
                exit 1
            done
            """,
            self.user,
            words(self.settings),
        )


# The ports of the Jupyters of other users of the server, by our own units: these only root can write.
OTHERS = """
cd /etc/systemd/system && for f in jupyter.service jupyter-*.service; do
    [ "$f" = {}.service ] || ! grep -qsF {} "$f" || sed -n 's/^X-Port=//p' "$f"
done
printf '\\000'
"""


OPENED = "<opened>"  # stands for where sshd may forward to: to each Jupyter of ours


@dataclass(frozen=True, kw_only=True)
class _Opened(Resource):
    """A resource in which OPENED occurs; the ports of other users' Jupyters are known on the host only."""

    ports: tuple[int, ...]  # of this one, and those that the settings name
    name: str

    def probe(self):
        return sh(OTHERS, self.name, MARK) + super().probe()

    def parse(self, output):
        ports, _, rest = output.partition("\0")
        return super().parse(rest) | {"others": tuple(map(int, ports.split()))}

    def changed(self, actual):
        return super(_Opened, self.filled(actual)).changed(actual)

    def diff(self, actual):
        return super(_Opened, self.filled(actual)).diff(actual)

    def apply(self, actual):
        return super(_Opened, self.filled(actual)).apply(actual)

    def filled(self, actual):
        """Return the resource as it is to be on this host."""
        raise NotImplementedError

    def fill(self, text, actual):
        """Return *text* with the addresses in it, which are the same whichever Jupyter's settings are used."""
        ports = sorted({*self.ports, *actual["others"]})
        return text.replace(
            OPENED, " ".join(f"localhost:{port} 127.0.0.1:{port}" for port in ports)
        )


@dataclass(frozen=True)
class _DropIn(_Opened, File):
    label = property(lambda self: f"File {self.path}")

    def filled(self, actual):
        return replace(self, content=self.fill(self.content, actual))


@dataclass(frozen=True)
class _InForce(_Opened, SshdSettings):
    def filled(self, actual):
        return replace(self, settings=tuple(self.fill(text, actual) for text in self.settings))


@dataclass(frozen=True)
class KnownHostKey(Resource):
    """The operator's known_hosts has a key of the server of a type that sshd goes on to offer, and not only ecdsa's."""

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
        state = "lacking" if known and not known & set(map(tuple, offered)) else "known"
        return {"state": state, "offered": offered}

    def desired(self):
        return {"state": "known"}

    def apply(self, actual):
        # As OpenSSH's UpdateHostKeys does: whose key it is, is known by the connection that we have.
        for kind, text in actual["offered"]:
            KnownHosts(self.connection).record(kind, base64.b64decode(text))
        return ":"

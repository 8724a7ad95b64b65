"""sshd."""

import base64
from dataclasses import dataclass, field, replace

from fabric import Connection

from .kit.connect import KnownHosts
from .kit.guard import Guard
from .kit.quote import sh
from .kit.resources import MARK, Check, File, Package, Resource, SshdSettings
from .kit.resources.sshd import BACK, RELOAD
from .options import render, setup
from .users import proof

DROP_IN = "/etc/ssh/sshd_config.d/00-remote-jupyter.conf"

# Patterns as sshd_config has them; ssh-audit fails each, or warns of it. curve25519 stays: on Debian 12 it is all that paramiko
# and sshd have in common then.
WEAK = {
    "kexalgorithms": "ecdh-sha2-*,diffie-hellman-*",
    "ciphers": "*-cbc,arcfour*,rijndael*",
    "macs": "hmac-md5*,hmac-sha1*,umac-64*,hmac-sha2-256,hmac-sha2-512,umac-128@openssh.com",
    "hostkeyalgorithms": "ecdsa-*,sk-ecdsa-*,webauthn-*,ssh-rsa,ssh-dss*",
}

# What sshd has not read yet would come into force with our change, and not be put back with it. Its pid file is as old as
# its last reading.
UNREAD = sh(
    """
    cd /etc/ssh && [ -e /run/sshd.pid ] || exit 0
    find "$PWD/sshd_config" "$PWD"/sshd_config.d/*.conf -type f ! -path {} -cnewer /run/sshd.pid 2>/dev/null; :
    """,
    DROP_IN,
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

    def differs(self, seen):
        return super(_Opened, self.filled(seen)).differs(seen)

    def diff(self, seen):
        return super(_Opened, self.filled(seen)).diff(seen)

    def apply(self, seen):
        return super(_Opened, self.filled(seen)).apply(seen)

    def filled(self, seen):
        """Return the resource as it is to be on this host."""
        raise NotImplementedError

    def fill(self, text, seen):
        """Return *text* with the addresses in it, which are the same whichever Jupyter's settings are used."""
        ports = sorted({*self.ports, *seen["others"]})
        return text.replace(OPENED, " ".join(f"localhost:{port} 127.0.0.1:{port}" for port in ports))


@dataclass(frozen=True)
class _DropIn(_Opened, File):
    label = property(lambda self: f"File {self.path}")

    def filled(self, seen):
        return replace(self, content=self.fill(self.content, seen))


@dataclass(frozen=True)
class _InForce(_Opened, SshdSettings):
    def filled(self, seen):
        return replace(self, settings=tuple(self.fill(text, seen) for text in self.settings))


def unread(output):
    """Judge whether sshd runs with what its files say."""
    files = ", ".join(output.split())
    return (f"it has not read {files} yet; see that you still get in after: systemctl reload ssh" if files else ""), ""


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
        known = {(kind, base64.b64encode(data).decode()) for mark, kind, data in KnownHosts(self.connection).known if not mark}
        state = "lacking" if known and not known & set(map(tuple, offered)) else "known"
        return {"state": state, "offered": offered}

    def want(self):
        return {"state": "known"}

    def apply(self, seen):
        # As OpenSSH's UpdateHostKeys does: whose key it is, is known by the connection that we have.
        for kind, text in seen["offered"]:
            KnownHosts(self.connection).record(kind, base64.b64decode(text))
        return ":"


@setup(password_authentication="ssh.password_authentication", permit_root_login="ssh.permit_root_login")
def harden_ssh(c, s):
    """Allow SSH logins by key only.

    sshd forwards to nothing but Jupyter, and offers no weak algorithm.
    """
    root = {"prohibit-password": "without-password"}.get(s.ssh.permit_root_login, s.ssh.permit_root_login)
    passwords = "yes" if s.ssh.password_authentication else "no"
    own = {"ports": (s.jupyter.port, *s.ssh.permit_open), "name": s.jupyter.name}
    content = render("sshd.conf.j2", **vars(s.ssh), opened=OPENED, weak=WEAK)
    guard = Guard("sshd", (DROP_IN,), BACK, s.ssh.undo_after)
    yield Package("openssh-server", lock_timeout=s.apt.lock_timeout)
    yield Check("what sshd has read", UNREAD, unread)
    yield KnownHostKey(c)
    yield _DropIn(DROP_IN, content, mode="0600", check=sane(s), notify=RELOAD, guard=guard, **own)
    yield SshdSettings("root", (f"permitrootlogin {root}",))
    yield _InForce(
        s.user.name,
        (
            f"passwordauthentication {passwords}",
            "kbdinteractiveauthentication no",
            "allowtcpforwarding local",
            f"permitopen {OPENED}",
        ),
        tuple(f"{name} {patterns}" for name, patterns in WEAK.items()),
        **own,
    )
    yield proof(c, s)


def sane(s):
    """Return shell text that fails where sshd refuses the drop-in, or where nobody could become root by SSH any more."""
    return sh(
        """
        mkdir -p -m 0755 /run/sshd && sshd -t && {
            getent passwd | while IFS=: read -r name _ uid _ _ home shell; do
                [ -x "$shell" ] || continue
                if [ "$uid" = 0 ]; then [ {} != no ] || continue
                else [ "$uid" -ge 1000 ] && id -nG "$name" | grep -qw sudo || continue; fi
                [ {} = True ] || [ -s "$home/.ssh/authorized_keys" ] || continue
                echo "$name"
            done | grep -q . || ! echo 'nobody could log in and become root any more: run create-user first, with a key' >&2
        }
        """,
        s.ssh.permit_root_login,
        s.ssh.password_authentication,
    )

"""sshd."""

from ..kit.quote import sh
from ..kit.resources import Check, Package
from ..kit.rollback import Rollback
from ..resources import SshdSettings
from ..resources.sshd import BACK, OPENED, RELOAD, KnownHostKey, _DropIn, _InForce
from ..settings import setup
from ..settings.templates import render
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


def unread(output):
    """Judge whether sshd runs with what its files say."""
    files = ", ".join(output.split())
    return (
        f"it has not read {files} yet; see that you still get in after: systemctl reload ssh"
        if files
        else ""
    ), ""


@setup(
    password_authentication="ssh.password_authentication", permit_root_login="ssh.permit_root_login"
)
def harden_ssh(c, s):
    """Allow SSH logins by key only.

    sshd forwards to nothing but Jupyter, and offers no weak algorithm.
    """
    root = {"prohibit-password": "without-password"}.get(
        s.ssh.permit_root_login, s.ssh.permit_root_login
    )
    passwords = "yes" if s.ssh.password_authentication else "no"
    own = {"ports": (s.jupyter.port, *s.ssh.permit_open), "name": s.jupyter.name}
    content = render("sshd.conf.j2", **vars(s.ssh), opened=OPENED, weak=WEAK)
    rollback = Rollback("sshd", (DROP_IN,), BACK, s.ssh.rollback_timeout)
    yield Package("openssh-server", lock_timeout=s.apt.lock_timeout)
    yield Check("what sshd has read", UNREAD, unread)
    yield KnownHostKey(c)
    yield _DropIn(
        DROP_IN, content, mode="0600", check=sane(s), notify=RELOAD, rollback=rollback, **own
    )
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

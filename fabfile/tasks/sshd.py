"""Harden sshd."""

from ..kit.quote import script
from ..kit.resources import Check, Package
from ..kit.resources.check import fail, ok
from ..kit.rollback import Rollback
from ..resources import SshdSettings
from ..resources.login import AdministratorLogin
from ..resources.sshd import PERMIT_OPEN, RELOAD, ROLLBACK, KnownHostKey, SshdDropIn, SshdEffective
from ..settings import setup
from ..settings.templates import render
from .users import administrator, verified_login

DROP_IN = "/etc/ssh/sshd_config.d/00-remote-jupyter.conf"

# Patterns as sshd_config has them; ssh-audit fails each, or warns of it. curve25519 stays: on
# Debian 12 paramiko and sshd then have no other key exchange in common.
WEAK = {
    "kexalgorithms": "ecdh-sha2-*,diffie-hellman-*",
    "ciphers": "*-cbc,arcfour*,rijndael*",
    "macs": "hmac-md5*,hmac-sha1*,umac-64*,hmac-sha2-256,hmac-sha2-512,umac-128@openssh.com",
    "hostkeyalgorithms": "ecdsa-*,sk-ecdsa-*,webauthn-*,ssh-rsa,ssh-dss*",
}


# sshd's pid file is as old as its last reload. What it has not read yet would take effect with our
# change, and the rollback would not undo it.
UNREAD_FILES = """
cd /etc/ssh && [ -e /run/sshd.pid ] || exit 0
find "$PWD/sshd_config" "$PWD"/sshd_config.d/*.conf -type f ! -path "$own" \
    -cnewer /run/sshd.pid 2>/dev/null; :
"""

# Fails if sshd rejects its configuration, or if no account could log in and become root.
SSHD_TEST = """
can_become_root() {
    if [ "$uid" = 0 ]; then [ "$root_login" != no ]
    else [ "$uid" -ge 1000 ] && id -nG "$name" | grep -qw sudo; fi
}
administrators() {
    getent passwd | while IFS=: read -r name _ uid _ _ home shell; do
        [ -x "$shell" ] && can_become_root || continue
        [ -n "$passwords" ] || [ -s "$home/.ssh/authorized_keys" ] || continue
        echo "$name"
    done
}
mkdir -p -m 0755 /run/sshd && sshd -t && {
    [ -n "$(administrators)" ] || {
        echo 'no account could log in and become root: run create-user with a key first' >&2
        false
    }
}
"""


@setup("ssh.password_authentication", "ssh.permit_root_login")
def harden_ssh(c, s):
    """Harden sshd.

    Allow logins by key only, no forwarding except to Jupyter, and no weak algorithms.
    """
    if s.ssh.permit_root_login == "no":
        yield other_administrator(c, s)
    own = {"ports": (s.jupyter.port, *s.ssh.permit_open), "name": s.jupyter.name}
    yield Package("openssh-server", lock_timeout=s.apt.lock_timeout)
    yield Check(
        "configuration of the running sshd", script(UNREAD_FILES, own=DROP_IN), unread_files
    )
    yield KnownHostKey(c)
    yield SshdDropIn(
        DROP_IN,
        render("sshd.conf.j2", **vars(s.ssh), opened=PERMIT_OPEN, weak=WEAK),
        mode="0600",
        check=sshd_test(s),
        notify=RELOAD,
        rollback=Rollback("sshd", (DROP_IN,), ROLLBACK, s.ssh.rollback_timeout),
        **own,
    )
    yield SshdSettings("root", (f"permitrootlogin {root_login(s)}",))
    yield SshdEffective(s.user.name, user_settings(s), weak_algorithms(), **own)
    yield verified_login(c, s)


def other_administrator(c, s):
    """Return the proof that someone else can become root, before root is locked out.

    Raises:
        ValueError: there is no one else.
    """
    name, *_ = administrator(s)
    if not name and c.user == "root":
        raise ValueError(
            "ssh.permit_root_login: no would lock everyone out, as only root administers this"
            " server; set admin.name, and run create-admin"
        )
    return AdministratorLogin(verified_login(c, s), c)


def root_login(s):
    """Return ``ssh.permit_root_login`` as ``sshd -T`` prints it."""
    value = s.ssh.permit_root_login
    return "without-password" if value == "prohibit-password" else value


def user_settings(s):
    """Return what ``sshd -T`` must print for the login user."""
    passwords = "yes" if s.ssh.password_authentication else "no"
    return (
        f"passwordauthentication {passwords}",
        "kbdinteractiveauthentication no",
        "allowtcpforwarding local",
        f"permitopen {PERMIT_OPEN}",
    )


def weak_algorithms():
    """Return the algorithms that sshd must not offer, one text for each directive."""
    return tuple(f"{name} {patterns}" for name, patterns in WEAK.items())


def sshd_test(s):
    """Return shell text that fails if sshd's configuration is invalid or locks everyone out."""
    return script(
        SSHD_TEST, root_login=s.ssh.permit_root_login, passwords=s.ssh.password_authentication
    )


def unread_files(output):
    """Judge whether sshd runs with the configuration that its files have."""
    files = ", ".join(output.split())
    if not files:
        return ok()
    return fail(
        f"sshd has not read {files} since it changed; run systemctl reload ssh and make sure that"
        " you can still log in"
    )

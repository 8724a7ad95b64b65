"""sshd."""

from .kit.quote import sh
from .kit.resources import File, Package, Service, SshdSettings
from .options import render, setup

DROP_IN = "/etc/ssh/sshd_config.d/00-remote-jupyter.conf"


@setup(password_authentication="ssh.password_authentication", permit_root_login="ssh.permit_root_login")
def harden_ssh(c, s):
    """Allow key logins only."""
    ssh = Service("ssh", check="sshd -t")
    root = {"prohibit-password": "without-password"}.get(s.ssh.permit_root_login, s.ssh.permit_root_login)
    passwords = "yes" if s.ssh.password_authentication else "no"
    yield Package("openssh-server", lock_timeout=s.apt.lock_timeout)
    yield File(DROP_IN, render("sshd.conf.j2", **vars(s.ssh)), mode="0600", check=sane(s), notify=ssh.reload)
    yield SshdSettings((f"permitrootlogin {root}", f"passwordauthentication {passwords}", "kbdinteractiveauthentication no"))


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

"""sshd."""

from .kit.quote import sh
from .kit.resources import File, Package, Service
from .options import render, setup

DROP_IN = "/etc/ssh/sshd_config.d/00-remote-jupyter.conf"


@setup(password_authentication="ssh.password_authentication", permit_root_login="ssh.permit_root_login")
def harden_ssh(c, s):
    """Allow key logins only."""
    ssh = Service("ssh", check="sshd -t")
    yield Package("openssh-server", lock_timeout=s.apt.lock_timeout)
    content = render("sshd.conf.j2", **vars(s.ssh))
    yield File(DROP_IN, content, mode="0600", check=in_force(s), notify=ssh.reload)


def in_force(s):
    """Return shell text that fails where sshd would not do as the drop-in says, because it is wrong or not read."""
    root = {"prohibit-password": "without-password"}.get(s.ssh.permit_root_login, s.ssh.permit_root_login)
    return sh(
        """
        mkdir -p -m 0755 /run/sshd && sshd -t && for line in {} {}; do
            sshd -T -C user=root,host=localhost,addr=127.0.0.1 | grep -qxiF "$line" ||
                { echo "sshd does not take up: $line; does sshd_config include sshd_config.d/*.conf at its top?" >&2; false; } || break
        done
        """,
        f"permitrootlogin {root}",
        f"passwordauthentication {'yes' if s.ssh.password_authentication else 'no'}",
    )

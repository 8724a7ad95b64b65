"""sshd."""

from .kit.quote import sh
from .kit.resources import Check, File, Package, Service
from .kit.shell import shell_of
from .options import render, setup

DROP_IN = "/etc/ssh/sshd_config.d/00-remote-jupyter.conf"


@setup(password_authentication="ssh.password_authentication", permit_root_login="ssh.permit_root_login")
def harden_ssh(c, s):
    """Allow key logins only."""
    ssh = Service("ssh", check="sshd -t")
    if not s.ssh.password_authentication and not s.user.authorized_keys:
        yield Check("key login", ":", lambda _: (password_login(c), ""))
    yield Package("openssh-server", lock_timeout=s.apt.lock_timeout)
    content = render("sshd.conf.j2", **vars(s.ssh))
    yield File(DROP_IN, content, mode="0600", check=in_force(s), notify=ssh.reload)


def password_login(c):
    """Return what speaks against ending password logins: that we came by one."""
    if shell_of(c).login_method in ("password", "keyboard-interactive"):
        return "you are logged in with a password, and no password will do any more: put your key there first (ssh-copy-id)"
    return ""


def in_force(s):
    """Return shell text that fails where sshd would not do as the drop-in says, because it is wrong or not read."""
    root = {"prohibit-password": "without-password"}.get(s.ssh.permit_root_login, s.ssh.permit_root_login)
    return sh(
        """
        mkdir -p -m 0755 /run/sshd && sshd -t && {
            [ "$(sshd -T -C user=root,host=localhost,addr=127.0.0.1 | grep -cxiF -e {} -e {})" = 2 ] ||
                ! echo 'sshd does not take this up: sshd_config must include sshd_config.d/*.conf at its top' >&2
        }
        """,
        f"permitrootlogin {root}",
        f"passwordauthentication {'yes' if s.ssh.password_authentication else 'no'}",
    )

"""Create, lock and remove the login account."""

from pathlib import Path

from invoke import Exit

from ..kit.host import Host
from ..kit.resources import (
    AuthorizedKeys,
    Check,
    Directory,
    File,
    FileAbsent,
    Package,
    User,
    UserAbsent,
    UserLocked,
)
from ..kit.resources.check import warn
from ..kit.resources.user import MADE, keys_in
from ..kit.rollback import Rollback, VerifyLogin
from ..kit.task import BAD_REQUEST, confirm
from ..settings import password, setup
from ..settings.derived import home
from ..settings.templates import render


def passwords_of(c, name):
    """Return the list of the passwords of *name* that this process knows, the newest last."""
    return Host.of(c).secrets(f"user {name}")


@setup(
    "user.name",
    "user.shell",
    "user.sudo",
    "user.passwordless_sudo",
    "user.adopt",
    "user.authorized_keys",
    "user.copy_root_keys",
    "user.remove_keys",
    help={
        "ask_password": "Prompt for the account's password instead of using USER_PASSWORD or a"
        " generated one."
    },
)
def create_user(c, s, ask_password=False):
    """Create the account that runs Jupyter, with SSH keys.

    It cannot become root, unless user.sudo says so.
    """
    secret = password("USER_PASSWORD", ask_password)
    yield from sudo_of_jupyter(s)
    yield account(
        c,
        s,
        s.user.name,
        secret,
        home=home(s),
        shell=s.user.shell,
        groups=("sudo",) if s.user.sudo else (),
        not_groups=() if s.user.sudo else ("sudo",),
        needs_password=s.user.sudo and not s.user.passwordless_sudo,
        adopt=s.user.adopt or c.user == s.user.name,
    )
    yield Directory(f"{home(s)}/.ssh", s.user.name, mode="0700")
    given = public_keys("user.authorized_keys", s.user.authorized_keys)
    yield AuthorizedKeys(
        s.user.name,
        home(s),
        given,
        public_keys("user.remove_keys", s.user.remove_keys),
        copied_from="" if given and not s.user.copy_root_keys else c.user,
        needed=not s.ssh.password_authentication,
        rollback_timeout=s.ssh.rollback_timeout,
    )
    yield sudoers(s)
    yield verified_login(c, s)


@setup(
    "admin.name",
    "admin.authorized_keys",
    "admin.adopt",
    help={
        "ask_password": "Prompt for the administrator's password instead of using ADMIN_PASSWORD"
        " or a generated one."
    },
)
def create_admin(c, s, ask_password=False):
    """Create the administrator's account.

    It has SSH keys and sudo. Jupyter runs in another account, which cannot become root.
    """
    name, folder = s.admin.name, f"/home/{s.admin.name}"
    if not name:
        raise ValueError("admin.name: not set; name the account with --admin NAME")
    if name == s.user.name:
        raise ValueError(
            f"admin.name: {name} runs Jupyter; the administrator needs another account"
        )
    secret = password("ADMIN_PASSWORD", ask_password)
    yield Package("sudo", lock_timeout=s.apt.lock_timeout)
    yield account(
        c,
        s,
        name,
        secret,
        home=folder,
        groups=("sudo",),
        needs_password=True,
        adopt=s.admin.adopt or c.user == name,
    )
    yield Directory(f"{folder}/.ssh", name, mode="0700")
    given = public_keys("admin.authorized_keys", s.admin.authorized_keys)
    yield AuthorizedKeys(
        name,
        folder,
        given,
        copied_from="" if given else c.user,
        rollback_timeout=s.ssh.rollback_timeout,
    )
    yield verified_login(c, s)


def account(c, s, name, secret, **options):
    """Return the account *name*; *secret* is its password, or None for a generated one."""
    known = passwords_of(c, name)
    if secret:
        known.append(secret)
    return User(
        name, password=secret, rollback_timeout=s.ssh.rollback_timeout, known=known, **options
    )


def sudo_of_jupyter(s):
    """Yield what sudo for the account that runs Jupyter needs, and a warning.

    Raises:
        ValueError: without a password for sudo, everyone with Jupyter's password is root.
    """
    if not s.user.sudo:
        return
    if s.user.passwordless_sudo and not s.jupyter.sudo:
        raise ValueError(
            "user.passwordless_sudo: Jupyter runs in this account, so a notebook could become"
            " root; use admin.name for administration, or set jupyter.sudo: true to allow it"
        )
    yield Package("sudo", lock_timeout=s.apt.lock_timeout)
    yield Check("sudo of Jupyter's account", ":", sudo_risk)


def sudo_risk(output):
    """Warn of what sudo in Jupyter's account means."""
    return warn(
        "code in a notebook may become root once you use sudo in this account;"
        " admin.name keeps them apart"
    )


def sudoers(s):
    """Return the drop-in that allows sudo without a password, or its absence."""
    path = f"/etc/sudoers.d/remote-jupyter-{s.user.name}"
    rollback = Rollback("sudo", (path,), seconds=s.ssh.rollback_timeout)
    if not (s.user.sudo and s.user.passwordless_sudo):
        return FileAbsent(path, rollback=rollback)
    content = render("sudoers.j2", user=s.user.name)
    return File(path, content, mode="0440", check="visudo -cf {}", rollback=rollback)


@setup("user.name", help={"unlock": "Unlock the account."})
def lock_user(c, s, unlock=False):
    """Lock the login account.

    Neither keys nor the password work then. Running processes continue; nothing is removed.
    """
    require_another_login(c, s)
    yield UserLocked(s.user.name, not unlock, rollback=None if unlock else unlock_rollback(s))
    yield VerifyLogin()


@setup(
    "user.name",
    "user.adopt",
    help={"yes": "Do not ask for confirmation.", "with_home": "Remove the home folder too."},
)
def remove_user(c, s, yes=False, with_home=False):
    """Remove the login account; its home stays."""
    require_another_login(c, s)
    home_too = f" and everything in {home(s)}" if with_home else ""
    confirm(c, f"Remove {s.user.name}{home_too} from {c.host}", yes)
    # Locked first: it is removed once someone else is known to be able to log in.
    yield UserLocked(s.user.name, or_gone=True, rollback=unlock_rollback(s))
    yield VerifyLogin()
    yield FileAbsent(f"/etc/sudoers.d/remote-jupyter-{s.user.name}")
    yield UserAbsent(s.user.name, home(s), with_home, adopt=s.user.adopt)


def unlock_rollback(s):
    """Return the rollback that unlocks the account again."""
    unlocked = UserLocked(s.user.name, locked=False)
    return Rollback("lock", back=unlocked.apply({}), seconds=s.ssh.rollback_timeout)


def require_another_login(c, s):
    """Make sure that the login account is not the one that Fabric uses.

    Raises:
        Exit: it is the same (status 2).
    """
    if c.user == s.user.name:
        raise Exit(
            f"{c.user} is the login that Fabric uses; give another one with -H USER@{c.host}",
            BAD_REQUEST,
        )


def verified_login(c, s):
    """Return the test that someone can still log in and become root.

    That is the administrator, or Jupyter's account if it may use sudo; else Fabric's own login.
    """
    name, variable, authorized = administrator(s)
    private = private_keys(authorized)
    passwords = passwords_of(c, name)
    if name and not passwords and (secret := password(variable)):
        passwords.append(secret)
    # With other people's keys, their login cannot be tried from here.
    made = "" if authorized and not private else MADE
    return VerifyLogin(name, passwords, private, made)


def administrator(s):
    """Return who becomes root beside root: (name, variable of the password, keys)."""
    if s.admin.name:
        return s.admin.name, "ADMIN_PASSWORD", s.admin.authorized_keys
    if s.user.sudo:
        return s.user.name, "USER_PASSWORD", s.user.authorized_keys
    return "", "", ()


def private_keys(authorized):
    """Return the files of the private keys on this machine that belong to the keys *authorized*."""
    files = [Path(path).expanduser() for path in authorized if path.endswith(".pub")]
    return tuple(str(file.with_suffix("")) for file in files if file.with_suffix("").is_file())


def public_keys(setting, given):
    """Return the public keys in *given*.

    Args:
        setting: the setting's name, for messages.
        given: each a public key, or a file of public keys.

    Raises:
        ValueError: one of them is neither.
    """
    return tuple(key for text in given for key in _public_keys(setting, text))


def _public_keys(setting, text):
    if keys := keys_in(text):
        return [line for _, line in keys]
    path = Path(text).expanduser()
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise ValueError(
            f"{setting}: {text!r} is neither a public key nor a readable file of public keys"
        ) from None
    if "PRIVATE KEY" in content or not keys_in(content):
        raise ValueError(f"{setting}: {path} is not a public key; give the file that ends in .pub")
    return [line for _, line in keys_in(content)]

"""Create, lock and remove the login account."""

from pathlib import Path

from invoke import Exit

from ..kit.host import Host
from ..kit.resources import (
    AuthorizedKeys,
    Directory,
    File,
    FileAbsent,
    Package,
    User,
    UserAbsent,
    UserLocked,
)
from ..kit.resources.user import MADE, keys_in
from ..kit.rollback import Rollback, VerifyLogin
from ..kit.task import BAD_REQUEST, confirm
from ..settings import password, setup
from ..settings.derived import home
from ..settings.templates import render


def passwords_here(c, s):
    """Return the list of the login user's passwords that this process knows, the newest last."""
    return Host.of(c).secrets(f"user {s.user.name}")


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
    """Create the login account, with SSH keys and sudo."""
    if s.user.sudo:
        yield Package("sudo", lock_timeout=s.apt.lock_timeout)
    yield account(c, s, password("USER_PASSWORD", ask_password))
    yield Directory(f"{home(s)}/.ssh", s.user.name, mode="0700")
    yield authorized_keys(c, s)
    yield sudoers(s)
    yield verified_login(c, s)


def account(c, s, secret):
    """Return the login account; *secret* is its password, or None for a generated one."""
    known = passwords_here(c, s)
    if secret:
        known.append(secret)
    return User(
        s.user.name,
        home(s),
        shell=s.user.shell,
        groups=("sudo",) if s.user.sudo else (),
        not_groups=() if s.user.sudo else ("sudo",),
        password=secret,
        needs_password=s.user.sudo and not s.user.passwordless_sudo,
        adopt=s.user.adopt or c.user == s.user.name,
        rollback_timeout=s.ssh.rollback_timeout,
        known=known,
    )


def authorized_keys(c, s):
    """Return the account's SSH keys: the given ones, and those of Fabric's own login."""
    given = public_keys("user.authorized_keys", s.user.authorized_keys)
    return AuthorizedKeys(
        s.user.name,
        home(s),
        given,
        public_keys("user.remove_keys", s.user.remove_keys),
        copied_from="" if given and not s.user.copy_root_keys else c.user,
        needed=not s.ssh.password_authentication,
        rollback_timeout=s.ssh.rollback_timeout,
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

    The account that was created is tried first if it may use sudo, then Fabric's own login.
    """
    private = private_keys(s)
    passwords = passwords_here(c, s)
    if not passwords and (secret := password("USER_PASSWORD")):
        passwords.append(secret)
    # With other people's keys, their login cannot be tried from here.
    made = "" if s.user.authorized_keys and not private else MADE
    return VerifyLogin(s.user.name if s.user.sudo else "", passwords, private, made)


def private_keys(s):
    """Return the files of the private keys on this machine that belong to the account's keys."""
    files = [Path(path).expanduser() for path in s.user.authorized_keys if path.endswith(".pub")]
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

"""The login user."""

from pathlib import Path

from invoke import Exit

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

_passwords = {}  # by host and user: the passwords that this process set, so that a new login can be proved with them


def passwords_here(c, s):
    """Return the list of the login user's passwords on the host of *c* that this process knows, the last one being right."""
    return _passwords.setdefault((c.host, c.port, s.user.name), [])


@setup(
    user="user.name",
    shell="user.shell",
    sudo="user.sudo",
    passwordless_sudo="user.passwordless_sudo",
    adopt="user.adopt",
    authorized_keys="user.authorized_keys",
    copy_root_keys="user.copy_root_keys",
    remove_key="user.remove_keys",
    help={
        "ask_password": "Ask for the user's password here, instead of USER_PASSWORD or a generated one."
    },
)
def create_user(c, s, ask_password=False):
    """Let one person log in with keys, and use sudo."""
    name, folder, seconds = s.user.name, home(s), s.ssh.rollback_timeout
    given = public_keys("user.authorized_keys", s.user.authorized_keys)
    removed = public_keys("user.remove_keys", s.user.remove_keys)
    secret = password("USER_PASSWORD", ask_password)
    passwords_here(c, s).extend([secret] if secret else [])
    if s.user.sudo:
        yield Package("sudo", lock_timeout=s.apt.lock_timeout)
    yield User(
        name,
        folder,
        shell=s.user.shell,
        groups=("sudo",) if s.user.sudo else (),
        not_groups=() if s.user.sudo else ("sudo",),
        password=secret,
        needs_password=s.user.sudo and not s.user.passwordless_sudo,
        adopt=s.user.adopt or c.user == name,
        rollback_timeout=seconds,
        known=passwords_here(c, s),
    )
    yield Directory(f"{folder}/.ssh", name, mode="0700")
    yield AuthorizedKeys(
        name,
        folder,
        given,
        removed,
        copied_from="" if given and not s.user.copy_root_keys else c.user,
        needed=not s.ssh.password_authentication,
        rollback_timeout=seconds,
    )
    yield sudoers(s)
    yield proof(c, s)


def sudoers(s):
    """Return the drop-in that lets the login user use sudo without a password, or its absence."""
    path = f"/etc/sudoers.d/remote-jupyter-{s.user.name}"
    rollback = Rollback("sudo", (path,), seconds=s.ssh.rollback_timeout)
    if not (s.user.sudo and s.user.passwordless_sudo):
        return FileAbsent(path, rollback=rollback)
    return File(
        path,
        render("sudoers.j2", user=s.user.name),
        mode="0440",
        check="visudo -cf {}",
        rollback=rollback,
    )


@setup(user="user.name", help={"unlock": "Let the user in again."})
def lock_user(c, s, unlock=False):
    """Let the user log in no more.

    Neither by key nor by password; what runs goes on, and nothing is removed.
    """
    not_me(c, s)
    yield UserLocked(s.user.name, not unlock, rollback=None if unlock else unlocking(s))
    yield VerifyLogin()


@setup(
    user="user.name",
    adopt="user.adopt",
    help={"yes": "Do not ask.", "with_home": "Remove the home too, with all that is in it."},
)
def remove_user(c, s, yes=False, with_home=False):
    """Remove the user; the home stays."""
    not_me(c, s)
    what = f"Remove {s.user.name} from {c.host}" + (f", with all of {home(s)}" if with_home else "")
    confirm(c, what, yes)
    # First only locked, until it is seen that somebody else still gets in.
    yield UserLocked(s.user.name, or_gone=True, rollback=unlocking(s))
    yield VerifyLogin()
    yield FileAbsent(f"/etc/sudoers.d/remote-jupyter-{s.user.name}")
    yield UserAbsent(s.user.name, home(s), with_home, adopt=s.user.adopt)


def unlocking(s):
    """Return how a lock is undone."""
    return Rollback(
        "lock", back=UserLocked(s.user.name, locked=False).apply({}), seconds=s.ssh.rollback_timeout
    )


def not_me(c, s):
    """Raise Exit with status 2 where the login user is the one of this connection."""
    if c.user == s.user.name:
        raise Exit(
            f"this is the login that Fabric uses; log in as another one than {c.user}", BAD_REQUEST
        )


def proof(c, s):
    """Return the proof that the login user still gets in and becomes root, or else the login that Fabric uses now."""
    name = s.user.name if s.user.sudo else ""
    private = [
        path.removesuffix(".pub") for path in s.user.authorized_keys if path.endswith(".pub")
    ]
    known = tuple(
        path for path in (str(Path(path).expanduser()) for path in private) if Path(path).is_file()
    )
    passwords = passwords_here(c, s)
    if not passwords and (secret := password("USER_PASSWORD")):
        passwords.append(secret)
    # Where the keys are other people's, their login cannot be tried from here.
    return VerifyLogin(name, passwords, known, "" if s.user.authorized_keys and not known else MADE)


def public_keys(setting, given):
    """Return the public keys in *given*, each a key or a file of keys; raises ValueError for what is neither."""
    found = []
    for text in given:
        path = Path(text).expanduser()
        if not keys_in(text):
            try:
                text = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError):
                raise ValueError(
                    f"{setting}: {text!r} is neither a public key nor a file that can be read"
                ) from None
        lines = [line for _, line in keys_in(text)]
        if not lines or "PRIVATE KEY" in text:
            raise ValueError(
                f"{setting}: {path} holds no public key; the file that ends in .pub does"
            )
        found += lines
    return tuple(found)

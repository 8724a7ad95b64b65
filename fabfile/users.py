"""The login user."""

from pathlib import Path

from .kit.resources import AuthorizedKeys, Directory, Package, User
from .kit.resources.user import keys_in
from .options import home, password, setup


@setup(
    user="user.name",
    shell="user.shell",
    sudo="user.sudo",
    adopt="user.adopt",
    authorized_keys="user.authorized_keys",
    help={"ask_password": "Ask for the user's password here, instead of USER_PASSWORD or a generated one."},
)
def create_user(c, s, ask_password=False):
    """Let one person log in with keys, and use sudo."""
    name, folder = s.user.name, home(s)
    if s.user.sudo:
        yield Package("sudo", lock_timeout=s.apt.lock_timeout)
    yield User(
        name,
        folder,
        shell=s.user.shell,
        groups=("sudo",) if s.user.sudo else (),
        not_groups=() if s.user.sudo else ("sudo",),
        password=password("USER_PASSWORD", ask_password),
        needs_password=s.user.sudo,
        adopt=s.user.adopt or c.user == name,
    )
    yield Directory(f"{folder}/.ssh", name, mode="0700")
    yield AuthorizedKeys(
        name,
        folder,
        public_keys(s.user.authorized_keys),
        copied_from="" if s.user.authorized_keys else c.user,
        needed=not s.ssh.password_authentication,
    )


def public_keys(given):
    """Return the public keys in *given*, each a key or a file of keys; raises ValueError for what is neither."""
    found = []
    for text in given:
        path = Path(text).expanduser()
        if not keys_in(text):
            try:
                text = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError):
                raise ValueError(f"user.authorized_keys: {text!r} is neither a public key nor a file that can be read") from None
        lines = [line for _, line in keys_in(text)]
        if not lines or "PRIVATE KEY" in text:
            raise ValueError(f"user.authorized_keys: {path} holds no public key; the file that ends in .pub does")
        found += lines
    return tuple(found)

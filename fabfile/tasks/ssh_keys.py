"""The operator's own SSH key: made here, and copied to where it shall let in."""

import subprocess
import sys
from pathlib import Path

from fabric import Connection, task
from invoke import Exit

from ..kit.errors import RemoteError
from ..kit.report import say
from ..kit.resources.user import keys_in
from ..kit.task import BAD_REQUEST
from ..local.ssh_keys import copy_key, key_lock, log_in, public_key


@task(
    help={
        "path": "Where the private key shall be; the public one is beside it, with .pub.",
        "type": "Kind of key: ed25519, ecdsa or rsa.",
        "comment": "What to call it; empty for USER@HOST.",
        "no_passphrase": "Do not ask for a passphrase: whoever reads the file then has the key.",
    }
)
def create_ssh_key(c, path="~/.ssh/id_ed25519", type="ed25519", comment="", no_passphrase=False):
    """Make an SSH key on your machine.

    It asks for a passphrase; a key that is there stays.
    """
    file = Path(path).expanduser()
    public = Path(f"{file}.pub")
    with key_lock:
        if public.exists() and file.exists():
            say(f"{public} is there already, and stays")
            return
        if file.exists() or public.exists():
            raise Exit(
                f"{file if file.exists() else public} is there already, without its other half; move it away",
                BAD_REQUEST,
            )
        if type not in ("ed25519", "ecdsa", "rsa"):
            raise Exit(f"--type {type}: ed25519, ecdsa or rsa is expected", BAD_REQUEST)
        if not no_passphrase and not sys.stdin.isatty():
            raise Exit(
                "there is no terminal to ask for a passphrase on; or say --no-passphrase",
                BAD_REQUEST,
            )
        if c.config.run.dry:
            say(f"{file} and {public} would be made")
            return
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        argv = ["ssh-keygen", "-q", "-t", type, "-f", file] + (["-C", comment] if comment else [])
        try:
            # Without -N it asks by itself; a passphrase in its arguments could be read by everybody here.
            done = subprocess.run(argv + (["-N", ""] if no_passphrase else []))
        except FileNotFoundError:
            raise Exit("ssh-keygen is missing here: install OpenSSH's client", 1) from None
        if done.returncode or not public.exists():
            raise Exit(f"ssh-keygen made no key at {file}", 1)
        say(
            f"{public} is made; bring it to a server with: fab -H USER@HOST copy-ssh-key --key {public}"
        )


@task(help={"key": "The public key's file; else that of fab -i, or the first of yours."})
def copy_ssh_key(c, key=None):
    """Let your key log in on the server.

    It logs in as the user after -H, with that user's password if there is no other way yet.
    """
    if not isinstance(c, Connection):
        raise Exit(
            "copy-ssh-key brings a key to a server: say which with -H [user@]host", BAD_REQUEST
        )
    file = public_key(c, key)
    line = next(line for _, line in keys_in(file.read_text(encoding="utf-8")))
    if c.config.run.dry:
        say(f"{c.host}  {file} would be let in as {c.user}, where it is not yet")
        return
    try:
        state = copy_key(log_in(c), line)
    except RemoteError as error:
        raise Exit(f"{c.host}  {error}", 1) from None
    except ValueError as error:
        raise Exit(str(error), BAD_REQUEST) from None
    say(
        f"{c.host}  {file} "
        + (f"may log in as {c.user} already" if state == "there" else f"may now log in as {c.user}")
    )

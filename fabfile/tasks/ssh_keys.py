"""Create an SSH key on the operator's machine, and copy it to a server."""

import subprocess
import sys
from pathlib import Path

from fabric import Connection, task
from invoke import Exit

from ..kit.errors import RemoteError
from ..kit.resources.user import keys_in
from ..kit.task import BAD_REQUEST, PENDING
from ..kit.terminal import printable, say
from ..local.ssh_keys import copy_key, has_key, key_lock, log_in, public_key

KEY_TYPES = ("ed25519", "ecdsa", "rsa")


@task(
    help={
        "path": "File of the private key; the public key gets the suffix .pub.",
        "type": "Type of the key: ed25519, ecdsa or rsa.",
        "comment": "Comment of the key; without it USER@HOST.",
        "no_passphrase": "Do not ask for a passphrase; anyone who can read the file has the key.",
    }
)
def create_ssh_key(c, path="~/.ssh/id_ed25519", type="ed25519", comment="", no_passphrase=False):
    """Create an SSH key on your machine.

    Ask for its passphrase. An existing key stays.
    """
    private = Path(path).expanduser()
    public = Path(f"{private}.pub")
    with key_lock:
        if private.exists() and public.exists():
            say(f"{public} exists already and is kept")
            return
        check_new_key(private, public, type, no_passphrase)
        if c.config.run.dry:
            say(f"{private} and {public} would be created")
            raise Exit(code=PENDING)
        generate_key(private, public, type, comment, no_passphrase)
        say(f"{public} created; copy it with: fab -H USER@HOST copy-ssh-key --key {public}")


def check_new_key(private, public, type, no_passphrase):
    """Make sure that a key can be created.

    Raises:
        Exit: half of a key exists, or a flag is wrong (status 2).
    """
    for file, other in ((private, public), (public, private)):
        if file.exists():
            raise Exit(f"{file} exists, but {other} does not; move it away", BAD_REQUEST)
    if type not in KEY_TYPES:
        raise Exit(f"--type {type}: ed25519, ecdsa or rsa is expected", BAD_REQUEST)
    if not no_passphrase and not sys.stdin.isatty():
        raise Exit("no terminal to ask for a passphrase; use --no-passphrase", BAD_REQUEST)


def generate_key(private, public, type, comment, no_passphrase):
    """Run ssh-keygen.

    Raises:
        Exit: it is not installed, or makes no key (status 1).
    """
    private.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    command = ["ssh-keygen", "-q", "-t", type, "-f", private]
    if comment:
        command += ["-C", comment]
    if no_passphrase:
        command += ["-N", ""]  # else it asks: other users could read a passphrase in its arguments
    try:
        done = subprocess.run(command)
    except FileNotFoundError:
        raise Exit("ssh-keygen is missing here; install OpenSSH's client", 1) from None
    if done.returncode or not public.exists():
        raise Exit(f"ssh-keygen did not create {private}", 1)


@task(help={"key": "Public key file; without it that of fab -i, or your first one."})
def copy_ssh_key(c, key=None):
    """Authorize your SSH key on the server.

    Log in as the user of -H; with LOGIN_PASSWORD or a prompt if no key works yet.
    """
    if not isinstance(c, Connection):
        raise Exit("copy-ssh-key needs a server: give it with -H [user@]host", BAD_REQUEST)
    file = public_key(c, key)
    line = next(line for _, line in keys_in(file.read_text(encoding="utf-8")))
    try:
        transport = log_in(c)
        if has_key(transport, line):
            say(f"{c.host}  {file} is authorized for {c.user} already")
        elif c.config.run.dry:
            say(f"{c.host}  {file} would be authorized for {c.user}")
            raise Exit(code=PENDING)
        else:
            copy_key(transport, line)
            say(f"{c.host}  {file} is now authorized for {c.user}")
    except RemoteError as error:
        raise Exit(f"{c.host}  {printable(str(error))}", 1) from None
    except ValueError as error:
        raise Exit(str(error), BAD_REQUEST) from None

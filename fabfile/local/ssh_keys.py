"""TODO."""

import getpass
import os
import sys
import threading
from pathlib import Path

from invoke import Exit

from ..kit.connect import connect
from ..kit.errors import RemoteError, Unreachable
from ..kit.quote import sh
from ..kit.resources.user import keys_in
from ..kit.secret import Secret, given
from ..kit.task import BAD_REQUEST

_here = threading.Lock()  # several hosts may ask at once for the one key of this machine


# What ssh-copy-id does, for the user who logs in; the key comes by standard input.
COPY = """
set -e; umask 077; cd; IFS= read -r line; IFS= read -r key
mkdir -p .ssh; [ ! -L .ssh/authorized_keys ] || { echo 'authorized_keys is a symbolic link' >&2; exit 1; }
touch .ssh/authorized_keys
if grep -v '^ *#' .ssh/authorized_keys | grep -qF "$key"; then echo there; exit 0; fi
new=$(mktemp .ssh/.authorized_keys.XXXXXX); trap 'rm -f "$new"' EXIT
{ cat .ssh/authorized_keys; [ -z "$(tail -c 1 .ssh/authorized_keys)" ] || echo; printf '%s\\n' "$line"; } >"$new"
mv -f "$new" .ssh/authorized_keys; echo added
"""


def public_key(c, key):
    """Return the file of the public key to copy; raises Exit with status 2 where there is none."""
    named = c.connect_kwargs.get("key_filename") or []
    private = [named] if isinstance(named, (str, os.PathLike)) else list(named)
    usual = [f"~/.ssh/id_{kind}" for kind in ("ed25519", "ecdsa", "rsa")]
    for name in [key] if key else [f"{name}.pub" for name in (*private, *usual)]:
        file = Path(name).expanduser()
        if not file.is_file():
            continue
        text = file.read_text(encoding="utf-8", errors="replace")
        if "PRIVATE KEY" in text or not keys_in(text):
            raise Exit(f"{file} holds no public key; the file that ends in .pub does", BAD_REQUEST)
        return file
    where = f"--key {key}: there is no such file" if key else "you have no SSH key"
    raise Exit(
        f"{where}; make one with create-ssh-key, or name one with --key FILE.pub", BAD_REQUEST
    )


def let_in(c):
    """Return the open transport of *c*: by the keys that work now, else by LOGIN_PASSWORD or its prompt. Raises Unreachable."""
    try:
        return connect(c)
    except Unreachable as error:
        if "password" in c.connect_kwargs or not (
            "may not log in" in str(error) or "no key" in str(error)
        ):
            raise
        password = given("LOGIN_PASSWORD")
        if not password and sys.stdin.isatty():
            with _here:
                password = Secret(getpass.getpass(f"password of {c.user} on {c.host}: "))
        if not password:
            raise Unreachable(
                f"{error}; or give the password of {c.user} in LOGIN_PASSWORD"
            ) from None
        c.connect_kwargs = {
            "password": password.reveal(),
            "look_for_keys": False,
            "allow_agent": False,
        }
        return connect(c)


def copied(transport, line):
    """Return whether the key of *line* was ``there`` or is ``added`` for whoever logged in; raises Problem."""
    [(key, _)] = keys_in(line)
    channel = transport.open_session(timeout=30)
    channel.exec_command(sh("exec /bin/sh -c {}", str(COPY)))
    channel.sendall(f"{line}\n{key}\n".encode())
    channel.shutdown_write()
    said, wrong = channel.makefile().read().decode(), channel.makefile_stderr().read().decode()
    if channel.recv_exit_status():
        raise RemoteError(
            f"the key was not copied: {wrong.strip() or said.strip() or 'the login shell said nothing'}"
        )
    return said.split()[-1]

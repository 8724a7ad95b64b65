"""The operator's SSH key: which one it is, and how it gets to a server."""

from __future__ import annotations

import getpass
import sys
import threading
from pathlib import Path

import paramiko
from fabric import Connection
from invoke import Exit

from ..kit.connect import connect
from ..kit.errors import RemoteError, Unreachable
from ..kit.quote import sh
from ..kit.resources.user import keys_in
from ..kit.secret import Secret, given
from ..kit.task import BAD_REQUEST
from .openssh import key_files

# Hosts run side by side; they take turns at this machine's key and its terminal.
key_lock = threading.Lock()

# What ssh-copy-id does, for the user who logs in; the key arrives on standard input.
COPY = """
set -e
umask 077
cd
IFS= read -r line
IFS= read -r key
mkdir -p .ssh
if [ -L .ssh/authorized_keys ]; then
    echo 'authorized_keys is a symbolic link' >&2
    exit 1
fi
touch .ssh/authorized_keys
if grep -v '^ *#' .ssh/authorized_keys | grep -qF "$key"; then
    echo there
    exit 0
fi
new=$(mktemp .ssh/.authorized_keys.XXXXXX)
trap 'rm -f "$new"' EXIT
{
    cat .ssh/authorized_keys
    [ -z "$(tail -c 1 .ssh/authorized_keys)" ] || echo
    printf '%s\\n' "$line"
} >"$new"
mv -f "$new" .ssh/authorized_keys
echo added
"""

FIND = """
IFS= read -r key
if grep -v '^ *#' ~/.ssh/authorized_keys 2>/dev/null | grep -qF "$key"; then echo there
else echo missing; fi
"""


def public_key(c: Connection, key: str | None) -> Path:
    """Find the public key to copy.

    Args:
        c: The connection; the keys given by `fab -i` come before the usual ones in `~/.ssh`.
        key: The file that the operator named, or nothing.

    Raises:
        Exit: With status 2 if no public key exists, or if the file contains something else.
    """
    usual = [f"~/.ssh/id_{kind}" for kind in ("ed25519", "ecdsa", "rsa")]
    for name in [key] if key else [f"{private}.pub" for private in (*key_files(c), *usual)]:
        file = Path(name).expanduser()
        if not file.is_file():
            continue
        text = file.read_text(encoding="utf-8", errors="replace")
        if "PRIVATE KEY" in text or not keys_in(text):
            raise Exit(f"{file} is not a public key; give the file that ends in .pub", BAD_REQUEST)
        return file
    missing = f"--key {key}: no such file" if key else "you have no SSH key"
    raise Exit(
        f"{missing}; make a key with create-ssh-key, or name one with --key FILE.pub", BAD_REQUEST
    )


def log_in(c: Connection) -> paramiko.Transport:
    """Open *c* with the operator's keys, or else with a password.

    The password is LOGIN_PASSWORD; without it, a terminal is asked.

    Returns:
        The open transport of *c*.

    Raises:
        Unreachable: The host does not answer, or no key and no password is accepted.
        ValueError: The file named by LOGIN_PASSWORD_FILE cannot be read.
    """
    try:
        return connect(c)
    except Unreachable as error:
        refused = "may not log in" in str(error) or "no key" in str(error)
        if "password" in c.connect_kwargs or not refused:
            raise
        password = given("LOGIN_PASSWORD")
        if not password and sys.stdin.isatty():
            with key_lock:
                password = Secret(getpass.getpass(f"Password of {c.user} on {c.host}: "))
        if not password:
            raise Unreachable(
                f"{error}; or set LOGIN_PASSWORD to the password of {c.user}"
            ) from None
        c.connect_kwargs = {
            "password": password.reveal(),
            "look_for_keys": False,
            "allow_agent": False,
        }
        return connect(c)


def copy_key(transport: paramiko.Transport, line: str) -> str:
    """Add a public key to the authorized_keys of the user who is logged in.

    Args:
        transport: The open connection.
        line: The line to add: type, key and comment.

    Returns:
        ``there`` if the key was authorized already, or ``added``.

    Raises:
        RemoteError: The key could not be written.
    """
    [(key, _)] = keys_in(line)
    answer, why = _run(transport, COPY, f"{line}\n{key}\n")
    if answer not in ("there", "added"):
        raise RemoteError(f"the key was not copied: {why}")
    return answer


def has_key(transport: paramiko.Transport, line: str) -> bool:
    """Return whether a public key is authorized for the user who is logged in.

    Args:
        transport: The open connection.
        line: The line of the key: type, key and comment.

    Raises:
        RemoteError: The server gives no answer.
    """
    [(key, _)] = keys_in(line)
    answer, why = _run(transport, FIND, f"{key}\n")
    if answer not in ("there", "missing"):
        raise RemoteError(f"cannot read authorized_keys: {why}")
    return answer == "there"


def _run(transport: paramiko.Transport, text: str, lines: str) -> tuple[str, str]:
    """Run shell text with *lines* as its input; return its last word, and why it failed."""
    channel = transport.open_session(timeout=30)
    channel.exec_command(sh("exec /bin/sh -c {}", text))
    channel.sendall(lines.encode())
    channel.shutdown_write()
    out, err = (
        stream.read().decode(errors="replace")
        for stream in (channel.makefile(), channel.makefile_stderr())
    )
    why = err.strip() or out.strip() or "the login shell ended without a message"
    failed = channel.recv_exit_status() or not out.strip()
    return "" if failed else out.split()[-1], why

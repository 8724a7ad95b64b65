"""The `ssh` command that reaches the same host as a Fabric connection.

It uses the same user, keys, passwords, jump hosts, ssh_config and host key rules.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fabric import Connection
from invoke import Exit

from ..kit.connect import TIMEOUT
from ..kit.known_hosts import DEAD_AFTER
from ..kit.task import BAD_REQUEST

# ssh runs this program to ask for a password or a passphrase.
ASKPASS = """#!/bin/sh
case $1 in
*assphrase*) printf '%s\\n' "$REMOTE_JUPYTER_PASSPHRASE" ;;
*) printf '%s\\n' "$REMOTE_JUPYTER_PASSWORD" ;;
esac
"""


def ssh_words(c: Connection, *options: str) -> list[str]:
    """Return the words of an `ssh` command that logs in where and as *c* does.

    Args:
        c: The connection to imitate; it does not have to be open.
        options: Further words for the end of the command, such as ``-N`` and the host.

    Returns:
        The command without a host, unless *options* contain one.

    Raises:
        ValueError: The key of *c* exists only in memory, so OpenSSH cannot use it.
    """
    if c.connect_kwargs.get("pkey"):
        raise ValueError(
            "OpenSSH needs the key in a file or in ssh-agent; connect_kwargs.pkey is neither"
        )
    words = ["ssh", "-p", str(c.port), "-l", c.user]
    if config := config_file(c):
        words += ["-F", config]
    for key in key_files(c):
        words += ["-i", str(Path(key).expanduser())]
    words += [f"-o{name}={value}" for name, value in _settings(c).items()]
    return [*words, *options]


def _settings(c: Connection) -> dict[str, object]:
    settings: dict[str, object] = {
        # A master connection of the operator would keep our forwarding open after we have left.
        "ControlMaster": "no",
        "ControlPath": "none",
        "ConnectTimeout": TIMEOUT,
        "LogLevel": "ERROR",
        "ServerAliveCountMax": 3,
        "ServerAliveInterval": DEAD_AFTER // 10,
        "StrictHostKeyChecking": c.ssh_config.get("stricthostkeychecking", "accept-new"),
    }
    if not passwords(c) and not sys.stdin.isatty():
        settings["BatchMode"] = "yes"
    if isinstance(c.gateway, Connection):
        jump = shlex.join([*ssh_words(c.gateway), c.gateway.original_host])
        settings["ProxyCommand"] = f"{jump.replace('%', '%%')} -W '[%h]:%p'"
    elif c.gateway:
        settings["ProxyCommand"] = c.gateway
    return settings


def key_files(c: Connection) -> list[str]:
    """Return the private key files that were named for *c*, as by `fab -i`."""
    named = c.connect_kwargs.get("key_filename") or []
    return [str(named)] if isinstance(named, (str, os.PathLike)) else list(map(str, named))


def check_ssh(c: Connection) -> None:
    """Raise Exit with status 2 if OpenSSH cannot log in as *c* does."""
    try:
        ssh_words(c)
    except ValueError as error:
        raise Exit(str(error), BAD_REQUEST) from None


def ssh_config(c: Connection) -> str:
    """Return an ssh_config with which ``ssh -F`` logs in where and as *c* does.

    rsync takes its `ssh` as one string; a file needs no quoting.

    Raises:
        ValueError: As `ssh_words`.
    """
    lines, words = ["Host *"], ssh_words(c)
    for word, value in zip(words, [*words[1:], ""], strict=True):
        if word == "-i":
            lines.append(f'    IdentityFile "{value}"')
        elif word.startswith("-o"):
            name, _, setting = word[2:].partition("=")
            lines.append(f"    {name} {setting}")
    chosen = config_file(c)
    usual = ["~/.ssh/config", "/etc/ssh/ssh_config"]
    included = [] if chosen == "none" else [chosen] if chosen else usual
    lines += [f"Include {file}" for file in included if Path(file).expanduser().exists()]
    return "\n".join(lines) + "\n"


def config_file(c: Connection) -> str:
    """Return the ssh_config that replaces the usual ones for *c*.

    Returns:
        Its path, ``none`` if no ssh_config is read at all, or an empty string for the usual ones.
    """
    chosen = c.config._runtime_ssh_path
    if chosen:
        return str(Path(chosen).expanduser())
    return "" if c.config.load_ssh_configs else "none"


def passwords(c: Connection) -> dict[str, str]:
    """Return the answers to ssh's questions, as environment variables for `ASKPASS`.

    They come from *c*, or else from the first of its jump hosts that has any.
    """
    found: dict[str, str] = {}
    hop = c
    while isinstance(hop, Connection):
        password = hop.connect_kwargs.get("password")
        passphrase = hop.connect_kwargs.get("passphrase") or password
        if password:
            found.setdefault("REMOTE_JUPYTER_PASSWORD", password)
        if passphrase:
            found.setdefault("REMOTE_JUPYTER_PASSPHRASE", passphrase)
        hop = hop.gateway
    return found


@contextlib.contextmanager
def ssh_environment(c: Connection) -> Iterator[dict[str, str]]:
    """Yield the environment in which the `ssh` of *c* runs.

    If *c* has a password or a passphrase, ssh gets it from a temporary program, which is deleted
    at the end of the block.
    """
    answers = passwords(c)
    if not answers:
        yield dict(os.environ)
        return
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "askpass")
        program.write_text(ASKPASS, encoding="ascii")
        program.chmod(stat.S_IRWXU)
        yield os.environ | answers | {"SSH_ASKPASS": str(program), "SSH_ASKPASS_REQUIRE": "force"}

"""OpenSSH's command line for a Fabric connection: the same host, keys, passwords, jump hosts and rules for host keys."""

import contextlib
import os
import shlex
import stat
import sys
import tempfile
from pathlib import Path

from fabric import Connection
from invoke import Exit

from ..kit.connect import DEAD_AFTER, TIMEOUT
from ..kit.task import BAD_REQUEST

ASKPASS = """#!/bin/sh
case $1 in *assphrase*) printf '%s\\n' "$REMOTE_JUPYTER_PASSPHRASE";; *) printf '%s\\n' "$REMOTE_JUPYTER_PASSWORD";; esac
"""


def ssh_words(c, *options):
    """Return the words of an ``ssh`` command, without a host, that goes where *c* goes and logs in as *c* does."""
    if c.connect_kwargs.get("pkey"):
        raise ValueError(
            "OpenSSH needs the key in a file or in ssh-agent, and connect_kwargs.pkey is neither"
        )
    words = ["ssh", "-p", str(c.port), "-l", c.user]
    if config := config_file(c):
        words += ["-F", config]
    keys = c.connect_kwargs.get("key_filename") or []
    for key in [keys] if isinstance(keys, (str, Path)) else keys:
        words += ["-i", str(Path(key).expanduser())]
    known = c.ssh_config.get("stricthostkeychecking", "accept-new")
    settings = {
        # A master of the user's own would keep our forwarding after we have gone.
        "ControlMaster": "no",
        "ControlPath": "none",
        "ConnectTimeout": TIMEOUT,
        "LogLevel": "ERROR",
        "ServerAliveCountMax": 3,
        "ServerAliveInterval": DEAD_AFTER // 10,
        "StrictHostKeyChecking": known,
    }
    if not passwords(c) and not sys.stdin.isatty():
        settings["BatchMode"] = "yes"
    if isinstance(c.gateway, Connection):
        jump = shlex.join([*ssh_words(c.gateway), c.gateway.original_host]).replace("%", "%%")
        settings["ProxyCommand"] = f"{jump} -W '[%h]:%p'"
    elif c.gateway:
        settings["ProxyCommand"] = c.gateway
    return [*words, *(f"-o{name}={value}" for name, value in settings.items()), *options]


def check_ssh(c):
    """Raise Exit with status 2 where OpenSSH cannot go where *c* goes."""
    try:
        ssh_words(c)
    except ValueError as error:
        raise Exit(str(error), BAD_REQUEST) from None


def ssh_config(c):
    """Return the text of an ssh_config with which ``ssh -F`` goes where *c* goes and logs in as *c* does."""
    lines, words = ["Host *"], ssh_words(c)
    for word, value in zip(words, [*words[1:], ""], strict=True):
        if word == "-i":
            lines.append(f'    IdentityFile "{value}"')
        elif word.startswith("-o"):
            name, _, setting = word[2:].partition("=")
            lines.append(f"    {name} {setting}")
    chosen = config_file(c)
    files = (
        [] if chosen == "none" else [chosen] if chosen else ["~/.ssh/config", "/etc/ssh/ssh_config"]
    )
    return (
        "\n".join(
            [*lines, *(f"Include {file}" for file in files if Path(file).expanduser().exists())]
        )
        + "\n"
    )


def config_file(c):
    """Return the ssh_config that was chosen for *c* instead of the usual ones, or an empty text."""
    chosen = c.config._runtime_ssh_path
    if chosen:
        return str(Path(chosen).expanduser())
    return "" if c.config.load_ssh_configs else "none"


def passwords(c):
    """Return what ssh may be told when it asks, as variables of its environment: of *c* and of its jump hosts."""
    found, hop = {}, c
    while isinstance(hop, Connection):
        password, passphrase = (
            hop.connect_kwargs.get("password"),
            hop.connect_kwargs.get("passphrase"),
        )
        if password:
            found.setdefault("REMOTE_JUPYTER_PASSWORD", password)
        if passphrase or password:
            found.setdefault("REMOTE_JUPYTER_PASSPHRASE", passphrase or password)
        hop = hop.gateway
    return found


@contextlib.contextmanager
def ssh_environment(c):
    """Give the environment in which the ``ssh`` of *c* runs, and which answers its questions; it is gone in the end."""
    answers = passwords(c)
    if not answers:
        yield dict(os.environ)
        return
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "askpass")
        program.write_text(ASKPASS, encoding="ascii")
        program.chmod(stat.S_IRWXU)
        yield os.environ | answers | {"SSH_ASKPASS": str(program), "SSH_ASKPASS_REQUIRE": "force"}

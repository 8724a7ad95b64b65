"""TCP ports of this machine: which are free, and which program uses the others."""

from __future__ import annotations

import contextlib
import errno
import re
import socket
import subprocess

from invoke import Exit

from ..kit.terminal import say

PORTS_TRIED = 100


def free_port(first: int, host: str) -> int:
    """Return the first free local port from *first* on, and print which programs use the others.

    Args:
        first: The preferred port.
        host: The host to name in what is printed.

    Raises:
        Exit: With status 1 if none of `PORTS_TRIED` ports is free.
    """
    last = min(first + PORTS_TRIED, 65536) - 1
    for port in range(first, last + 1):
        if is_free(port):
            return port
        say(f"{host}  local port {port} is in use by {holder(port)}")
    raise Exit(f"no local port from {first} to {last} is free; choose another with --port", 1)


def is_free(port: int) -> bool:
    """Return whether no program listens on *port* of either loopback address."""
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        try:
            with socket.socket(family) as candidate:
                candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                candidate.bind((address, port))
        except OSError as error:
            # Any other error means that this machine lacks the address, as one without IPv6 does.
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
    return True


def holder(port: int) -> str:
    """Return the program that listens on *port*, with its process ID if this user may see it."""
    for command, pattern in (
        (["ss", "-Hltnp", f"sport = :{port}"], r'\("(?P<name>[^"]+)",pid=(?P<pid>\d+)'),
        (["lsof", "-nP", f"-iTCP:{port}", "-sTCP:LISTEN", "-Fpc"], r"p(?P<pid>\d+)\nc(?P<name>.+)"),
    ):
        with contextlib.suppress(OSError):
            found = subprocess.run(command, capture_output=True, text=True).stdout
            if match := re.search(pattern, found):
                return f"{match['name']} (process {match['pid']})"
    return "another program"

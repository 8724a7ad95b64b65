"""The servers of this process: who each one is, and what belongs to it."""

from __future__ import annotations

import threading
from typing import Any

from fabric import Connection

from .report import Report
from .secret import Secret
from .shell import Shell

_hosts: dict[tuple, Host] = {}
_lock = threading.Lock()


class Host:
    """One server, as one user reaches it: its root shell, its report and its known passwords.

    Every task of a command line gets the same object for the same server::

        shell = Host.of(c).shell
        [answer] = shell.batch(["uptime"])

    Attributes:
        name: the server as the operator gave it, with the port if that is not 22.
        report: what happened on it during this command line.
    """

    def __init__(self, connection: Connection):
        self.connection = connection
        given, port = connection.original_host, connection.port
        self.name: str = given if port == 22 else f"{given}:{port}"
        self.report = Report(self.name)
        self._shell: Shell | None = None
        self._secrets: dict[str, list[Secret]] = {}

    @classmethod
    def of(cls, c: Connection) -> Host:
        """Return the server that the Fabric connection *c* leads to."""
        with _lock:
            return _hosts.setdefault(identity(c), cls(c))

    @staticmethod
    def all() -> list[Host]:
        """Return the servers of this process in the order in which they were first used."""
        with _lock:
            return list(_hosts.values())

    @staticmethod
    def close_all() -> None:
        """Close every root shell with its connection, and forget all servers."""
        for host in Host.all():
            host.close()
        _hosts.clear()

    @property
    def shell(self) -> Shell:
        """The root shell, opened when it is first needed and again after it was lost.

        Raises:
            Unreachable: no connection, no login, or no way to become root.
        """
        if self._shell is None or self._shell.closed:
            self._shell = Shell(self.connection)
        return self._shell

    def close(self) -> None:
        """Close the root shell and its connection."""
        if self._shell is not None:
            self._shell.close()
            self._shell = None

    def secrets(self, name: str) -> list[Secret]:
        """Return the list of the passwords of *name* that this process knows, the newest last.

        Tasks append to it what they set or generate, so that a later task can log in with it.
        """
        return self._secrets.setdefault(name, [])


def identity(c: Any) -> tuple:
    """Return what tells the server of *c* from others: its names, user, port and the way there.

    Two servers may have the same address behind different jump hosts.
    """
    way = identity(c.gateway) if isinstance(c.gateway, Connection) else c.gateway
    alias = c.ssh_config.get("hostkeyalias", "")
    return (c.original_host, c.host, alias, c.user, c.port, way)

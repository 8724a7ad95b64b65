"""Changes that could lock everyone out, and the login that verifies them.

The server restores what a `Rollback` saved unless `VerifyLogin` sees that a new login becomes root.
"""

import zlib
from dataclasses import dataclass, field

from fabric import Connection

from .errors import PasswordMissing, RemoteError
from .quote import sh
from .secret import Secret
from .shell import Shell


@dataclass(frozen=True)
class Rollback:
    """How the server undoes a change: after a time limit, at the next boot, or at once.

    Args:
        name: what is changed, in a word for the report.
        paths: files that are restored, or removed if they did not exist.
        back: shell text that then brings the restored state into force. It runs in the folder
            that holds what was saved, which has a file ``changed`` if files were restored.
        seconds: time limit for the new login, from the first change on.
        note: shell text that saves in that folder what is not a file.
    """

    name: str
    paths: tuple[str, ...] = ()
    back: str = ":"
    seconds: int = 60
    note: str = ":"

    @property
    def folder(self) -> str:
        """The name of the folder in which the server saves it."""
        told = f"{self.paths} {self.back} {self.note}"
        return f"{self.name}.{zlib.crc32(told.encode()):08x}"


@dataclass(frozen=True)
class VerifyLogin:
    """Verify that a new connection becomes root, if something with a `Rollback` was changed.

    Args:
        user: who logs in; if that fails, the user of the connection at hand is tried.
        passwords: of *user*, for sudo; the last one counts.
        keys: private keys of *user*, beside those that Fabric has.
        made: text in the account's comment that shows that the login of *user* must work, so
            that no other login can stand for it.
    """

    user: str = ""
    passwords: list[Secret] = field(default_factory=list, compare=False, repr=False)
    keys: tuple[str, ...] = ()
    made: str = ""

    @property
    def label(self) -> str:
        """The kind and the name, for reports."""
        return f"Login {self.user}".strip()

    def verify(self, shell: Shell) -> tuple[str, str]:
        """Become root on the host of *shell* by a new connection.

        Returns:
            Who became root, and why *user* could not, or an empty text.

        Raises:
            RemoteError: no login becomes root.
        """
        c, failures = shell.connection, []
        [answer] = shell.batch([sh("getent passwd {}", self.user)])
        for user in dict.fromkeys([self.user] * answer.ok + [c.user]):
            try:
                self.attempt(c, user)
                return user, "; ".join(failures)
            except RemoteError as error:
                failures.append(f"as {user}: {error}")
                must_work = user == self.user and self.made and self.made in answer.out
                if must_work and not isinstance(error, PasswordMissing):
                    break
        raise RemoteError("; ".join(failures))

    def attempt(self, c: Connection, user: str) -> None:
        """Log in as *user* over a new connection and become root; raises RemoteError."""
        kwargs = {name: v for name, v in c.connect_kwargs.items() if name != "transport_factory"}
        if user != c.user:
            kwargs.pop("password", None)  # it belongs to another user
            named = kwargs.get("key_filename") or []
            kwargs["key_filename"] = [*self.keys, *([named] if isinstance(named, str) else named)]
        password = self.passwords[-1] if self.passwords and user == self.user else None
        new = Connection(c.original_host, user, c.port, c.config, c.gateway, connect_kwargs=kwargs)
        try:
            # SUDO_PASSWORD is the operator's own: the login shell of another account, which a
            # notebook may have changed, never gets it.
            shell = Shell(new, password, may_ask=user == c.user)
            if shell.batch(["id -u"])[0].out.strip() != "0":
                raise RemoteError("this login does not become root")
        finally:
            new.close()

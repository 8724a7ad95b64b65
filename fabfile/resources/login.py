"""Logins that must work before others are closed."""

from dataclasses import dataclass, field

from fabric import Connection

from ..kit.errors import RemoteError
from ..kit.quote import script
from ..kit.resources.base import Resource
from ..kit.rollback import VerifyLogin


@dataclass(frozen=True)
class AdministratorLogin(Resource):
    """Someone other than root can log in and become root.

    A new connection shows it before root's login is closed. After that it is not asked again.

    Args:
        login: who logs in.
        connection: the present connection.
    """

    login: VerifyLogin
    connection: Connection = field(compare=False, repr=False)

    read_only = True

    @property
    def label(self):
        return f"AdministratorLogin {self.login.user or self.connection.user}"

    unknown = "the administrator has no account; run create-admin first"

    def probe(self):
        return script(
            """
            [ -z "$name" ] || getent passwd "$name" >/dev/null || exit 69
            [ ! -d /run/sshd ] || sshd -T 2>/dev/null | grep -x 'permitrootlogin no' || :
            """,
            name=self.login.user,
        )

    def parse(self, output):
        # The present connection is a proof itself, unless it is root's.
        if output.strip() or self.login.user in ("", self.connection.user):
            return {"state": "works"}
        try:
            self.login.attempt(self.connection, self.login.user)
        except RemoteError as error:
            return {"state": f"as {self.login.user}: {error}"}
        return {"state": "works"}

    def desired(self):
        return {"state": "works"}

    def conflict(self, actual):
        if actual["state"] == "works":
            return None
        return (
            f"no one but root can log in and become root, so root's login stays open;"
            f" {actual['state']}"
        )

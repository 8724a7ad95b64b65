"""What can go wrong, in words for the operator.

No error contains the shell text of a step, which may hold secrets.
"""


class RemoteError(Exception):
    """A failure that the operator has to know: what happened, and what to do."""


class Unreachable(RemoteError):
    """The connection or the login failed, or the user cannot become root."""


class ConnectionLost(RemoteError):
    """The connection was lost during a run."""


class PasswordMissing(Unreachable):
    """sudo asks for a password that was not given."""


class PlanFailed(RemoteError):
    """The run ends here; the report says which step failed."""

"""What can go wrong, in words for the operator.

No error ever holds the shell text of a step, which may carry secrets.
"""


class RemoteError(Exception):
    """Something that the operator must know: what happened, and what to do."""


class Unreachable(RemoteError):
    """There is no connection, no login, or no way to become root."""


class ConnectionLost(RemoteError):
    """The connection ended in the middle of a run."""


class PasswordMissing(Unreachable):
    """sudo asks for a password that was not given."""


class PlanFailed(RemoteError):
    """The run ends here; the report says which step failed."""

"""What can go wrong, each in words for the operator; none of them ever holds a step's shell text, which may carry secrets."""


class RemoteError(Exception):
    """Something that the operator must know: what it is, and what to do."""


class Unreachable(RemoteError):
    """No connection, no login, or no root rights."""


class ConnectionLost(RemoteError):
    """The connection ended in the middle."""


class NoPassword(Unreachable):
    """sudo asks for a password that nobody has given."""

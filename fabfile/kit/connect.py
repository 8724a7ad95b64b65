"""Open a Fabric connection as OpenSSH would: host keys checked, no delays, dead peers noticed."""

import errno
import logging
import socket

import paramiko
from fabric import Connection

from .errors import Unreachable
from .known_hosts import KnownHosts

# paramiko would print its own tracebacks; `reason` says once what happened.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

TIMEOUT = 15  # seconds until a silent host counts as unreachable
KEEPALIVE = 10  # seconds between keepalive messages; the ledger's lock relies on them


def connect(c: Connection) -> paramiko.Transport:
    """Open the connection *c* if it is not open yet, and return its transport.

    Args:
        c: a Fabric connection, perhaps with gateways.

    Raises:
        Unreachable: the connection failed; the text says why and what to do.
    """
    if c.is_connected:
        return c.transport
    hop = c
    while isinstance(hop, Connection):
        keys = KnownHosts(hop)
        hop.client.set_missing_host_key_policy(keys)
        hop.connect_kwargs.setdefault("transport_factory", keys.transport)
        if hop.connect_timeout is None and "timeout" not in hop.connect_kwargs:
            hop.connect_timeout = TIMEOUT
        hop = hop.gateway
    try:
        c.open()
    except Exception as error:
        c.close()
        raise Unreachable(reason(c, error)) from None
    c.transport.set_keepalive(KEEPALIVE)
    return c.transport


def reason(c: Connection, error: Exception) -> str:
    """Return why *c* could not be opened, and what to do."""
    place = f"{c.host} port {c.port}"
    if "No authentication methods" in str(error):
        return f"no key and no password to log in as {c.user}; name a key with -i FILE"
    if isinstance(error, paramiko.ssh_exception.NoValidConnectionsError):
        error = next(iter(error.errors.values()))
    if getattr(error, "errno", None) in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        error = TimeoutError()
    if isinstance(error, paramiko.PasswordRequiredException):
        return "the private key has a passphrase: use ssh-agent or --prompt-for-passphrase"
    # paramiko tries a key file as each of its types, and "Invalid key" is what the last one says.
    if isinstance(error, paramiko.AuthenticationException) or "Invalid key" in str(error):
        return (
            f"{c.user} may not log in with this key or password; name the right private key "
            "with -i FILE"
        )
    if "protocol banner" in str(error):
        return (
            f"{place} closes each connection at once, as sshd does for a minute or so after "
            "failed logins; try again then"
        )
    kinds = {  # the first that fits
        Unreachable: error,
        socket.gaierror: f"no such host: {c.host}; check the name after -H",
        ConnectionRefusedError: f"{place} refuses connections; "
        "does sshd run there, and is the port right?",
        TimeoutError: f"{place} does not answer; is the host up, and does a firewall let you in?",
        OSError: f"{getattr(error, 'filename', None) or place}: "
        f"{getattr(error, 'strerror', None) or error}",
        EOFError: f"{place}: closed the connection",
    }
    for kind, text in kinds.items():
        if isinstance(error, kind):
            return str(text)
    return f"{place}: {error or type(error).__name__}"

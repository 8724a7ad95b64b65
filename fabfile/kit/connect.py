"""Open a Fabric connection as OpenSSH would: known_hosts honoured, no Nagle delay, a dead peer noticed."""

import base64
import errno
import functools
import hashlib
import logging
import os
import socket
import subprocess
import time
from pathlib import Path

import paramiko
from fabric import Connection

from .errors import Unreachable

# What paramiko would print by itself, tracebacks and all, is said once and clearly by `reason`.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

ADVICE = "If the change is right, remove the old key with: ssh-keygen -R '{}'"
TIMEOUT = 15  # seconds until a silent host counts as unreachable
DEAD_AFTER = 40  # seconds without an acknowledgement until a connection counts as dead


def connect(c):
    """Open the connection *c* (a no-op where it is open) and return its transport; raises Unreachable."""
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
    c.transport.set_keepalive(10)
    return c.transport


def reason(c, error):
    """Return why *c* could not be opened, and what to do, in the operator's words."""
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
        return f"{c.user} may not log in with this key or password; name the right private key with -i FILE"
    if "protocol banner" in str(error):
        return f"{place} closes each connection at once, as sshd does for a minute or so after failed logins; try again then"
    kinds = {  # the first that fits
        Unreachable: error,
        socket.gaierror: f"no such host: {c.host}; check the name after -H",
        ConnectionRefusedError: f"{place} refuses connections; does sshd run there, and is the port right?",
        TimeoutError: f"{place} does not answer; is the host up, and does a firewall let you in?",
        OSError: f"{getattr(error, 'filename', None) or place}: {getattr(error, 'strerror', None) or error}",
        EOFError: f"{place}: closed the connection",
    }
    for kind, text in kinds.items():
        if isinstance(error, kind):
            return str(text)
    return f"{place}: {error or type(error).__name__}"


class KnownHosts(paramiko.MissingHostKeyPolicy):
    """Decides on host keys as OpenSSH's known_hosts does; a new key is accepted once and recorded.

    paramiko's own reader knows neither marked lines (``@revoked``) nor several keys of one type, so OpenSSH reads the files.
    """

    def __init__(self, c):
        option = c.ssh_config.get
        self.host = option("hostkeyalias") or (c.host if c.port == 22 else f"[{c.host}]:{c.port}")
        self.strict = option("stricthostkeychecking", "accept-new").lower()
        self.hashed = option("hashknownhosts", "no").lower() == "yes"
        mine = option("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2").split()
        everyone = option(
            "globalknownhostsfile", "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"
        ).split()
        self.mine = Path(mine[0].strip('"').replace("%d", "~")).expanduser()
        self.files = [
            Path(name.strip('"').replace("%d", "~")).expanduser() for name in mine + everyone
        ]

    @functools.cached_property
    def known(self):
        """Return the (marker, key type, key bytes) of each line that is about this host, as OpenSSH finds them."""
        found = []
        for path in filter(Path.is_file, self.files):
            try:
                asked = subprocess.run(
                    ["ssh-keygen", "-F", self.host, "-f", path], capture_output=True, text=True
                )
            except OSError:
                raise Unreachable(
                    "ssh-keygen is missing here: install OpenSSH's client, which reads known_hosts"
                ) from None
            for line in asked.stdout.splitlines():
                marker = line.split()[0] if line.startswith("@") else ""
                try:
                    _, kind, text, *_ = line.removeprefix(marker).split()
                    data = base64.b64decode(text)
                except ValueError:
                    continue
                # OpenSSH passes over what is no key, and a key says its own type.
                if marker in ("", "@revoked", "@cert-authority") and data[4:].startswith(
                    kind.encode()
                ):
                    found.append((marker, kind, data))
        return found

    def marked(self, marker):
        """Return the keys of the lines with this *marker*."""
        return [data for mark, _, data in self.known if mark == marker]

    def transport(self, sock, **kwargs):
        """Return a transport on *sock* that asks first for certificates where an authority is known, then for known key types."""
        if isinstance(sock, socket.socket):
            # paramiko leaves Nagle's algorithm on, which costs 40 ms a command.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_AFTER * 1000)
        transport = paramiko.Transport(sock, **kwargs)
        options = transport.get_security_options()
        types = {kind for marker, kind, _ in self.known if not marker}
        if "ssh-rsa" in types:
            types |= {"rsa-sha2-512", "rsa-sha2-256"}
        key_types = sorted(options.key_types, key=lambda kind: kind not in types)
        certified = [
            f"{kind}-cert-v01@openssh.com" for kind in key_types if self.marked("@cert-authority")
        ]
        options.key_types = certified + key_types
        return transport

    def missing_host_key(self, client, hostname, key):
        """Accept *key*, or raise Unreachable; paramiko asks this for every host, as it was given no file to read."""
        known, kind = self.known, key.get_name()
        signed, key.public_blob = (
            key.public_blob,
            None,
        )  # with a certificate paramiko calls that the key
        data = key.asbytes()
        fingerprint = base64.b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
        if data in self.marked("@revoked"):
            raise Unreachable(
                f"the host key of {self.host} (SHA256:{fingerprint}) is marked as revoked in known_hosts"
            )
        if signed and self.vouched_for(signed):
            return
        plain = [(stored_kind, stored) for marker, stored_kind, stored in known if not marker]
        if (kind, data) in plain:
            return
        if plain:
            raise Unreachable(
                f"the host key of {self.host} has changed: it is now {kind} SHA256:{fingerprint}. Someone may be listening in, "
                f"or the server was installed anew. {ADVICE.format(self.host)}"
            )
        if self.strict in ("yes", "true"):
            raise Unreachable(
                f"the host key of {self.host} (SHA256:{fingerprint}) is not known, and StrictHostKeyChecking is yes; "
                f"where it is right, add it to {self.mine}"
            )
        self.record(kind, data)

    def vouched_for(self, signed):
        """Return whether an authority of known_hosts has signed this certificate; raises Unreachable where it does not fit."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            PublicFormat,
            SSHCertificate,
            load_ssh_public_identity,
        )

        certificate = load_ssh_public_identity(
            f"{signed.key_type} {base64.b64encode(signed.key_blob).decode()}".encode()
        )
        assert isinstance(certificate, SSHCertificate)
        authority = certificate.signature_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        signer, name = (
            base64.b64decode(authority.split()[1]),
            self.host.partition("]")[0].strip("[").encode(),
        )
        if signer in self.marked("@revoked"):
            raise Unreachable(
                f"the authority that signed the host key of {self.host} is marked as revoked in known_hosts"
            )
        if signer not in self.marked("@cert-authority"):
            return False  # then its key decides, as if there were no certificate
        try:
            certificate.verify_cert_signature()
        except InvalidSignature:
            raise Unreachable(f"the certificate of {self.host} has a wrong signature") from None
        why = {
            "is no host's": certificate.type.name != "HOST",
            "is not valid now": not certificate.valid_after
            <= time.time()
            < certificate.valid_before,
            "has critical options": bool(certificate.critical_options),
            "is for other names": bool(certificate.valid_principals)
            and name not in certificate.valid_principals,
        }
        if wrong := [text for text, holds in why.items() if holds]:
            raise Unreachable(
                f"the certificate of the host key of {self.host} {wrong[0]}; it must be signed anew"
            )
        return True

    def record(self, kind, data):
        """Append the key to the user's known_hosts."""
        name = paramiko.HostKeys.hash_host(self.host) if self.hashed else self.host
        line = f"{name} {kind} {base64.b64encode(data).decode()}\n"
        try:
            self.mine.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            before = self.mine.read_bytes() if self.mine.exists() else b""
            descriptor = os.open(self.mine, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            with open(descriptor, "a", encoding="utf-8") as file:
                file.write("\n" + line if before and not before.endswith(b"\n") else line)
        except OSError as error:
            raise Unreachable(
                f"cannot record the host key of {self.host} in {self.mine}: {error.strerror}"
            ) from None

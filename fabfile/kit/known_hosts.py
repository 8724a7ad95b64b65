"""Host keys: decide on them as OpenSSH's known_hosts does."""

import base64
import functools
import getpass
import hashlib
import os
import re
import shlex
import socket
import subprocess
import time
from pathlib import Path

import paramiko

from .errors import Unreachable
from .terminal import answered_yes, has_terminal

REMOVE_OLD = "If the change is right, remove the old key with: ssh-keygen -R '{}'"
DEAD_AFTER = 40  # seconds without an acknowledgement until a connection counts as dead


class KnownHosts(paramiko.MissingHostKeyPolicy):
    """Decides on the host key of a connection; a new key is accepted once and recorded.

    The words of ssh_config decide as they do for ``ssh``: StrictHostKeyChecking (accept-new
    if it is not set), UserKnownHostsFile, GlobalKnownHostsFile, HostKeyAlias, HashKnownHosts.
    paramiko's own reader knows neither marked lines (``@revoked``) nor several keys of one
    type, so ``ssh-keygen`` reads the files.

    Args:
        c: the Fabric connection.
    """

    def __init__(self, c):
        option = c.ssh_config.get
        self.alias = option("hostkeyalias")
        self.host = self.alias or (c.host if c.port == 22 else f"[{c.host}]:{c.port}")
        self.strict = option("stricthostkeychecking", "").lower()
        self.hashed = option("hashknownhosts", "no").lower() == "yes"
        own = option("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2")
        everyone = option(
            "globalknownhostsfile", "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"
        )
        own_files = paths(own, c)
        self.own = own_files[0] if own_files else None  # where new keys go
        self.files = own_files + paths(everyone, c)

    @functools.cached_property
    def known(self):
        """The (marker, key type, key bytes) of each line about this host."""
        found = []
        for path in filter(Path.is_file, self.files):
            for line in lines_about(self.host, path):
                marker = line.split()[0] if line.startswith("@") else ""
                try:
                    _, kind, text, *_ = line.removeprefix(marker).split()
                    data = base64.b64decode(text)
                except ValueError:
                    continue
                # OpenSSH skips what is not a key, and a key says its own type.
                usual = marker in ("", "@revoked", "@cert-authority")
                if usual and data[4:].startswith(kind.encode()):
                    found.append((marker, kind, data))
        return found

    def marked(self, marker):
        """Return the keys of the lines with this *marker*."""
        return [data for mark, _, data in self.known if mark == marker]

    def transport(self, sock, **kwargs):
        """Return a transport on *sock* that asks for the key types that are known."""
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
        certified = (
            [f"{kind}-cert-v01@openssh.com" for kind in key_types]
            if self.marked("@cert-authority")
            else []
        )
        options.key_types = certified + key_types
        return transport

    def missing_host_key(self, client, hostname, key):
        """Accept *key* or raise Unreachable.

        paramiko calls this for every host, as it has no file of host keys.
        """
        kind = key.get_name()
        certificate, key.public_blob = key.public_blob, None  # else paramiko calls that the key
        data = key.asbytes()
        fingerprint = base64.b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
        if data in self.marked("@revoked"):
            raise Unreachable(
                f"the host key of {self.host} (SHA256:{fingerprint}) is marked as revoked "
                "in known_hosts"
            )
        if certificate and self.is_certified(certificate):
            return
        plain = [(stored_kind, stored) for mark, stored_kind, stored in self.known if not mark]
        if (kind, data) in plain:
            return
        if plain:
            raise Unreachable(
                f"the host key of {self.host} has changed: it is now {kind} "
                f"SHA256:{fingerprint}. Someone may be listening in, or the server was "
                f"reinstalled. {REMOVE_OLD.format(self.host)}"
            )
        self.accept_new(kind, data, fingerprint)

    def accept_new(self, kind, data, fingerprint):
        """Record a key of an unknown host if the settings or the operator allow it."""
        unknown = f"the host key of {self.host} ({kind} SHA256:{fingerprint}) is not known"
        add = f"if it is right, add it to {self.own}" if self.own else "add it to known_hosts"
        if self.strict in ("yes", "true"):
            raise Unreachable(f"{unknown}, and StrictHostKeyChecking is yes; {add}")
        if not self.strict and self.marked("@cert-authority"):
            raise Unreachable(
                f"{unknown}, and the server shows no certificate of the authority that "
                f"known_hosts trusts for it; {add}"
            )
        question = f"{unknown}. Connect and remember it?"
        if self.strict == "ask" and not (has_terminal() and answered_yes(question)):
            raise Unreachable(f"{unknown}, and StrictHostKeyChecking is ask; {add}")
        self.record(kind, data)

    def is_certified(self, signed):
        """Return whether a known authority has signed this certificate.

        Raises:
            Unreachable: the certificate is not valid for this host now.
        """
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            PublicFormat,
            SSHCertificate,
            load_ssh_public_identity,
        )

        text = f"{signed.key_type} {base64.b64encode(signed.key_blob).decode()}"
        certificate = load_ssh_public_identity(text.encode())
        assert isinstance(certificate, SSHCertificate)
        public = certificate.signature_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        signer = base64.b64decode(public.split()[1])
        name = self.host.partition("]")[0].strip("[").encode()
        if signer in self.marked("@revoked"):
            raise Unreachable(
                f"the authority that signed the host key of {self.host} is marked as revoked "
                "in known_hosts"
            )
        if signer not in self.marked("@cert-authority"):
            return False  # then its key decides, as if there were no certificate
        try:
            certificate.verify_cert_signature()
        except InvalidSignature:
            raise Unreachable(f"the certificate of {self.host} has a wrong signature") from None
        names = certificate.valid_principals
        faults = {
            "is not a host's": certificate.type.name != "HOST",
            "is not valid now": not (
                certificate.valid_after <= time.time() < certificate.valid_before
            ),
            "has critical options": bool(certificate.critical_options),
            "is for other names": bool(names) and name not in names,
        }
        if wrong := [text for text, holds in faults.items() if holds]:
            raise Unreachable(
                f"the certificate of the host key of {self.host} {wrong[0]}; it must be reissued"
            )
        return True

    def record(self, kind, data):
        """Append the key to the user's known_hosts."""
        if self.own is None:
            return  # UserKnownHostsFile is none
        name = paramiko.HostKeys.hash_host(self.host) if self.hashed else self.host
        line = f"{name} {kind} {base64.b64encode(data).decode()}\n"
        try:
            self.own.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            before = self.own.read_bytes() if self.own.exists() else b""
            descriptor = os.open(self.own, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            with open(descriptor, "a", encoding="utf-8") as file:
                file.write("\n" + line if before and not before.endswith(b"\n") else line)
        except OSError as error:
            raise Unreachable(
                f"cannot record the host key of {self.host} in {self.own}: {error.strerror}"
            ) from None


def paths(value, c):
    """Return the files that an ssh_config word such as UserKnownHostsFile names.

    Its tokens are expanded as ssh_config(5) says; ``none`` names no file.
    """
    tokens = {
        "%": "%",
        "d": str(Path.home()),
        "h": c.host,
        "i": str(os.getuid()),
        "k": c.ssh_config.get("hostkeyalias") or getattr(c, "original_host", c.host),
        "n": getattr(c, "original_host", c.host),
        "p": str(c.port),
        "r": getattr(c, "user", ""),
        "u": getpass.getuser(),
        "L": socket.gethostname().partition(".")[0],
        "l": socket.gethostname(),
    }
    words = [] if value.strip().lower() == "none" else shlex.split(value)
    named = [re.sub("%(.)", lambda match: tokens.get(match[1], match[0]), word) for word in words]
    return [Path(name).expanduser() for name in named]


def lines_about(host, path):
    """Return the lines of the known_hosts file *path* that OpenSSH finds for *host*."""
    try:
        found = subprocess.run(
            ["ssh-keygen", "-F", host, "-f", path], capture_output=True, text=True
        )
    except OSError:
        raise Unreachable(
            "ssh-keygen is missing on this machine: install OpenSSH's client, which reads "
            "known_hosts"
        ) from None
    return found.stdout.splitlines()

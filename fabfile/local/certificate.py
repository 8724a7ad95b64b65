"""The operator's own certificate and key (`tls.issuer: own`), checked before they are uploaded."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryptography.x509 import Certificate


def own_pair(s: Any, hosts: Iterable[str]) -> tuple[str, str]:
    """Read and check the certificate and key that the settings name.

    Args:
        s: The settings; `tls.certificate` and `tls.key` name PEM files on this machine.
        hosts: The names and addresses that the certificate must cover.

    Returns:
        The certificate with its chain, and the key, both as PEM.

    Raises:
        ValueError: A file cannot be read, the key does not match the certificate, the certificate
            is expired or not valid yet, or it does not cover each of *hosts*.
    """
    chain = _read("tls.certificate", s.tls.certificate)
    key = _read("tls.key", s.tls.key)
    certificate = _parsed(s, chain, key)
    _check_dates(s.tls.certificate, certificate)
    _check_names(s.tls.certificate, certificate, hosts)
    return chain, key


def _read(setting: str, path: str) -> str:
    if not path:
        raise ValueError(
            f"{setting}: with tls.issuer own, this must name a PEM file on your machine"
        )
    try:
        return Path(path).expanduser().read_text(encoding="ascii")
    except UnicodeDecodeError:
        raise ValueError(f"{setting}: {path}: this is not a PEM file") from None
    except OSError as error:
        raise ValueError(f"{setting}: {path}: {error.strerror}") from None


def _parsed(s: Any, chain: str, key: str) -> Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        certificate = x509.load_pem_x509_certificate(chain.encode())
    except ValueError:
        raise ValueError(
            f"tls.certificate: {s.tls.certificate} contains no PEM certificate"
        ) from None
    try:
        private = load_pem_private_key(key.encode(), password=None)
    except (ValueError, TypeError):
        raise ValueError(
            f"tls.key: {s.tls.key} contains no PEM private key without a passphrase"
        ) from None
    if private.public_key() != certificate.public_key():
        raise ValueError(f"tls.key: {s.tls.key} does not match {s.tls.certificate}")
    return certificate


def _check_dates(path: str, certificate: Certificate) -> None:
    now = datetime.now(timezone.utc)
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if start > now:
        raise ValueError(f"tls.certificate: {path} is not valid before {start:%Y-%m-%d}")
    if end <= now:
        raise ValueError(f"tls.certificate: {path} expired on {end:%Y-%m-%d}")


def _check_names(path: str, certificate: Certificate, hosts: Iterable[str]) -> None:
    covered = names_of(certificate)
    for host in hosts:
        wildcard = f"*.{host.partition('.')[2]}"
        if host not in covered and wildcard not in covered:
            shown = ", ".join(sorted(covered)) or "no name at all"
            raise ValueError(f"tls.certificate: {path} is for {shown}, not for {host}")


def names_of(certificate: Certificate) -> set[str]:
    """Return the DNS names, in lower case, and the IP addresses that *certificate* covers."""
    from cryptography import x509

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    return {name.lower() for name in names.get_values_for_type(x509.DNSName)} | {
        str(address) for address in names.get_values_for_type(x509.IPAddress)
    }

"""TODO."""

from datetime import datetime, timezone
from pathlib import Path


def own_pair(s, hosts):
    """Return the operator's certificate (with its chain) and key, as PEM.

    Raises ValueError where a file cannot be read, the two do not belong together, the certificate has expired or is not valid
    yet, or it does not name each of *hosts*.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    texts = {}
    for setting, path in (("tls.certificate", s.tls.certificate), ("tls.key", s.tls.key)):
        if not path:
            raise ValueError(
                f"{setting}: with tls.issuer own, this must name a PEM file on your machine"
            )
        try:
            texts[setting] = Path(path).expanduser().read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(
                f"{setting}: {path}: {getattr(error, 'strerror', None) or 'is not PEM'}"
            ) from None
    try:
        certificate = x509.load_pem_x509_certificate(texts["tls.certificate"].encode())
    except ValueError:
        raise ValueError(
            f"tls.certificate: {s.tls.certificate} holds no certificate in PEM"
        ) from None
    try:
        key = load_pem_private_key(texts["tls.key"].encode(), password=None)
    except (ValueError, TypeError):
        raise ValueError(
            f"tls.key: {s.tls.key} holds no private key in PEM without a passphrase"
        ) from None
    if key.public_key() != certificate.public_key():
        raise ValueError(f"tls.key: {s.tls.key} is not the key of {s.tls.certificate}")
    now = datetime.now(timezone.utc)
    if certificate.not_valid_before_utc > now:
        raise ValueError(
            f"tls.certificate: {s.tls.certificate} is valid from {certificate.not_valid_before_utc:%Y-%m-%d} on"
        )
    if certificate.not_valid_after_utc <= now:
        raise ValueError(
            f"tls.certificate: {s.tls.certificate} expired on {certificate.not_valid_after_utc:%Y-%m-%d}"
        )
    named = names_of(certificate)
    for host in hosts:
        if host not in named and f"*.{host.partition('.')[2]}" not in named:
            raise ValueError(
                f"tls.certificate: {s.tls.certificate} is for {', '.join(sorted(named))}, and not for {host}"
            )
    return texts["tls.certificate"], texts["tls.key"]


def names_of(certificate):
    """Return the DNS names and addresses that *certificate* is for."""
    from cryptography import x509

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    return {name.lower() for name in names.get_values_for_type(x509.DNSName)} | {
        str(address) for address in names.get_values_for_type(x509.IPAddress)
    }

"""The certificate and the key that are served: self-signed, certbot's, or the operator's own."""

from datetime import datetime, timezone
from functools import cache
from pathlib import Path

from .kit.plan import Section
from .kit.quote import sh
from .kit.resources import CertificateCopy, Check, Directory, File, Handler, Package, SelfSigned
from .options import apache, login_user, names

FOLDER = "/etc/remote-jupyter/tls"
CERTIFICATE, KEY = f"{FOLDER}/cert.pem", f"{FOLDER}/key.pem"
LINEAGE = "remote-jupyter"
LIVE = f"/etc/letsencrypt/live/{LINEAGE}"
FOR_JUPYTER = "/etc/remote-jupyter/jupyter-tls"  # with `direct` access, what the login user may read


def pair(c, s):
    """Yield what makes certificate and key be there, also before the first one of certbot's."""
    yield Section("issue-cert")
    yield Package("openssl", lock_timeout=s.apt.lock_timeout)
    yield Directory("/etc/remote-jupyter")
    yield Directory(FOLDER)
    if s.tls.issuer == "own":
        certificate, key = own_pair(s, names(c, s))
        yield File(KEY, key, mode="0600", secret=True, notify=taken_up(s))
        yield File(CERTIFICATE, certificate, notify=taken_up(s))
    elif s.tls.issuer == "letsencrypt":
        yield SelfSigned(CERTIFICATE, KEY, names(c, s), s.tls.days, f"{LIVE}/fullchain.pem", notify=taken_up(s))
        yield certbots(s)
    else:
        yield SelfSigned(CERTIFICATE, KEY, names(c, s), s.tls.days, notify=taken_up(s))
    if s.jupyter.access == "direct":
        yield only_jupyter(s)
        yield login_user(s)
        yield Directory(FOR_JUPYTER, group=s.user.name, mode="0750")
        yield for_jupyter(s)
    yield Section()


def certbots(s):
    """Return the copy of certbot's certificate, where it has one, that is served."""
    return CertificateCopy(FOLDER, f"{LIVE}/fullchain.pem", f"{LIVE}/privkey.pem", needed=False, notify=taken_up(s))


def for_jupyter(s):
    """Return the copy that Jupyter itself reads, anew for each connection."""
    return CertificateCopy(FOR_JUPYTER, CERTIFICATE, KEY, s.user.name, "0640")


def only_jupyter(s):
    """Return the check that no other user's Jupyter has `direct` access, which is for one on a server."""
    return Check("owner of Jupyter's key", sh("stat -c %G {} 2>/dev/null; :", FOR_JUPYTER), key_judge(s.user.name))


@cache
def key_judge(user):
    """Return a judge of whose key it is: one of another user's is neither replaced nor removed."""

    def judge(output):
        other = output.strip()
        if other in ("", "UNKNOWN", user):
            return "", ""
        return f"it is {other}'s Jupyter's; for several on one server: jupyter.access apache, or tunnel, for all of them", ""

    return judge


def taken_up(s):
    """Return the handler after which a new certificate is served, without a restart."""
    if s.jupyter.access == "direct":
        return Handler("copy certificate", for_jupyter(s).apply({}))
    return apache.reload


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
            raise ValueError(f"{setting}: with tls.issuer own, this must name a PEM file on your machine")
        try:
            texts[setting] = Path(path).expanduser().read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{setting}: {path}: {getattr(error, 'strerror', None) or 'is not PEM'}") from None
    try:
        certificate = x509.load_pem_x509_certificate(texts["tls.certificate"].encode())
    except ValueError:
        raise ValueError(f"tls.certificate: {s.tls.certificate} holds no certificate in PEM") from None
    try:
        key = load_pem_private_key(texts["tls.key"].encode(), password=None)
    except (ValueError, TypeError):
        raise ValueError(f"tls.key: {s.tls.key} holds no private key in PEM without a passphrase") from None
    if key.public_key() != certificate.public_key():
        raise ValueError(f"tls.key: {s.tls.key} is not the key of {s.tls.certificate}")
    now = datetime.now(timezone.utc)
    if certificate.not_valid_before_utc > now:
        raise ValueError(f"tls.certificate: {s.tls.certificate} is valid from {certificate.not_valid_before_utc:%Y-%m-%d} on")
    if certificate.not_valid_after_utc <= now:
        raise ValueError(f"tls.certificate: {s.tls.certificate} expired on {certificate.not_valid_after_utc:%Y-%m-%d}")
    named = names_of(certificate)
    for host in hosts:
        if host not in named and f"*.{host.partition('.')[2]}" not in named:
            raise ValueError(f"tls.certificate: {s.tls.certificate} is for {', '.join(sorted(named))}, and not for {host}")
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

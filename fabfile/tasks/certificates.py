"""Issue, renew, show and delete the TLS certificate."""

import re
import sys
from datetime import datetime, timezone
from pathlib import Path
from textwrap import dedent

from fabric import task
from invoke import Exit

from ..kit.errors import RemoteError
from ..kit.host import Host
from ..kit.plan import Flush
from ..kit.quote import Shell, script
from ..kit.resources import Check, Directory, File, Handler, Package, Service
from ..kit.resources.check import clock
from ..kit.terminal import printable, say
from ..local.certificate import names_of
from ..resources import (
    AcmeCertificate,
    CertbotAutorenew,
    CertbotCertAbsent,
    CertificateAuthorityAbsent,
    ChallengeProbe,
    RenewedCertificate,
    SelfSigned,
)
from ..resources.tls import is_address
from ..settings import schema, settings_for, setup
from ..settings.certificate import (
    CERTBOT_FOLDER,
    CERTBOT_NAME,
    CERTIFICATE,
    FOLDER,
    KEY,
    certbot_copy,
    load_certificate,
    served_certificate,
)
from ..settings.derived import names
from ..settings.templates import render
from .apache import answer_challenges

HOOK = "/etc/letsencrypt/renewal-hooks/deploy/50-remote-jupyter"
ACME_CA = "/usr/local/share/ca-certificates/remote-jupyter-acme.crt"

ACME_FLAGS = ("tls.issuer", "tls.domains", "tls.email", "tls.staging", "tls.acme_server")

# Prints each port that speaks TLS, and its certificate.
SERVED = r"""
for port in $(ss -Hltn | awk '{ sub(".*:", "", $4); print $4 }' | sort -nu); do
    [ "$port" != 22 ] && [ "$port" != 80 ] || continue
    found=$(timeout 3 openssl s_client -connect "127.0.0.1:$port" </dev/null 2>/dev/null |
        openssl x509 2>/dev/null) && printf '%s\n%s\000' "$port" "$found"
done; :
"""

RENEWAL = """
sed -n 's/^server *= */server /p' "/etc/letsencrypt/renewal/$name.conf" 2>/dev/null
cmp -s "$certbot" "$certificate" && echo served
systemctl show -P NextElapseUSecRealtime certbot.timer | sed 's/^/next /'
systemctl show -P Result certbot.service | sed 's/^/last /'
"""


@setup(*ACME_FLAGS, "tls.days", "tls.certificate", "tls.key", "tls.fallback")
def issue_cert(c, s):
    """Issue or install the TLS certificate.

    Self-signed, from Let's Encrypt or another ACME server, or your own.
    """
    yield from served_certificate(c, s)
    if s.tls.issuer == "letsencrypt":
        certificate = acme_certificate(c, s)
        yield Check("clock", "date +%s", clock)
        yield from certbot(s)
        yield from answer_challenges(c, s)
        yield Flush()
        yield ChallengeProbe(certificate)
        yield certificate
        yield CertbotAutorenew(CERTBOT_NAME)


@setup(*ACME_FLAGS)
def renew_cert(c, s):
    """Renew certbot's certificate now."""
    if s.tls.issuer != "letsencrypt":
        raise ValueError(
            f"tls.issuer: {s.tls.issuer}: only certificates of letsencrypt can be renewed;"
            " for others use issue-cert"
        )
    yield from certbot(s)
    yield RenewedCertificate(acme_certificate(c, s), notify=install_certificate(s))


@setup("tls.domains")
def delete_cert(c, s):
    """Replace the certificate by a self-signed one.

    certbot's certificate is deleted.
    """
    yield Package("openssl", lock_timeout=s.apt.lock_timeout)
    yield Directory("/etc/remote-jupyter")
    yield Directory(FOLDER)
    yield SelfSigned(CERTIFICATE, KEY, names(c, s), s.tls.days, notify=load_certificate(s))
    yield CertbotCertAbsent(CERTBOT_NAME)


def certbot(s):
    """Yield certbot, its timer, and the hook that runs after each renewal."""
    yield Package("certbot", lock_timeout=s.apt.lock_timeout)
    yield Service("certbot.timer")
    if s.tls.acme_ca:
        yield File(ACME_CA, acme_ca(s), check="update-ca-certificates >/dev/null 2>&1")
    else:
        yield CertificateAuthorityAbsent(ACME_CA)
    hook = render(
        "certbot-deploy.sh.j2",
        lineage=CERTBOT_NAME,
        certificate=CERTIFICATE,
        copy=dedent(certbot_copy(s).apply({})).strip(),
        reload=dedent(load_certificate(s).script).strip(),
    )
    yield Directory("/etc/letsencrypt/renewal-hooks/deploy")
    yield File(HOOK, hook, mode="0755")


def acme_certificate(c, s):
    """Return the certificate of an ACME server.

    Raises:
        ValueError: no issuer would give it, or it could not be served.
    """
    if s.jupyter.access == "tunnel":
        raise ValueError(
            "tls.issuer: letsencrypt needs jupyter.access apache or direct; a tunnel needs no"
            " certificate"
        )
    for name in names(c, s):
        check_name(name)
    server = s.tls.acme_staging if s.tls.staging else s.tls.acme_server
    if not server:
        raise ValueError("tls.staging: tls.acme_staging is empty; set it to a staging server")
    return AcmeCertificate(
        CERTBOT_NAME,
        names(c, s),
        server,
        s.tls.email,
        "" if s.tls.staging else rehearsal_server(s),
        max_attempts=s.tls.max_attempts,
        fallback=s.tls.fallback,
        notify=install_certificate(s),
    )


def check_name(name):
    """Make sure that an issuer could give a certificate for *name*.

    Raises:
        ValueError: it is an address, or not a full DNS name.
    """
    if is_address(name):
        raise ValueError(
            f"tls.domains: {name} is an address, and Debian's certbot needs names; use a DNS name"
            " of the server, or tls.issuer self-signed or own"
        )
    if "." not in name:
        raise ValueError(
            f"tls.domains: {name} is not a full DNS name; use one such as jupyter.example.org"
        )


def rehearsal_server(s):
    """Return the staging server to try first, or an empty text.

    Let's Encrypt's own is not for other issuers.
    """
    other_issuer = s.tls.acme_server != schema.default("tls.acme_server")
    if other_issuer and s.tls.acme_staging == schema.default("tls.acme_staging"):
        return ""
    return s.tls.acme_staging


def install_certificate(s):
    """Return the handler that installs certbot's certificate and brings it into use."""
    copy, load = Shell(certbot_copy(s).apply({})), Shell(load_certificate(s).script)
    return Handler("install certificate", script("copy\nload", copy=copy, load=load))


def acme_ca(s):
    """Return the CA certificates, as PEM, that an ACME server's own TLS is trusted by.

    Raises:
        ValueError: the file cannot be read, or holds none.
    """
    try:
        text = Path(s.tls.acme_ca).expanduser().read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not PEM"
        raise ValueError(f"tls.acme_ca: {s.tls.acme_ca}: {reason}") from None
    if "-----BEGIN CERTIFICATE-----" not in text:
        raise ValueError(f"tls.acme_ca: {s.tls.acme_ca} contains no certificate in PEM")
    return text


@task(help={"domain": "Host name to check; without it tls.domains, or the host of -H."})
def cert_status(c, domain=None):
    """Show the certificate and its renewal."""
    s = check_status(c, domain)
    live = f"{CERTBOT_FOLDER}/fullchain.pem"
    ask_renewal = script(RENEWAL, name=CERTBOT_NAME, certbot=live, certificate=CERTIFICATE)
    try:
        answers = Host.of(c).shell.batch(
            [script('cat "$file"', file=CERTIFICATE), script(SERVED), ask_renewal]
        )
        installed, served, renewal = (answer.out for answer in answers)
        rows = status_rows(installed, served, renewal, names(c, s))
    except (RemoteError, ValueError) as error:
        say(f"{c.original_host}  {printable(str(error))}", sys.stderr)
        raise Exit(code=1) from None
    for name, text in rows.items():
        say(f"{c.original_host}  {name:<12} {printable(text)}")


def check_status(c, domain=None, **_):
    """Return the settings of `cert_status`.

    Raises:
        Exit: a setting is invalid (status 2).
    """
    return settings_for(c, {"tls.domains": domain})


cert_status.check = check_status


def status_rows(installed, served, renewal, hosts):
    """Return the rows that `cert_status` prints, by name.

    Args:
        installed: the installed certificate as PEM.
        served: what SERVED printed.
        renewal: what RENEWAL printed.
        hosts: the names that the server should have.

    Raises:
        ValueError: no certificate is installed.
    """
    from cryptography import x509

    try:
        certificate = x509.load_pem_x509_certificate(installed.encode())
    except ValueError:
        raise ValueError(f"no certificate in {CERTIFICATE}; run issue-cert") from None
    end = certificate.not_valid_after_utc
    left = (end - datetime.now(timezone.utc)).days
    return {
        "issuer": issuer(certificate, renewal),
        "names": certificate_names(certificate, hosts),
        "days left": f"{left}, until {end:%Y-%m-%d %H:%M} UTC",
        "served": served_ports(certificate, served),
        "renewal": next_renewal(renewal, left),
    }


def issuer(certificate, renewal):
    """Return who issued the certificate."""
    if certificate.issuer == certificate.subject:
        return "itself: browsers warn"
    name = certificate.issuer.rfc4514_string()
    server = re.search("^server (.*)", renewal, re.M)
    return f"{name}, by certbot from {server[1]}" if server and is_certbots(renewal) else name


def certificate_names(certificate, hosts):
    """Return the names in the certificate, and those of *hosts* that it lacks."""
    found = names_of(certificate)
    missing = " ".join(host for host in hosts if host not in found)
    return " ".join(sorted(found)) + (f"   (missing: {missing})" if missing else "")


def served_ports(certificate, served):
    """Return on which ports the certificate is served."""
    from cryptography import x509

    ports = [
        port
        for port, _, pem in (part.partition("\n") for part in served.split("\0") if part)
        if x509.load_pem_x509_certificate(pem.encode()) == certificate
    ]
    if not ports:
        return "nowhere; fix it with: configure-apache or configure-jupyter"
    return f"on port {' and '.join(ports)}"


def next_renewal(renewal, days_left):
    """Return when certbot renews the certificate, and whether its last run failed."""
    if not is_certbots(renewal):
        expired = days_left < 0
        return "none" if expired else "not by certbot; issue-cert renews a self-signed certificate"
    following = re.search("^next (.+)", renewal, re.M)
    if not following:
        return "certbot's timer is not running; fix it with: issue-cert"
    failed = "" if "last success" in renewal else "; the last run failed: journalctl -u certbot"
    return f"certbot checks next on {following[1]}{failed}"


def is_certbots(renewal):
    """Return whether the installed certificate is certbot's."""
    return "served" in renewal.splitlines()

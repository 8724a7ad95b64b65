"""The certificate: getting, renewing, showing and deleting it."""

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
from ..kit.quote import Shell, sh
from ..kit.report import say
from ..kit.resources import Check, Directory, File, Handler, Package, Service
from ..kit.resources.check import clock
from ..local.certificate import names_of
from ..resources import (
    AcmeCertificate,
    CertbotCertAbsent,
    ChallengeProbe,
    Renewal,
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


TRUSTED = "/usr/local/share/ca-certificates/remote-jupyter-acme.crt"


ACME = ("tls.issuer", "tls.domains", "tls.email", "tls.staging", "tls.acme_server")


@setup(*ACME, "tls.days", "tls.certificate", "tls.key", "tls.fallback")
def issue_cert(c, s):
    """Have a certificate for the server's names.

    Self-signed, from Let's Encrypt or another ACME server, or your own.
    """
    yield from served_certificate(c, s)
    if s.tls.issuer == "letsencrypt":
        certificate = acme(c, s)
        yield Check("clock", "date +%s", clock)
        yield from by_certbot(s)
        yield from answer_challenges(c, s)
        yield Flush()
        yield ChallengeProbe(certificate)
        yield certificate
        yield Renewal(CERTBOT_NAME)


@setup(*ACME)
def renew_cert(c, s):
    """Renew certbot's certificate before it is time."""
    if s.tls.issuer != "letsencrypt":
        raise ValueError(
            f"tls.issuer: {s.tls.issuer}: only a certificate of letsencrypt can be renewed; for others: issue-cert"
        )
    yield from by_certbot(s)
    yield RenewedCertificate(acme(c, s), notify=installed(s))


@setup("tls.domains")
def delete_cert(c, s):
    """Go back to a self-signed certificate.

    certbot's own is deleted.
    """
    yield Package("openssl", lock_timeout=s.apt.lock_timeout)
    yield Directory("/etc/remote-jupyter")
    yield Directory(FOLDER)
    yield SelfSigned(CERTIFICATE, KEY, names(c, s), s.tls.days, notify=load_certificate(s))
    yield CertbotCertAbsent(CERTBOT_NAME)


def by_certbot(s):
    """Yield certbot, its timer, and what it does after each renewal."""
    yield Package("certbot", lock_timeout=s.apt.lock_timeout)
    yield Service("certbot.timer")
    if s.tls.acme_ca:
        yield File(TRUSTED, authority(s), check="update-ca-certificates >/dev/null 2>&1")
    copy, reload = (
        dedent(text).strip() for text in (certbot_copy(s).apply({}), load_certificate(s).script)
    )
    values = {"lineage": CERTBOT_NAME, "certificate": CERTIFICATE, "copy": copy, "reload": reload}
    yield Directory("/etc/letsencrypt/renewal-hooks/deploy")
    yield File(HOOK, render("certbot-deploy.sh.j2", **values), mode="0755")


def acme(c, s):
    """Return certbot's certificate; raises ValueError where the names cannot be in one, or nobody could serve it."""
    if s.jupyter.access == "tunnel":
        raise ValueError(
            "tls.issuer: letsencrypt is for jupyter.access apache or direct; a tunnel needs no certificate"
        )
    for name in names(c, s):
        if is_address(name):
            instead = "give a name that leads there, or tls.issuer self-signed or own"
            raise ValueError(
                f"tls.domains: {name} is an address; Debian's certbot gets certificates for names only; {instead}"
            )
        if "." not in name:
            raise ValueError(
                f"tls.domains: {name} is no full DNS name; an issuer gives certificates for names such as jupyter.example.org"
            )
    staging = "" if s.tls.staging else rehearsal(s)
    server = s.tls.acme_staging if s.tls.staging else s.tls.acme_server
    if not server:
        raise ValueError(
            "tls.staging: tls.acme_staging is empty; set it to the server that gives such a certificate"
        )
    return AcmeCertificate(
        CERTBOT_NAME,
        names(c, s),
        server,
        s.tls.email,
        staging,
        max_attempts=s.tls.max_attempts,
        fallback=s.tls.fallback,
        notify=installed(s),
    )


def rehearsal(s):
    """Return the server with which to rehearse: Let's Encrypt's own for Let's Encrypt, for others only one that was named."""
    others = s.tls.acme_server != schema.default("tls.acme_server")
    return (
        ""
        if others and s.tls.acme_staging == schema.default("tls.acme_staging")
        else s.tls.acme_staging
    )


def installed(s):
    """Return the handler that takes up a certificate that certbot has got."""
    return Handler(
        "install certificate",
        sh("{}\n{}", Shell(certbot_copy(s).apply({})), Shell(load_certificate(s).script)),
    )


def authority(s):
    """Return the certificates, PEM, of those whom to trust as an ACME server; raises ValueError where there are none."""
    try:
        text = Path(s.tls.acme_ca).expanduser().read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"tls.acme_ca: {s.tls.acme_ca}: {getattr(error, 'strerror', None) or 'is not PEM'}"
        ) from None
    if "-----BEGIN CERTIFICATE-----" not in text:
        raise ValueError(f"tls.acme_ca: {s.tls.acme_ca} holds no certificate in PEM")
    return text


@task(
    help={
        "domain": "Name under which it is served; empty for tls.domains, or the host as you gave it to -H."
    }
)
def cert_status(c, domain=None):
    """Show the certificate and when it is renewed."""
    s = check_status(c, domain)
    try:
        answers = Host.of(c).shell.batch(
            [
                sh("cat {}", CERTIFICATE),
                SERVING,
                sh(RENEWAL, CERTBOT_NAME, CERTBOT_FOLDER, CERTIFICATE),
            ]
        )
        installed, serving, renewal = (answer.out for answer in answers)
        rows = list(status(installed, serving, renewal, names(c, s)))
    except (RemoteError, ValueError) as error:
        say(f"{c.original_host}  {error}", sys.stderr)
        raise Exit(code=1) from None
    for name, text in rows:
        say(f"{c.original_host}  {name:<12} {text}")


def check_status(c, domain=None, **_):
    """Return the settings of `cert_status`; raises Exit with status 2 where they are not valid."""
    return settings_for(c, {"tls.domains": domain})


cert_status.check = check_status


# Each port on which somebody listens who may speak TLS, and the certificate there.
SERVING = """
    for port in $(ss -Hltn | awk '{ sub(".*:", "", $4); print $4 }' | sort -nu); do
        [ "$port" != 22 ] && [ "$port" != 80 ] || continue
        found=$(timeout 3 openssl s_client -connect "127.0.0.1:$port" </dev/null 2>/dev/null |
            openssl x509 2>/dev/null) && printf '%s\\n%s\\000' "$port" "$found"
    done; :
"""


RENEWAL = """
    sed -n 's/^server *= */server /p' /etc/letsencrypt/renewal/{}.conf 2>/dev/null
    cmp -s {}/fullchain.pem {} && echo served
    systemctl show -P NextElapseUSecRealtime certbot.timer | sed 's/^/next /'
    systemctl show -P Result certbot.service | sed 's/^/last /'
"""


def status(installed, serving, renewal, hosts):
    """Yield the rows (name, text) that describe the *installed* certificate, where it is served and how it is renewed.

    Raises ValueError where there is none.
    """
    from cryptography import x509

    try:
        certificate = x509.load_pem_x509_certificate(installed.encode())
    except ValueError:
        raise ValueError(f"there is no certificate in {CERTIFICATE}; get one: issue-cert") from None
    left = (certificate.not_valid_after_utc - datetime.now(timezone.utc)).days
    server = re.search("^server (.*)", renewal, re.M)
    by_certbot = "\nserved" in f"\n{renewal}"
    if certificate.issuer == certificate.subject:
        issuer = "itself: browsers warn"
    else:
        issuer = certificate.issuer.rfc4514_string() + (
            f", by certbot from {server[1]}" if by_certbot and server else ""
        )
    missing = [host for host in hosts if host not in names_of(certificate)]
    yield "issuer", issuer
    yield (
        "names",
        " ".join(sorted(names_of(certificate)))
        + (f"   (not {' '.join(missing)})" if missing else ""),
    )
    yield "days left", f"{left}, until {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    ports = [part.partition("\n")[::2] for part in serving.split("\0") if part]
    same = [
        port for port, pem in ports if x509.load_pem_x509_certificate(pem.encode()) == certificate
    ]
    yield (
        "served",
        f"on port {' and '.join(same)}"
        if same
        else "nowhere; fix it with: configure-apache or configure-jupyter",
    )
    following = re.search("^next (.+)", renewal, re.M)
    if not by_certbot:
        yield (
            "renewal",
            "not by certbot; issue-cert makes a self-signed one anew" if left >= 0 else "none",
        )
    elif following:
        failed = "" if "last success" in renewal else "; the last run failed: journalctl -u certbot"
        yield "renewal", f"certbot looks next on {following[1]}{failed}"
    else:
        yield "renewal", "certbot's timer does not run; fix it with: issue-cert"

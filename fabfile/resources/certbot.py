"""A certificate of an ACME server such as Let's Encrypt, by certbot."""

import re
import secrets
import ssl
from dataclasses import dataclass, field
from typing import ClassVar

from ..kit.quote import Shell, program, script, sh
from ..kit.resources.base import Resource
from ..kit.resources.unit import as_unit
from .reach import challenge_problem
from .tls import ADDRESSES, certificate_names, normalize_name

HOUR = 3600  # seconds

UNIT = "remote-jupyter-certbot"

# Enters the folder of the challenges below $webroot and makes it if needed, or fails on a link.
# A name below the current folder cannot be led elsewhere, whoever may write in the webroot.
ENTER_CHALLENGES = Shell("""
cd "$webroot"
here=$(pwd -P)
for name in .well-known acme-challenge; do
    [ -e "$name" ] || [ -L "$name" ] || mkdir "$name"
    here=$here/$name
    if [ -L "$name" ] || ! cd "$name" || [ "$(pwd -P)" != "$here" ]; then
        echo "$here is a symbolic link or no folder; move it away, then run this again" >&2
        exit 1
    fi
done
""")

NOT_OBTAINED = "not obtained: "  # stands before what the operator must know


@dataclass(frozen=True)
class AcmeCertificate(Resource):
    """A current certificate of an ACME server for these names, which certbot's timer renews.

    Before certbot runs, each address of each name must lead here, checked from this machine (see
    `ChallengeProbe`), and the request is rehearsed with the staging server.

    Args:
        lineage: certbot's name of the certificate.
        names: DNS names.
        server: URL of the ACME server's directory.
        email: address for the ACME account; empty for none.
        staging: URL of the server for the rehearsal; empty for no rehearsal.
        webroot: folder that port 80 serves.
        max_attempts: failed attempts within an hour after which no further one is made.
        fallback: whether a failure is only a warning.
        nonce: text that proves that a name leads here.
    """

    lineage: str
    names: tuple[str, ...]
    server: str
    email: str = ""
    staging: str = ""
    webroot: str = "/var/www/html"
    max_attempts: int = 3
    fallback: bool = False
    nonce: str = field(default_factory=lambda: secrets.token_hex(16), compare=False, repr=False)

    # Holds the time of each attempt since the last success, one a line.
    ATTEMPTS: ClassVar[str] = "/var/lib/remote-jupyter/acme-tries"
    slow = True

    undo = "delete-cert"

    @property
    def label(self):
        return f"AcmeCertificate {' '.join(self.names)}"

    @property
    def challenge(self):
        """The file on port 80 that shows whether a name leads here."""
        return f"{self.webroot}/.well-known/acme-challenge/remote-jupyter"

    @property
    def recent(self):
        """Shell text that prints the times of the attempts within the last hour."""
        text = "awk -v since=\"$(($(date +%s) - {}))\" '$1 > since' {} 2>/dev/null"
        return sh(text, HOUR, self.ATTEMPTS)

    def probe(self):
        return script(
            """
            date +%s
            if [ -s "$conf" ] && [ -s "$cert" ]; then
                sed -n 's/^server *= */server=/p' "$conf"
                openssl x509 -in "$cert" -noout \\
                    -serial -startdate -enddate -ext subjectAltName 2>/dev/null
            fi
            printf '\\000'
            recent
            printf '\\000'
            # Names are looked up only after this run has put its file in place.
            [ "$(cat "$challenge" 2>/dev/null)" = "$nonce" ] || exit 0
            echo asked yes
            addresses | sed 's/^/own /'
            # The DNS decides: /etc/hosts often has the server's own name.
            for name in "$@"; do
                getent -A -s hosts:dns ahosts "$name" | awk -v name="$name" '{ print name, $1 }'
            done | sort -u
            """,
            *self.names,
            conf=f"/etc/letsencrypt/renewal/{self.lineage}.conf",
            cert=f"/etc/letsencrypt/live/{self.lineage}/cert.pem",
            challenge=self.challenge,
            nonce=self.nonce,
            recent=self.recent,
            addresses=ADDRESSES,
        )

    def parse(self, output):
        about, attempts, found = output.split("\0")
        now, _, about = about.partition("\n")
        fields = dict(re.findall(r"^(serial|server|notBefore|notAfter)=(.*)$", about, re.M))
        actual = {
            "names": None,
            "server": fields.get("server"),
            "lasts": None,
            "serial": fields.get("serial", ""),
        }
        if "notAfter" in fields:
            actual["names"] = " ".join(sorted(certificate_names(about)))
            actual["lasts"] = lasting(fields["notBefore"], fields["notAfter"], int(now))
        if self.changed(actual) and found:
            times = [int(line) for line in attempts.split()]
            actual["problem"] = self.problem(int(now), times, found)
        return actual

    def desired(self):
        return {
            "names": " ".join(sorted(map(normalize_name, self.names))),
            "server": self.server,
            "lasts": "long enough",
        }

    def problem(self, now, attempts, found):
        """Return why the server must not be asked now, or an empty text.

        Args:
            now: the host's time, in seconds.
            attempts: the times of the failed attempts within the last hour.
            found: lines of the probe, ``own ADDRESS`` or ``NAME ADDRESS``.
        """
        if len(attempts) >= self.max_attempts:
            wait = -(-(attempts[-self.max_attempts] + HOUR - now) // 60)
            return (
                f"{len(attempts)} of {self.max_attempts} attempts within an hour failed, and the "
                f"issuer limits them too; try again in {wait} minutes, or raise tls.max_attempts"
            )
        pairs = [line.split() for line in found.splitlines()]
        own = {address for kind, address in pairs if kind == "own"}
        path = self.challenge.removeprefix(self.webroot)
        for name in self.names:
            by_server = [address for other, address in pairs if other == name]
            problem = challenge_problem(name, by_server, own, path, self.nonce)
            if problem:
                return problem
        return ""

    def conflict(self, actual):
        if actual.get("problem") and not self.fallback:
            return f"{actual['problem']} (no attempt was made)"
        return None

    def apply(self, actual):
        if actual.get("problem"):
            text = f"{NOT_OBTAINED}{actual['problem']} (no attempt was made)"
            return sh("printf '%s\\n' {}", text)
        step = as_unit(UNIT, self.request(actual["serial"]))
        if not self.fallback:
            return step
        return script(
            """
            said=$(mktemp)
            (request) 2>"$said" || printf '%s%s\\n' "$not_obtained" "$(cat "$said")"
            rm -f "$said"
            """,
            not_obtained=NOT_OBTAINED,
            request=step,
        )

    def request(self, serial, rehearse=True):
        """Return the shell program that gets a certificate.

        Args:
            serial: the serial number of the present certificate, or an empty text. If the
                certificate has another one by then, the program does nothing.
            rehearse: whether to ask the staging server first.
        """
        account = (
            ["-m", self.email, "--no-eff-email"]
            if self.email
            else ["--register-unsafely-without-email"]
        )
        command = ["certbot", "certonly", "-n", "--agree-tos", "--cert-name", self.lineage]
        command += ["--webroot", "-w", self.webroot, *account]
        command += [word for name in self.names for word in ("-d", name)]
        return program(
            "certbot",
            *command,
            lineage=self.lineage,
            serial=serial,
            server=self.server,
            staging=self.staging if rehearse else "",
            attempts=self.ATTEMPTS,
            max_attempts=self.max_attempts,
            recent=self.recent,
            webroot=self.webroot,
            enter_challenges=ENTER_CHALLENGES,
        )

    def diff(self, actual):
        # The former server matters only if there is a certificate.
        return super().diff(actual).replace("names: None\n", "")

    def shortfall(self, output):
        at = output.rfind(NOT_OBTAINED)
        return output[at:].strip() if at >= 0 else ""


def lasting(not_before, not_after, now):
    """Return "long enough", or the end of a certificate that should have been renewed by now."""
    begin, end = map(ssl.cert_time_to_seconds, (not_before, not_after))
    # certbot renews when a third of the time is left; at a fifth, its timer has failed.
    return "long enough" if end - now > (end - begin) / 5 else f"until {not_after}"


@dataclass(frozen=True)
class ChallengeProbe(Resource):
    """A file on port 80 that shows that a name leads here; made only if a certificate is due.

    Args:
        certificate: the certificate to get.
    """

    certificate: AcmeCertificate

    needs_reprobe = True  # this machine can ask for the file once it is in place

    undo = "rm {0.certificate.challenge}"

    @property
    def label(self):
        return f"ChallengeProbe {self.certificate.challenge}"

    def probe(self):
        return script(
            """
            [ ! -f "$challenge" ] || cat "$challenge"
            printf '\\000'
            certificate
            """,
            challenge=self.certificate.challenge,
            certificate=self.certificate.probe(),
        )

    def parse(self, output):
        nonce, about, attempts, _ = output.split("\0")
        actual = self.certificate.parse(f"{about}\0{attempts}\0")
        due = self.certificate.changed(actual)
        in_place = nonce.strip() == self.certificate.nonce
        return {"file": "there" if in_place or not due else "absent"}

    def desired(self):
        return {"file": "there"}

    def apply(self, actual):
        return script(
            """
            umask 022
            mkdir -p "$webroot" "${attempts%/*}"
            enter_challenges
            new=$(mktemp .remote-jupyter.XXXXXX); trap 'rm -f "$new"' EXIT
            echo "$nonce" >"$new"
            chmod 0644 "$new"
            # A rename replaces a link and never follows it.
            mv -fT "$new" remote-jupyter
            """,
            webroot=self.certificate.webroot,
            attempts=self.certificate.ATTEMPTS,
            nonce=self.certificate.nonce,
            enter_challenges=ENTER_CHALLENGES,
        )


@dataclass(frozen=True)
class CertificateAuthorityAbsent(Resource):
    """The host does not trust the certificate authority that we added for an ACME server.

    Args:
        path: the authority's file in /usr/local/share/ca-certificates.
    """

    path: str

    undo = "issue-cert, with tls.acme_ca as it was"

    def probe(self):
        return sh("[ -e {} ] && echo there || echo absent", self.path)

    def desired(self):
        return {"state": "absent"}

    def apply(self, actual):
        return script(
            """
            name=${path##*/}; name=${name%.crt}.pem
            rm -f "$path"
            # update-ca-certificates leaves the links of a file that is gone.
            find /etc/ssl/certs -lname "$name" -delete
            rm -f "/etc/ssl/certs/$name"
            update-ca-certificates >/dev/null 2>&1
            """,
            path=self.path,
        )


@dataclass(frozen=True)
class RenewedCertificate(Resource):
    """A certificate that this run renewed, whether or not it was due.

    Args:
        certificate: the certificate to renew.
        serials: its serial number at each probe of this run.
    """

    certificate: AcmeCertificate
    serials: list = field(default_factory=list, compare=False, repr=False)

    slow = True

    undo = "not needed: the previous one is in /etc/letsencrypt/archive"

    @property
    def label(self):
        return f"RenewedCertificate {' '.join(self.certificate.names)}"

    def probe(self):
        return self.certificate.probe()

    def parse(self, output):
        about, attempts, _ = output.split("\0")
        serial = self.certificate.parse(f"{about}\0{attempts}\0")["serial"]
        self.serials.append(serial)
        renewed = serial != self.serials[0]
        return {
            "serial": "a new one" if renewed else serial,
            "attempts": len(attempts.split()),
        }

    def desired(self):
        return {"serial": "a new one"}

    def conflict(self, actual):
        limit = self.certificate.max_attempts
        if not actual["serial"]:
            return (
                "there is no certificate to renew; get one first: issue-cert --issuer letsencrypt"
            )
        if actual["attempts"] >= limit:
            return (
                f"{actual['attempts']} of {limit} attempts within an hour failed; "
                "wait, or raise tls.max_attempts"
            )
        return None

    def apply(self, actual):
        return as_unit(UNIT, self.certificate.request(actual["serial"], rehearse=False))

"""A certificate of an ACME server such as Let's Encrypt, by certbot."""

import re
import secrets
import ssl
from dataclasses import dataclass, field
from typing import ClassVar

from ..kit.quote import Shell, sh, words
from ..kit.resources.base import Resource
from ..kit.resources.unit import as_unit
from .reach import astray
from .tls import SelfSigned, normal

HOUR = 3600


GAVE_UP = "not obtained: "  # before what the operator must know


@dataclass(frozen=True)
class AcmeCertificate(Resource):
    """certbot's certificate *lineage* for *names* from the ACME *server*, which asks for files of *webroot* on port 80.

    certbot's own timer renews it. Before it is asked for, each address of each name must lead here, asked from this machine
    (see `ChallengeProbe`), and where a *staging* server is given the same is rehearsed there. After *max_attempts* that failed
    within an hour no further one is made. With *fallback*, failing is a warning.
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

    TRIES: ClassVar[str] = (
        "/var/lib/remote-jupyter/acme-tries"  # the time of each that has not succeeded, one a line
    )
    slow = True

    undo = "delete-cert"

    @property
    def label(self):
        return f"AcmeCertificate {' '.join(self.names)}"

    @property
    def challenge(self):
        """The file that answers on port 80 whether a name leads here."""
        return f"{self.webroot}/.well-known/acme-challenge/remote-jupyter"

    @property
    def recent(self):
        """Shell text that prints the times of the tries within the last hour."""
        text = "awk -v since=\"$(($(date +%s) - {}))\" '$1 > since' {} 2>/dev/null"
        return sh(text, HOUR, self.TRIES)

    def probe(self):
        return sh(
            """
            conf={} cert={}
            date +%s
            if [ -s "$conf" ] && [ -s "$cert" ]; then
                sed -n 's/^server *= */server=/p' "$conf"
                openssl x509 -in "$cert" -noout -serial -startdate -enddate -ext subjectAltName 2>/dev/null
            fi
            printf '\\000'
            {}
            printf '\\000'
            # Names are looked up, past /etc/hosts, only where this run has put its file there.
            [ "$(cat {} 2>/dev/null)" = {} ] || exit 0
            echo asked yes
            {}
            addresses | sed 's/^/own /'
            for name in {}; do getent -A -s hosts:dns ahosts "$name" | awk -v name="$name" '{ print name, $1 }'; done | sort -u
            """,
            f"/etc/letsencrypt/renewal/{self.lineage}.conf",
            f"/etc/letsencrypt/live/{self.lineage}/cert.pem",
            self.recent,
            self.challenge,
            self.nonce,
            SelfSigned.ADDRESSES,
            words(self.names),
        )

    def parse(self, output):
        about, tries, found = output.split("\0")
        now, _, about = about.partition("\n")
        told = dict(re.findall(r"^(serial|server|notBefore|notAfter)=(.*)$", about, re.M))
        actual = {
            "names": None,
            "server": told.get("server"),
            "lasts": None,
            "serial": told.get("serial", ""),
        }
        if "notAfter" in told:
            named = {normal(name) for name in re.findall(r"(?:DNS|IP Address):([^,\s]+)", about)}
            actual["names"] = " ".join(sorted(named))
            begin, end = (
                ssl.cert_time_to_seconds(told[name]) for name in ("notBefore", "notAfter")
            )
            # certbot renews when a third is left; later than this, nobody has.
            actual["lasts"] = (
                "long enough" if end - int(now) > (end - begin) / 5 else f"until {told['notAfter']}"
            )
        if self.changed(actual) and found:
            actual["problem"] = self.problem(int(now), [int(line) for line in tries.split()], found)
        return actual

    def desired(self):
        return {
            "names": " ".join(sorted(map(normal, self.names))),
            "server": self.server,
            "lasts": "long enough",
        }

    def problem(self, now, tries, found):
        """Return what keeps the server from being asked now, or an empty text."""
        if len(tries) >= self.max_attempts:
            wait = -(-(tries[-self.max_attempts] + HOUR - now) // 60)
            return (
                f"{len(tries)} of {self.max_attempts} tries within an hour have failed, and the issuer counts them too; "
                f"the next can be made in {wait} minutes, or at once with a higher tls.max_attempts"
            )
        told = [line.split() for line in found.splitlines()]
        own = {address for kind, address in told if kind == "own"}
        for name in self.names:
            by_server = [address for other, address in told if other == name]
            if problem := astray(
                name, by_server, own, self.challenge.removeprefix(self.webroot), self.nonce
            ):
                return problem
        return ""

    def conflict(self, actual):
        return (
            f"{actual['problem']} (no try was spent)"
            if actual.get("problem") and not self.fallback
            else None
        )

    def apply(self, actual):
        if actual.get("problem"):
            return sh("printf '%s%s (no try was spent)\\n' {} {}", GAVE_UP, actual["problem"])
        script = as_unit("remote-jupyter-certbot", self.get(actual["serial"]))
        if not self.fallback:
            return script
        return sh(
            """
            said=$(mktemp)
            ({}) 2>"$said" || printf '%s%s\\n' {} "$(cat "$said")"
            rm -f "$said"
            """,
            script,
            GAVE_UP,
        )

    def get(self, serial, rehearse=True):
        """Return the unit's script that gets a certificate, unless the one that is there has no more this *serial* number."""
        ask = [
            "certbot",
            "certonly",
            "-n",
            "--agree-tos",
            "--cert-name",
            self.lineage,
            "--webroot",
            "-w",
            self.webroot,
        ]
        ask += (
            ["-m", self.email, "--no-eff-email"]
            if self.email
            else ["--register-unsafely-without-email"]
        )
        ask += [word for name in self.names for word in ("-d", name)]
        rehearsal = sh(
            """
            echo {}
            patiently {} {} --dry-run || { echo 'the rehearsal failed; no try with the real server was spent'; exit 1; }
            """,
            f"rehearsing with {self.staging}",
            self.staging,
            words(ask),
        )
        return CERTBOT + sh(
            """
            cd /etc/letsencrypt
            lineage={} tries={}
            # An earlier run, which went on by itself, may have got it meanwhile.
            now=$(openssl x509 -in "live/$lineage/cert.pem" -noout -serial 2>/dev/null) || :
            [ "${now#serial=}" = {} ] || exit 0
            # A certbot that was killed left halves, over which the next would stumble.
            [ -s "renewal/$lineage.conf" ] && [ -s "live/$lineage/privkey.pem" ] ||
                rm -rf "renewal/$lineage.conf" "live/$lineage" "archive/$lineage"
            {}
            date +%s >>"$tries"
            patiently {} {} --force-renewal --renew-with-new-domains || {
                if grep -q 'Another instance of Certbot' "$said"; then sed -i '$d' "$tries"; exit 1; fi
                echo "try $({} | wc -l) of {} within an hour failed; further ones are not made then (tls.max_attempts)"
                exit 1
            }
            rm -f "$tries"
            """,
            self.lineage,
            self.TRIES,
            serial,
            rehearsal if rehearse and self.staging else Shell(":"),
            self.server,
            words(ask),
            self.recent,
            self.max_attempts,
        )

    def diff(self, actual):
        # Which server it was matters only where there is a certificate.
        return super().diff(actual).replace("names: None\n", "")

    def shortfall(self, output):
        at = output.rfind(GAVE_UP)
        return output[at:].strip() if at >= 0 else ""


# certbot waits for no other; and an account that the server has forgotten it would use for ever.
CERTBOT = Shell(r"""
            export REQUESTS_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt LC_ALL=C.UTF-8
            said=$(mktemp); trap 'rm -f "$said"' EXIT
            # Debian 12's certbot says "can't set attribute" of whatever the server refuses; what it was is in the log.
            why() {
                awk '/certbot version: / { why = "" } /Error: urn:ietf:params:acme:error:/ { why = $0 } END { print why }' \
                    /var/log/letsencrypt/letsencrypt.log 2>/dev/null
            }
            patiently() {
                server=$1 began=$(date +%s) lost=''
                shift
                while s=0; "$@" --server "$server" >"$said" 2>&1 || { s=$?; why >>"$said"; }; cat "$said"; [ $s != 0 ]; do
                    if grep -q 'Another instance of Certbot' "$said"; then
                        [ $(($(date +%s) - began)) -lt 60 ] || { echo 'another certbot is still at work after 60 s'; break; }
                        echo 'waiting for another certbot'
                        sleep 2
                    elif grep -q 'accountDoesNotExist\|Account .* not found' "$said" && [ -z "$lost" ]; then
                        account="/etc/letsencrypt/accounts/${server#*://}" lost="$account.lost-$(date +%s)"
                        echo "$server does not know our account any more: a new one is made, and the old one kept in $lost"
                        mv -T "$account" "$lost" || break
                    else break; fi
                done
                return $s
            }
""")


@dataclass(frozen=True)
class ChallengeProbe(Resource):
    """A file that shows, when it is read from outside, that a name leads here; only where *certificate* must be asked for."""

    certificate: AcmeCertificate

    needs_reprobe = True  # with the file in place, this machine can ask

    undo = "rm {0.certificate.challenge}"

    @property
    def label(self):
        return f"ChallengeProbe {self.certificate.challenge}"

    def probe(self):
        return sh(
            """
            [ ! -f {} ] || cat {}
            printf '\\000'
            {}
            """,
            *[self.certificate.challenge] * 2,
            AcmeCertificate.probe(self.certificate),
        )

    def parse(self, output):
        nonce, about, tries, _ = output.split("\0")
        due = self.certificate.changed(self.certificate.parse(f"{about}\0{tries}\0"))
        return {"file": "there" if not due or nonce.strip() == self.certificate.nonce else "absent"}

    def desired(self):
        return {"file": "there"}

    def apply(self, actual):
        path, kept = self.certificate.challenge, AcmeCertificate.TRIES
        folders = words(one.rpartition("/")[0] for one in (path, kept))
        return sh("umask 022\nmkdir -p {}\necho {} >{}", folders, self.certificate.nonce, path)


@dataclass(frozen=True)
class RenewedCertificate(Resource):
    """The *certificate*, renewed by this run, whether it is time for that or not."""

    certificate: AcmeCertificate
    first: list = field(
        default_factory=list, compare=False, repr=False
    )  # its serial number, before and after

    slow = True

    undo = "none is needed: the one before is in /etc/letsencrypt/archive"

    @property
    def label(self):
        return f"RenewedCertificate {' '.join(self.certificate.names)}"

    def probe(self):
        return AcmeCertificate.probe(self.certificate)

    def parse(self, output):
        actual = self.certificate.parse(output.rpartition("\0")[0] + "\0")
        self.first.append(actual["serial"])
        tries = len(output.split("\0")[1].split())
        return {
            "serial": "a new one" if actual["serial"] != self.first[0] else actual["serial"],
            "tries": tries,
        }

    def desired(self):
        return {"serial": "a new one"}

    def conflict(self, actual):
        if not actual["serial"]:
            return "there is no certificate that could be renewed; get one first: issue-cert --issuer letsencrypt"
        if actual["tries"] >= self.certificate.max_attempts:
            return f"{actual['tries']} of {self.certificate.max_attempts} tries within an hour have failed; wait, or raise tls.max_attempts"
        return None

    def apply(self, actual):
        return as_unit(
            "remote-jupyter-certbot", self.certificate.get(actual["serial"], rehearse=False)
        )

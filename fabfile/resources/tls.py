"""Self-signed certificates, and copies of certificates with their keys."""

import ipaddress
import re
from dataclasses import dataclass

from ..kit.quote import Shell, program, script
from ..kit.resources.base import CANNOT_KNOW, Resource

RENEW = 30  # days of validity left at which a self-signed certificate is replaced

# Prints the host's own addresses: those of the interfaces with a default route.
ADDRESSES = Shell("""
if command -v ip >/dev/null; then
    { ip -4 route show default; ip -6 route show default; } |
        grep -o 'dev [^ ]*' | cut -c5- | sort -u |
        while read -r device; do ip -o addr show dev "$device" scope global; done |
        grep -Ev ' (temporary|deprecated)' | awk '{ sub("/.*", "", $4); print $4 }'
else
    hostname -I | tr ' ' '\\n'
fi | sort -u
""")


@dataclass(frozen=True)
class SelfSigned(Resource):
    """A self-signed certificate for these names and the host's own addresses, and its key.

    It is replaced when `RENEW` days or fewer are left, when names or addresses changed, or when
    the key does not fit.

    Args:
        path: the certificate's file.
        key: the key's file.
        names: DNS names and addresses; the first is the subject.
        days: validity of a new certificate.
        unless: a file whose certificate is used instead; while it exists, nothing is made.
    """

    path: str
    key: str
    names: tuple[str, ...]
    days: int = 365
    unless: str = ""

    undo = "rm {0.path} {0.key}"

    def probe(self):
        return script(
            """
            for path in "$cert" "$key"; do
                if [ -L "$path" ]; then
                    echo "foreign a symbolic link at $path"
                    exit 0
                elif [ -e "$path" ] && [ ! -f "$path" ]; then
                    stat -c 'foreign a %F at %n' "$path"
                    exit 0
                fi
            done
            [ ! -s "$unless" ] || { echo not needed; exit 0; }
            command -v openssl >/dev/null || exit "$cannot_know"
            addresses | sed 's/^/address /'
            [ -f "$cert" ] && [ -f "$key" ] || { echo absent; exit 0; }
            openssl x509 -in "$cert" -noout \\
                -subject -issuer -ext subjectAltName -pubkey -checkend "$renew" 2>/dev/null
            openssl pkey -in "$key" -pubout 2>/dev/null
            stat -c 'mode %U:%a' "$key"
            """,
            cert=self.path,
            key=self.key,
            unless=self.unless,
            cannot_know=CANNOT_KNOW,
            renew=RENEW * 86400,
            addresses=ADDRESSES,
        )

    def parse(self, output):
        lines = output.splitlines()
        if lines and lines[0].startswith("foreign "):
            return {"names": None, "wanted": [], "foreign": lines[0].removeprefix("foreign ")}
        if lines == ["not needed"]:
            return self.desired() | {"wanted": []}
        addresses = [line.removeprefix("address ") for line in lines if line.startswith("address ")]
        wanted = {normalize_name(name) for name in (*self.names, *addresses)}
        if "absent" in lines:
            return {"names": None, "wanted": sorted(wanted)}
        names = certificate_names(output)
        days = f"more than {RENEW} days"
        if "Certificate will not expire" not in lines:
            days = f"{RENEW} days or less"
        public = re.findall("-----BEGIN PUBLIC KEY-----[^-]+", output)
        return {
            "names": "as wanted" if names == wanted else " ".join(sorted(names)),
            "issuer": issuer(lines),
            "lasts": days,
            "key": "fits" if len(public) == 2 and len(set(public)) == 1 else "does not fit",
            "mode": lines[-1].removeprefix("mode "),
            "wanted": sorted(wanted),
        }

    def desired(self):
        return {
            "names": "as wanted",
            "issuer": "itself",
            "lasts": f"more than {RENEW} days",
            "key": "fits",
            "mode": "root:600",
        }

    def conflict(self, actual):
        if "foreign" not in actual:
            return None
        return (
            f"there is {actual['foreign']} where a file of ours should be; "
            "move it away, then run this again"
        )

    def diff(self, actual):
        diff = super().diff(actual).replace("names: None\n", "")
        return diff.replace("+names: as wanted", f"+names: {' '.join(actual['wanted'])}")

    def apply(self, actual):
        kinds = (("IP:" if is_address(name) else "DNS:", name) for name in actual["wanted"])
        return program(
            "self-signed",
            certificate=self.path,
            key=self.key,
            days=self.days,
            # X.509 limits a common name to 64 characters.
            subject=f"/CN={self.names[0][:64]}",
            names=",".join(kind + name for kind, name in kinds),
        )


def issuer(lines):
    """Return who issued a certificate: "itself", the issuer's name, or None if unknown.

    Args:
        lines: the output of ``openssl x509 -subject -issuer``.
    """
    fields = dict(line.split("=", 1) for line in lines if line.startswith(("subject=", "issuer=")))
    if fields and fields["subject"] == fields["issuer"]:
        return "itself"
    return fields.get("issuer")


def certificate_names(text):
    """Return the names and addresses in the output of ``openssl x509 -ext subjectAltName``."""
    return {normalize_name(name) for name in re.findall(r"(?:DNS|IP Address):([^,\s]+)", text)}


def is_address(name):
    """Return whether *name* is an IP address, not a DNS name."""
    try:
        return bool(ipaddress.ip_address(name))
    except ValueError:
        return False


def normalize_name(name):
    """Return *name* in the one spelling by which names and addresses can be compared."""
    return str(ipaddress.ip_address(name)) if is_address(name) else name.lower()


@dataclass(frozen=True)
class CertificateCopy(Resource):
    """A copy of a certificate and its key, as cert.pem and key.pem in a folder.

    Args:
        path: the folder.
        certificate: the certificate's file.
        key: the key's file.
        group: group that may read the copy of the key.
        mode: mode of the copy of the key.
        needed: whether a missing original is an error.
    """

    path: str
    certificate: str
    key: str
    group: str = "root"
    mode: str = "0600"
    needed: bool = True

    undo = "rm -r {0.path}"

    def probe(self):
        return script(
            """
            if [ -L "$path/cert.pem" ] || [ -L "$path/key.pem" ]; then echo foreign
            elif [ ! -s "$certificate" ]; then echo nothing to copy
            elif cmp -s "$certificate" "$path/cert.pem" && cmp -s "$key" "$path/key.pem"; then
                echo same
            else echo another; fi
            stat -c '%U %G %a' "$path/key.pem" 2>/dev/null
            :
            """,
            path=self.path,
            certificate=self.certificate,
            key=self.key,
        )

    def parse(self, output):
        state, _, head = output.strip().partition("\n")
        return {"copy": state, "key": head or None}

    def desired(self):
        return {"copy": "same", "key": f"root {self.group} {self.mode.lstrip('0')}"}

    def changed(self, actual):
        # The original may be made later in this run; its handler then replaces a copy.
        if actual["copy"] == "nothing to copy" and (actual["key"] or not self.needed):
            return []
        return super().changed(actual)

    def conflict(self, actual):
        if actual["copy"] != "foreign":
            return None
        return (
            f"there is a symbolic link in {self.path} where a file of ours should be; "
            "move it away, then run this again"
        )

    def apply(self, actual):
        # One `mv` renames both, as a server may read them at any time.
        return script(
            """
            if [ -s "$certificate" ]; then
                new=$(mktemp -d "$path/.new.XXXXXX")
                if ! {
                    install -g "$group" -m "$mode" "$key" "$new/key.pem" &&
                        install -m 0644 "$certificate" "$new/cert.pem" &&
                        mv -f "$new/key.pem" "$new/cert.pem" "$path/"
                }; then
                    rm -rf "$new"
                    exit 1
                fi
                rm -rf "$new"
            fi
            """,
            path=self.path,
            certificate=self.certificate,
            key=self.key,
            group=self.group,
            mode=self.mode,
        )


@dataclass(frozen=True)
class CertificateCopyAbsent(Resource):
    """No copy of a certificate and its key in a folder; the folder goes too if it is empty.

    Args:
        path: the folder.
    """

    path: str

    undo = "issue-cert copies the certificate again"

    def probe(self):
        return script(
            'cd "$path" 2>/dev/null && ls -d cert.pem key.pem .new.* 2>/dev/null; :',
            path=self.path,
        )

    def parse(self, output):
        return {"copy": "there" if output.strip() else "none"}

    def desired(self):
        return {"copy": "none"}

    def apply(self, actual):
        return script(
            """
            cd "$path"
            rm -rf cert.pem key.pem .new.*
            cd /
            rmdir --ignore-fail-on-non-empty "$path"
            """,
            path=self.path,
        )

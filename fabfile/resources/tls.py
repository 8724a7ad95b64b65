"""A self-signed certificate."""

import ipaddress
import re
from dataclasses import dataclass
from typing import ClassVar

from ..kit.quote import Shell, sh
from ..kit.resources.base import CANNOT_KNOW, Resource

RENEW = 30  # days that are left when it is made anew


@dataclass(frozen=True)
class SelfSigned(Resource):
    """A certificate for *names* and the host's own addresses at *path*, with its *key*, made by openssl for *days*.

    It is made anew when `RENEW` days or less are left, when names or addresses changed, or when the key does not fit.
    Nothing of that matters while there is a file *unless*, whose certificate stands in.
    """

    path: str
    key: str
    names: tuple[str, ...]
    days: int = 365
    unless: str = ""

    ADDRESSES: ClassVar[Shell] = Shell("""
        addresses() {
            if command -v ip >/dev/null; then
                for dev in $({ ip -4 route show default; ip -6 route show default; } | grep -o 'dev [^ ]*' | cut -c5- | sort -u)
                do ip -o addr show dev "$dev" scope global; done |
                    grep -Ev ' (temporary|deprecated)' | awk '{ sub("/.*", "", $4); print $4 }'
            else hostname -I | tr ' ' '\\n'; fi | sort -u
        }
    """)

    undo = "rm {0.path} {0.key}"

    def probe(self):
        return sh(
            """
            cert={} key={}
            for p in "$cert" "$key"; do
                if [ -L "$p" ]; then echo "foreign a symbolic link at $p"; exit 0
                elif [ -e "$p" ] && [ ! -f "$p" ]; then stat -c 'foreign a %F at %n' "$p"; exit 0; fi
            done
            [ ! -s {} ] || { echo another stands in; exit 0; }
            command -v openssl >/dev/null || exit {}
            {}
            addresses | sed 's/^/address /'
            [ -f "$cert" ] && [ -f "$key" ] || { echo absent; exit 0; }
            openssl x509 -in "$cert" -noout -subject -issuer -ext subjectAltName -pubkey -checkend {} 2>/dev/null
            openssl pkey -in "$key" -pubout 2>/dev/null
            stat -c 'mode %U:%a' "$key"
            """,
            *(self.path, self.key, self.unless, CANNOT_KNOW, self.ADDRESSES, RENEW * 86400),
        )

    def parse(self, output):
        lines = output.splitlines()
        if lines and lines[0].startswith("foreign "):
            return {"names": None, "wanted": [], "foreign": lines[0].removeprefix("foreign ")}
        if lines == ["another stands in"]:
            return self.desired() | {"wanted": []}
        addresses = [line.removeprefix("address ") for line in lines if line.startswith("address ")]
        wanted = {normal(name) for name in (*self.names, *addresses)}
        if "absent" in lines:
            return {"names": None, "wanted": sorted(wanted)}
        named = {normal(name) for name in re.findall(r"(?:DNS|IP Address):([^,\s]+)", output)}
        public = re.findall("-----BEGIN PUBLIC KEY-----[^-]+", output)
        told = dict(
            line.split("=", 1) for line in lines if line.startswith(("subject=", "issuer="))
        )
        return {
            "names": "as wanted" if named == wanted else " ".join(sorted(named)),
            "issuer": "itself"
            if told and told["subject"] == told["issuer"]
            else told.get("issuer"),
            "lasts": f"more than {RENEW} days"
            if "Certificate will not expire" in lines
            else f"{RENEW} days or less",
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
        if "foreign" in actual:
            return f"there is {actual['foreign']} where a file of ours should be; move it away, then run this again"
        return None

    def diff(self, actual):
        names = " ".join(actual["wanted"])
        return (
            super()
            .diff(actual)
            .replace("+names: as wanted", f"+names: {names}")
            .replace("names: None\n", "")
        )

    def apply(self, actual):
        names = ",".join(
            ("IP:" if is_address(name) else "DNS:") + name for name in actual["wanted"]
        )
        return sh(
            """
            dir=$(mktemp -d {}); trap 'rm -rf "$dir"' EXIT
            umask 077
            openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -sha256 -days {} -subj {} \\
                -addext subjectAltName={} -addext extendedKeyUsage=serverAuth -addext keyUsage=critical,digitalSignature \\
                -addext basicConstraints=critical,CA:FALSE \\
                -keyout "$dir/key" -out "$dir/cert" 2>"$dir/said" || { cat "$dir/said" >&2; exit 1; }
            # openssl does not mind a full disk.
            public=$(openssl pkey -in "$dir/key" -pubout 2>/dev/null) &&
                [ -n "$public" ] && [ "$public" = "$(openssl x509 -in "$dir/cert" -noout -pubkey 2>/dev/null)" ] ||
                { echo 'what openssl wrote cannot be read again: the disk is full; make room there' >&2; exit 1; }
            chmod 0644 "$dir/cert"
            mv -fT "$dir/key" {}; mv -fT "$dir/cert" {}
            """,
            *(
                f"{self.path.rpartition('/')[0]}/.new.XXXXXX",
                self.days,
                f"/CN={self.names[0][:64]}",
                names,
                self.key,
                self.path,
            ),
        )


def is_address(name):
    """Return whether *name* is an IP address and no DNS name."""
    try:
        return bool(ipaddress.ip_address(name))
    except ValueError:
        return False


def normal(name):
    """Return *name* so that two spellings of one name or address are equal."""
    return str(ipaddress.ip_address(name)) if is_address(name) else name.lower()


@dataclass(frozen=True)
class CertificateCopy(Resource):
    """The *certificate* and its *key* as cert.pem and key.pem in the folder *path*; the key is for root and *group* only.

    Where there is no such certificate there is nothing to copy, which is fine unless the copy is *needed*.
    """

    path: str
    certificate: str
    key: str
    group: str = "root"
    mode: str = "0600"  # of the key
    needed: bool = True

    undo = "rm -r {0.path}"

    def probe(self):
        return sh(
            """
            from={} key={} to={}
            if [ -L "$to/cert.pem" ] || [ -L "$to/key.pem" ]; then echo foreign
            elif [ ! -s "$from" ]; then echo nothing to copy
            elif cmp -s "$from" "$to/cert.pem" && cmp -s "$key" "$to/key.pem"; then echo same
            else echo another; fi
            stat -c '%U %G %a' "$to/key.pem" 2>/dev/null; :
            """,
            self.certificate,
            self.key,
            self.path,
        )

    def parse(self, output):
        state, _, head = output.strip().partition("\n")
        return {"copy": state, "key": head or None}

    def desired(self):
        return {"copy": "same", "key": f"root {self.group} {self.mode.lstrip('0')}"}

    def changed(self, actual):
        # What is to be copied may be made in the same run, and its handler copies it where a copy is there already.
        fine = actual["copy"] == "nothing to copy" and (actual["key"] or not self.needed)
        return [] if fine else super().changed(actual)

    def conflict(self, actual):
        if actual["copy"] == "foreign":
            return f"there is a symbolic link in {self.path} where a file of ours should be; move it away, then run this again"
        return None

    def apply(self, actual):
        # The two are renamed by one program, as a server may read them at any time.
        return sh(
            """
            if [ -s {} ]; then
                new=$(mktemp -d {})
                if ! { install -g {} -m {} {} "$new/key.pem" && install -m 0644 {} "$new/cert.pem" &&
                    mv -f "$new/key.pem" "$new/cert.pem" {}; }; then rm -rf "$new"; exit 1; fi
                rm -rf "$new"
            fi
            """,
            self.certificate,
            f"{self.path}/.new.XXXXXX",
            self.group,
            self.mode,
            self.key,
            self.certificate,
            f"{self.path}/",
        )


@dataclass(frozen=True)
class NoCopy(Resource):
    """There is no copy of a certificate and its key in the folder *path*, nor the folder, unless it holds something else."""

    path: str

    undo = "the certificate itself is still there; issue-cert copies it again"

    def probe(self):
        return sh("cd {} 2>/dev/null && ls -d cert.pem key.pem .new.* 2>/dev/null; :", self.path)

    def parse(self, output):
        return {"copy": "there" if output.strip() else "none"}

    def desired(self):
        return {"copy": "none"}

    def apply(self, actual):
        return sh(
            "cd {}\nrm -rf cert.pem key.pem .new.*\ncd /\nrmdir --ignore-fail-on-non-empty {}",
            self.path,
            self.path,
        )

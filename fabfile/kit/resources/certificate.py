"""A self-signed certificate."""

import re
from dataclasses import dataclass
from typing import ClassVar

from ..quote import Shell, sh
from .base import CANNOT_KNOW, Resource

RENEW = 30  # days that are left when it is made anew


@dataclass(frozen=True)
class SelfSigned(Resource):
    """A certificate for *names* and the host's own addresses at *path*, with its *key*, made by openssl for *days*.

    It is made anew when `RENEW` days or less are left, when names or addresses changed, or when the key does not fit.
    """

    path: str
    key: str
    names: tuple[str, ...]
    days: int = 365

    ADDRESSES: ClassVar[Shell] = Shell("""
        addresses() {
            if command -v ip >/dev/null; then
                for dev in $({ ip -o -4 route show default; ip -o -6 route show default; } | sed -n 's/.* dev \\([^ ]*\\).*/\\1/p' | sort -u); do
                    ip -o addr show dev "$dev" scope global | grep -Ev ' (temporary|deprecated)' | awk '{sub("/.*", "", $4); print $4}'
                done
            else hostname -I | tr ' ' '\\n'; fi | sort -u
        }
    """)

    def probe(self):
        return sh(
            """
                command -v openssl >/dev/null || exit {}
                {}
                addresses | sed 's/^/address /'
                [ -f {} ] && [ -f {} ] || { echo absent; exit 0; }
                openssl x509 -in {} -noout -subject -issuer -ext subjectAltName 2>/dev/null || echo broken
                openssl x509 -in {} -noout -checkend {} >/dev/null 2>&1 && echo lasts
                [ "$(openssl x509 -in {} -noout -pubkey 2>/dev/null)" = "$(openssl pkey -in {} -pubout 2>/dev/null)" ] && echo fits
                stat -c 'mode %U:%a' {}
                """,
            *(
                CANNOT_KNOW,
                self.ADDRESSES,
                self.path,
                self.key,
                self.path,
                self.path,
                RENEW * 86400,
                self.path,
                self.key,
                self.key,
            ),
        )

    def parse(self, output):
        lines = output.splitlines()
        wanted = {normal(line.removeprefix("address ")) for line in lines if line.startswith("address ")} | {
            normal(n) for n in self.names
        }
        if "absent" in lines:
            return {"names": None, "wanted": sorted(wanted)}
        named = {normal(name) for name in re.findall(r"(?:DNS|IP Address):([^,\s]+)", output)}
        subject, issuer = (
            next((line.split("=", 1)[1] for line in lines if line.startswith(word)), word) for word in ("subject=", "issuer=")
        )
        return {
            "names": "as wanted" if named == wanted else " ".join(sorted(named)),
            "issuer": "itself" if subject.strip() == issuer.strip() else issuer.strip(),
            "lasts": f"more than {RENEW} days" if "lasts" in lines else f"{RENEW} days or less",
            "key": "fits" if "fits" in lines else "does not fit",
            "mode": next((line.removeprefix("mode ") for line in lines if line.startswith("mode ")), None),
            "wanted": sorted(wanted),
        }

    def want(self):
        return {"names": "as wanted", "issuer": "itself", "lasts": f"more than {RENEW} days", "key": "fits", "mode": "root:600"}

    def diff(self, seen):
        names = " ".join(seen["wanted"])
        return super().diff(seen).replace("+names: as wanted", f"+names: {names}").replace("names: None\n", "")

    def apply(self, seen):
        names = ",".join(("IP:" if is_address(name) else "DNS:") + name for name in seen["wanted"])
        return sh(
            """
            dir=$(mktemp -d {}); trap 'rm -rf "$dir"' EXIT
            umask 077
            openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -sha256 -days {} -subj {} \\
                -addext subjectAltName={} -addext extendedKeyUsage=serverAuth -addext keyUsage=critical,digitalSignature \\
                -addext basicConstraints=critical,CA:FALSE -keyout "$dir/key" -out "$dir/cert" 2>"$dir/said" || { cat "$dir/said" >&2; exit 1; }
            chmod 0644 "$dir/cert"
            mv -fT "$dir/key" {}; mv -fT "$dir/cert" {}
            """,
            *(f"{self.path.rpartition('/')[0]}/.new.XXXXXX", self.days, f"/CN={self.names[0][:64]}", names, self.key, self.path),
        )


def is_address(name):
    """Return whether *name* is an IP address."""
    return bool(re.fullmatch(r"[\d.]+", name)) or ":" in name


def normal(name):
    """Return *name* so that two spellings of one name or address are equal."""
    import ipaddress

    return str(ipaddress.ip_address(name)) if is_address(name) else name.lower()

"""What certbot keeps of a certificate: whether it renews it, and that it has none."""

from dataclasses import dataclass

from ..kit.quote import script, sh
from ..kit.resources.base import Resource


@dataclass(frozen=True)
class CertbotAutorenew(Resource):
    """certbot's timer renews a certificate, or leaves it alone.

    A certificate that certbot does not have is as desired.

    Args:
        name: certbot's name of the certificate (its lineage).
        by_timer: whether the timer renews it.
    """

    name: str
    by_timer: bool = True

    undo = "the preset of the previous jupyter.access"

    def probe(self):
        return sh("sed -n 's/^autorenew *= *//p' {} 2>/dev/null || echo none", self.conf)

    @property
    def conf(self):
        """certbot's own settings of this certificate."""
        return f"/etc/letsencrypt/renewal/{self.name}.conf"

    def parse(self, output):
        value = output.strip().lower()
        if value == "none":
            return self.desired()
        return {"by timer": "no" if value == "false" else "yes"}

    def desired(self):
        return {"by timer": "yes" if self.by_timer else "no"}

    def apply(self, actual):
        add = "" if self.by_timer else r"s/^\[renewalparams\]$/&\nautorenew = False/"
        return sh("sed -i -e '/^autorenew *=/d' -e {} {}", add, self.conf)


@dataclass(frozen=True)
class CertbotCertAbsent(Resource):
    """certbot has no such certificate and renews none.

    Args:
        name: certbot's name of the certificate (its lineage).
    """

    name: str

    undo = "issue-cert --issuer letsencrypt"

    def probe(self):
        return script(
            """
            ls -d "/etc/letsencrypt/renewal/$name.conf" "/etc/letsencrypt/live/$name" 2>/dev/null
            :
            """,
            name=self.name,
        )

    def parse(self, output):
        return {"certificate": "there" if output.strip() else "none"}

    def desired(self):
        return {"certificate": "none"}

    def notice(self, output=""):
        return (
            f"The certificate {self.name} is deleted. Browsers that visited the server remember "
            "for up to two years that it has a trusted certificate (HSTS) and refuse a "
            "self-signed one without a way to continue; get a trusted one again with issue-cert."
        )

    def apply(self, actual):
        return script(
            """
            certbot delete -n --cert-name "$name" >/dev/null 2>&1 || :
            cd /etc/letsencrypt
            rm -rf "renewal/$name.conf" "live/$name" "archive/$name"
            """,
            name=self.name,
        )

"""What certbot keeps of a certificate: whether it renews it, and that there is none."""

from dataclasses import dataclass

from ..kit.quote import sh
from ..kit.resources.base import Resource


@dataclass(frozen=True)
class Renewal(Resource):
    """certbot's timer renews its certificate *name*, or not; where there is none, nothing is to be renewed."""

    name: str
    by_timer: bool = True

    undo = "the preset of the way in that was chosen before sets it again"

    def probe(self):
        return sh("sed -n 's/^autorenew *= *//p' {} 2>/dev/null || echo none", self.conf)

    @property
    def conf(self):
        """certbot's own settings of this certificate."""
        return f"/etc/letsencrypt/renewal/{self.name}.conf"

    def parse(self, output):
        told = output.strip().lower()
        return {
            "by timer": self.desired()["by timer"]
            if told == "none"
            else "no"
            if told == "false"
            else "yes"
        }

    def desired(self):
        return {"by timer": "yes" if self.by_timer else "no"}

    def apply(self, actual):
        off = "" if self.by_timer else r"s/^\[renewalparams\]$/&\nautorenew = False/"
        return sh("sed -i -e '/^autorenew *=/d' -e {} {}", off, self.conf)


@dataclass(frozen=True)
class CertbotCertAbsent(Resource):
    """certbot has no certificate *name* any more, and renews none."""

    name: str

    undo = "issue-cert --issuer letsencrypt"

    def probe(self):
        return sh(
            "ls -d /etc/letsencrypt/renewal/{}.conf /etc/letsencrypt/live/{} 2>/dev/null; :",
            self.name,
            self.name,
        )

    def parse(self, output):
        return {"certificate": "there" if output.strip() else "none"}

    def desired(self):
        return {"certificate": "none"}

    def apply(self, actual):
        return sh(
            """
            certbot delete -n --cert-name {} >/dev/null 2>&1 || :
            rm -rf /etc/letsencrypt/renewal/{}.conf /etc/letsencrypt/live/{} /etc/letsencrypt/archive/{}
            """,
            *[self.name] * 4,
        )

"""Apache's modules, sites and configurations, as a2enmod, a2ensite and a2enconf switch them on."""

from dataclasses import dataclass
from typing import ClassVar

from ..quote import Shell, sh
from .base import Resource
from .certificate import is_address

CONFIGTEST = Shell("apache2ctl configtest")


@dataclass(frozen=True)
class _Switched(Resource):
    """Something below /etc/apache2 that a link in an ``-enabled`` folder switches on."""

    name: str

    folder: ClassVar[str]
    suffix: ClassVar[str] = ".conf"
    enable: ClassVar[str]
    disable: ClassVar[str]

    def probe(self):
        return sh(
            """
            link={} file={}
            if [ ! -e "$link" ]; then echo disabled
            elif [ "$(readlink -f "$link")" = "$(readlink -f "$file")" ]; then echo enabled
            else echo 'something else'; fi
            """,
            *(f"/etc/apache2/{self.folder}-{kind}/{self.name}{self.suffix}" for kind in ("enabled", "available")),
        )

    def want(self):
        return {"state": "enabled"}

    def refuse(self, seen):
        if seen["state"] != "something else":
            return None
        link = f"/etc/apache2/{self.folder}-enabled/{self.name}{self.suffix}"
        return f"{link} is something else, and not ours; move it away, then run this again"

    def apply(self, seen):
        # An enabled thing that Apache refuses would keep it from starting at the next boot.
        return sh("{} -q {}\n{} || { {} -q -f {}; exit 1; }", self.enable, self.name, CONFIGTEST, self.disable, self.name)


class ApacheModule(_Switched):
    """A module that is enabled."""

    folder, suffix, enable, disable = "mods", ".load", "a2enmod", "a2dismod"

    def parse(self, output):
        # Whose file loads it does not matter.
        return {"state": "disabled" if output.strip() == "disabled" else "enabled"}


class ApacheSite(_Switched):
    """A site that is enabled."""

    folder, enable, disable = "sites", "a2ensite", "a2dissite"


class ApacheConf(_Switched):
    """A configuration that is enabled."""

    folder, enable, disable = "conf", "a2enconf", "a2disconf"


@dataclass(frozen=True)
class ServedCertificate(Resource):
    """Where Apache serves TLS under *name*, it serves the certificate at *path*, and not the one that it read before."""

    name: str
    path: str

    def probe(self):
        return sh(
            """
            first() { sed -n '/^-----BEGIN CERTIFICATE/,/^-----END/p; /^-----END CERTIFICATE/q'; }
            # Another program there may never answer.
            timeout 3 openssl s_client -connect 127.0.0.1:443 {} </dev/null 2>/dev/null | first
            printf '\\000'
            [ ! -f {} ] || first <{}
            """,
            Shell("-noservername") if is_address(self.name) else sh("-servername {}", self.name),
            self.path,
            self.path,
        )

    def parse(self, output):
        served, _, installed = output.partition("\0")
        return {"state": "another" if served and installed and served != installed else "the installed one"}

    def want(self):
        return {"state": "the installed one"}

    def apply(self, seen):
        return sh("{}\nsystemctl reload apache2\nsleep 0.5", CONFIGTEST)

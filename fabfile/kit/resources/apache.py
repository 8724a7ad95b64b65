"""Apache's modules, sites and configurations, as a2enmod, a2ensite and a2enconf switch them on."""

from dataclasses import dataclass
from typing import ClassVar

from ..quote import Shell, sh
from .base import Resource

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

"""Apache's modules, sites and configurations, as a2enmod, a2ensite and a2enconf switch them on."""

import re
from dataclasses import dataclass
from typing import ClassVar

from ..kit.quote import Shell, sh
from ..kit.resources.base import Resource, stat_fields
from ..kit.resources.file import MARK, File
from ..kit.resources.service import Service
from .tls import is_address

CONFIGTEST = Shell("apache2ctl configtest")


@dataclass(frozen=True)
class _Switched(Resource):
    """Something below /etc/apache2 that a link in an ``-enabled`` folder switches on."""

    name: str

    folder: ClassVar[str]
    suffix: ClassVar[str] = ".conf"
    enable: ClassVar[str]
    disable: ClassVar[str]

    undo = "{0.disable} {0.name}"

    def probe(self):
        return sh(
            """
            link={} file={}
            if [ ! -e "$link" ]; then echo disabled
            elif [ "$(readlink -f "$link")" = "$(readlink -f "$file")" ]; then echo enabled
            else echo 'something else'; fi
            """,
            *(
                f"/etc/apache2/{self.folder}-{kind}/{self.name}{self.suffix}"
                for kind in ("enabled", "available")
            ),
        )

    def desired(self):
        return {"state": "enabled"}

    def conflict(self, actual):
        if actual["state"] != "something else":
            return None
        link = f"/etc/apache2/{self.folder}-enabled/{self.name}{self.suffix}"
        return f"{link} is something else, and not ours; move it away, then run this again"

    def apply(self, actual):
        # An enabled thing that Apache refuses would keep it from starting at the next boot.
        return sh(
            "{} -q {}\n{} || { {} -q -f {}; exit 1; }",
            self.enable,
            self.name,
            CONFIGTEST,
            self.disable,
            self.name,
        )


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

    undo = "nothing is left: it reloads what is served"

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
        return {
            "state": "another"
            if served and installed and served != installed
            else "the installed one"
        }

    def desired(self):
        return {"state": "the installed one"}

    def apply(self, actual):
        return sh("{}\nsystemctl reload apache2\nsleep 0.5", CONFIGTEST)


@dataclass(frozen=True)
class ApacheInclude(Resource):
    """Of all sites, *site* alone (none where it is empty) includes the files *pattern*, in its virtual host that has TLS.

    A site that is ours does not count. It is one line in somebody else's file; the rest of that stays as it is.
    """

    site: str
    pattern: str

    undo = "configure-apache, with apache.site as it was"

    @property
    def label(self):
        return f"ApacheInclude {self.site or 'nowhere'}"

    @property
    def line(self):
        """The line that we put there, and take away."""
        return f"IncludeOptional {self.pattern}"

    def probe(self):
        return sh(
            """
            cd /etc/apache2 2>/dev/null || exit 0
            for f in sites-enabled/* sites-available/*; do
                path=$(readlink -f "$f")
                [ -f "$path" ] && ! head -n 1 "$path" | grep -qF {} || continue
                case "$f" in */{}.conf) ;; *) grep -qF {} "$path" || continue;; esac
                printf '%s\\000' "$f" "$path" "$(stat -c '%U %G %a' "$path")"
                cat "$path"
                printf '\\000'
            done
            """,
            MARK,
            self.site,
            self.line,
        )

    def parse(self, output):
        parts = output.split("\0")[:-1]
        files, enabled = {}, "no"
        for name, path, stat, text in zip(*(parts[n::4] for n in range(4)), strict=True):
            if name == f"sites-enabled/{self.site}.conf":
                enabled = path
            files[path] = (stat, text)
        is_in = [path for path, (_, text) in files.items() if text != self.without(text)]
        wanted = [enabled] if self.site else []
        state = "as wanted" if is_in == wanted else f"included in {is_in or 'none'}"
        return {"files": files, "enabled": enabled, "wanted": wanted, "state": state}

    def without(self, text):
        """Return *text* without our line."""
        return "".join(one for one in text.splitlines(keepends=True) if one.strip() != self.line)

    def within(self, text):
        """Return *text* with our line at the end of each virtual host that has TLS."""
        lines, block = [], []
        for one in self.without(text).splitlines(keepends=True):
            word = one.strip().lower()
            block = [] if word.startswith("<virtualhost") else [*block, word]
            if word.startswith("</virtualhost") and any(
                re.match(r"sslengine\s+on\b", inner) for inner in block
            ):
                lines.append(f"    {self.line}\n")
            lines.append(one)
        return "".join(lines)

    def desired(self):
        return {"state": "as wanted"}

    def conflict(self, actual):
        if not self.site:
            return None
        if actual["enabled"] == "no":
            return f"there is no enabled site {self.site}; a2ensite it, or leave apache.site empty for a site of its own"
        text = actual["files"][actual["enabled"]][1]
        if self.within(text) == self.without(text):
            return f"{actual['enabled']} has no virtual host with SSLEngine on; passwords would go in the clear"
        return None

    def apply(self, actual):
        steps = []
        for path, (stat, text) in actual["files"].items():
            new = self.within(text) if path in actual["wanted"] else self.without(text)
            if new != text:
                about = stat_fields(stat)
                file = File(
                    path, new, about["owner"], about["group"], about["mode"], check=CONFIGTEST
                )
                steps.append(sh("(\n{}\n)", Shell(file.apply({}))))
        return "\n".join(steps)


# Prints what Apache serves beside what Debian's packages bring and what is ours.
SERVED_FOR_OTHERS = sh(
    """
    cd /etc/apache2 2>/dev/null && {
        own='charset localized-error-pages other-vhosts-access-log security serve-cgi-bin javascript-common'
        for f in sites-enabled/* conf-enabled/*; do
            name=${f##*/}; name=${name%.conf}
            [ -e "$f" ] && ! head -n 1 "$f" | grep -qF {} || continue
            case "$f $own " in conf-*" $name "*|sites-enabled/000-default.conf*) ;; *) echo "$f";; esac
        done
        if [ -e sites-enabled/000-default.conf ] && cd /var/www/html 2>/dev/null; then
            cmp -s index.html /usr/share/apache2/default-site/index.html || ls "$PWD/index.html" 2>/dev/null
            find "$PWD" ! -type d ! -path '*/html/index.html' ! -path '*/html/.well-known/acme-challenge/*' -print -quit
        fi
    }
    """,
    MARK,
)


@dataclass(frozen=True)
class ApacheOff(Resource):
    """Apache does not run, now and at boot, unless it serves more than what Debian's packages bring and what is ours."""

    undo = "systemctl enable --now apache2"

    @property
    def label(self):
        return "ApacheOff"

    def probe(self):
        return sh(
            """
            [ -e /etc/apache2 ] || { echo off; exit 0; }
            {}
            systemctl show -P ActiveState -P UnitFileState apache2.service | grep -qxE 'active|enabled' && echo on || echo off
            """,
            SERVED_FOR_OTHERS,
        )

    def parse(self, output):
        *others, state = output.split("\n")[:-1]
        return {"state": "off" if state == "off" or others else "on"}

    def desired(self):
        return {"state": "off"}

    def apply(self, actual):
        return "systemctl disable -q --now apache2"

    def supersedes(self, actual):
        return (Service("apache2").reload.name,)

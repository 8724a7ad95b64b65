"""Apache's modules, sites and configurations, and the certificate that Apache serves."""

import re
from dataclasses import dataclass
from typing import ClassVar

from ..kit.quote import Shell, script
from ..kit.resources.base import Resource, stat_fields
from ..kit.resources.file import MARK, File
from ..kit.resources.service import Service
from .tls import is_address

CONFIGTEST = Shell("apache2ctl configtest")

ENABLED, DISABLED, FOREIGN = "enabled", "disabled", "something else"


@dataclass(frozen=True)
class EnabledByLink(Resource):
    """Something below /etc/apache2 that a link in an ``-enabled`` folder enables.

    Args:
        name: the file's name without its suffix.
    """

    name: str

    folder: ClassVar[str]
    suffix: ClassVar[str] = ".conf"
    enable: ClassVar[str]
    disable: ClassVar[str]

    undo = "{0.disable} {0.name}"

    @property
    def link(self):
        """The link that enables it."""
        return f"/etc/apache2/{self.folder}-enabled/{self.name}{self.suffix}"

    @property
    def file(self):
        """The file to which the link leads."""
        return f"/etc/apache2/{self.folder}-available/{self.name}{self.suffix}"

    def probe(self):
        return script(
            """
            if [ ! -e "$link" ]; then echo disabled
            elif [ "$(readlink -f "$link")" = "$(readlink -f "$file")" ]; then echo enabled
            else echo 'something else'; fi
            """,
            link=self.link,
            file=self.file,
        )

    def desired(self):
        return {"state": ENABLED}

    def conflict(self, actual):
        if actual["state"] != FOREIGN:
            return None
        return f"{self.link} is something else, and not ours; move it away, then run this again"

    def apply(self, actual):
        # Apache would not start at the next boot with something enabled that it rejects.
        return script(
            """
            "$enable" -q "$name"
            configtest || { "$disable" -q -f "$name"; exit 1; }
            """,
            enable=self.enable,
            disable=self.disable,
            name=self.name,
            configtest=CONFIGTEST,
        )


class ApacheModule(EnabledByLink):
    """An enabled Apache module.

    Args:
        name: the module, such as ``proxy_http``.
    """

    folder, suffix, enable, disable = "mods", ".load", "a2enmod", "a2dismod"

    def parse(self, output):
        # A module counts as enabled whichever file loads it.
        return {"state": DISABLED if output.strip() == DISABLED else ENABLED}


class ApacheSite(EnabledByLink):
    """An enabled Apache site.

    Args:
        name: the site's name, as for ``a2ensite``.
    """

    folder, enable, disable = "sites", "a2ensite", "a2dissite"


class ApacheConf(EnabledByLink):
    """An enabled Apache configuration snippet.

    Args:
        name: the snippet's name, as for ``a2enconf``.
    """

    folder, enable, disable = "conf", "a2enconf", "a2disconf"


@dataclass(frozen=True)
class ServedCertificate(Resource):
    """Apache serves the certificate that is installed, not one that it loaded earlier.

    Args:
        name: the server name, sent by SNI unless it is an IP address.
        path: the installed certificate, PEM.
    """

    name: str
    path: str

    undo = "not needed: it only reloads Apache"

    def probe(self):
        return script(
            """
            first() {
                sed -n '/^-----BEGIN CERTIFICATE/,/^-----END/p; /^-----END CERTIFICATE/q'
            }
            if [ -n "$name" ]; then set -- -servername "$name"; else set -- -noservername; fi
            # Another program on this port may accept the connection and never answer.
            timeout 3 openssl s_client -connect 127.0.0.1:443 "$@" </dev/null 2>/dev/null | first
            printf '\\000'
            [ ! -f "$path" ] || first <"$path"
            """,
            name="" if is_address(self.name) else self.name,
            path=self.path,
        )

    def parse(self, output):
        served, _, installed = output.partition("\0")
        outdated = served and installed and served != installed
        return {"state": "another" if outdated else "the installed one"}

    def desired(self):
        return {"state": "the installed one"}

    def apply(self, actual):
        return script(
            "configtest\nsystemctl reload apache2\nsleep 0.5",
            configtest=CONFIGTEST,
        )


@dataclass(frozen=True)
class ApacheInclude(Resource):
    """One site, and no other, includes our files in its virtual hosts with TLS.

    This is one line in another's file; the rest of that file stays as it is. Sites that we wrote
    do not count.

    Args:
        site: the site that includes the files; empty if no site does.
        pattern: the files to include, as for Apache's ``IncludeOptional``.
    """

    site: str
    pattern: str

    undo = "configure-apache, with apache.site as it was"

    @property
    def label(self):
        return f"ApacheInclude {self.site or 'nowhere'}"

    @property
    def line(self):
        """The line that we add and remove."""
        return f"IncludeOptional {self.pattern}"

    def probe(self):
        return script(
            """
            cd /etc/apache2 2>/dev/null || exit 0
            for file in sites-enabled/* sites-available/*; do
                path=$(readlink -f "$file")
                [ -f "$path" ] && ! head -n 1 "$path" | grep -qF "$mark" || continue
                case "$file" in
                    */"$site".conf) ;;
                    *) grep -qF "$line" "$path" || continue ;;
                esac
                printf '%s\\000' "$file" "$path" "$(stat -c '%U %G %a' "$path")"
                cat "$path"
                printf '\\000'
            done
            """,
            mark=MARK,
            site=self.site,
            line=self.line,
        )

    def parse(self, output):
        parts = output.split("\0")[:-1]
        files, enabled = {}, "no"
        for name, path, stat, text in zip(*(parts[n::4] for n in range(4)), strict=True):
            if name == f"sites-enabled/{self.site}.conf":
                enabled = path
            files[path] = (stat, text)
        including = [path for path, (_, text) in files.items() if text != self.without(text)]
        wanted = [enabled] if self.site else []
        state = "as wanted" if including == wanted else f"included in {including or 'none'}"
        return {"files": files, "enabled": enabled, "wanted": wanted, "state": state}

    def without(self, text):
        """Return *text* without our line."""
        lines = text.splitlines(keepends=True)
        return "".join(line for line in lines if line.strip() != self.line)

    def within(self, text):
        """Return *text* with our line at the end of each virtual host with TLS."""
        lines, block = [], []
        for line in self.without(text).splitlines(keepends=True):
            directive = line.strip().lower()
            block = [] if directive.startswith("<virtualhost") else [*block, directive]
            has_tls = any(re.match(r"sslengine\s+on\b", inner) for inner in block)
            if directive.startswith("</virtualhost") and has_tls:
                lines.append(f"    {self.line}\n")
            lines.append(line)
        return "".join(lines)

    def desired(self):
        return {"state": "as wanted"}

    def conflict(self, actual):
        if not self.site:
            return None
        if actual["enabled"] == "no":
            return (
                f"there is no enabled site {self.site}; enable it with a2ensite, or leave "
                "apache.site empty to get a site of its own"
            )
        text = actual["files"][actual["enabled"]][1]
        if self.within(text) == self.without(text):
            return (
                f"{actual['enabled']} has no virtual host with SSLEngine on; "
                "passwords would be sent in the clear"
            )
        return None

    def apply(self, actual):
        steps = []
        for path, (stat, text) in actual["files"].items():
            new = self.within(text) if path in actual["wanted"] else self.without(text)
            if new != text:
                steps.append(script("(change)", change=rewritten(path, new, stat)))
        return "\n".join(steps)


def rewritten(path, content, stat):
    """Return shell text that replaces the file *path*, whose owner, group and mode stay.

    Args:
        path: an existing Apache configuration file.
        content: its new text; Apache must accept it.
        stat: the output of ``stat -c '%U %G %a'``.
    """
    fields = stat_fields(stat)
    file = File(path, content, fields["owner"], fields["group"], fields["mode"], check=CONFIGTEST)
    return Shell(file.apply({}))


# Prints the sites, configurations and pages that are neither Debian's own nor ours.
SERVED_FOR_OTHERS = script(
    """
    cd /etc/apache2 2>/dev/null && {
        debian='charset localized-error-pages other-vhosts-access-log security'
        debian="$debian serve-cgi-bin javascript-common"
        for file in sites-enabled/* conf-enabled/*; do
            name=${file##*/}; name=${name%.conf}
            [ -e "$file" ] && ! head -n 1 "$file" | grep -qF "$mark" || continue
            case "$file $debian " in
                conf-*" $name "*|sites-enabled/000-default.conf*) ;;
                *) echo "$file" ;;
            esac
        done
        if [ -e sites-enabled/000-default.conf ] && cd /var/www/html 2>/dev/null; then
            cmp -s index.html /usr/share/apache2/default-site/index.html ||
                ls "$PWD/index.html" 2>/dev/null
            find "$PWD" ! -type d ! -path '*/html/index.html' \\
                ! -path '*/html/.well-known/acme-challenge/*' -print -quit
        fi
    }
    """,
    mark=MARK,
)


@dataclass(frozen=True)
class ApacheDisabled(Resource):
    """Apache is stopped and disabled, unless it also serves what is not ours."""

    undo = "systemctl enable --now apache2"

    @property
    def label(self):
        return "ApacheDisabled"

    def probe(self):
        return script(
            """
            [ -e /etc/apache2 ] || { echo off; exit 0; }
            served_for_others || :
            systemctl show -P ActiveState -P UnitFileState apache2.service |
                grep -qxE 'active|enabled' && echo on || echo off
            """,
            served_for_others=SERVED_FOR_OTHERS,
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

"""Apache in front of Jupyter."""

import re

from ..kit.quote import sh
from ..kit.resources import Check, Directory, File, Package
from ..resources import ApacheConf, ApacheInclude, ApacheModule, ApacheSite, ServedCertificate
from ..resources.apache import CONFIGTEST
from ..settings import setup
from ..settings.certificate import CERTIFICATE, KEY, pair
from ..settings.derived import apache, base_url, names
from ..settings.templates import render
from .preflight import ports_are_free

PARTS = "/etc/apache2/remote-jupyter"  # one file for each Jupyter of the server


SITE, TLS = (
    "/etc/apache2/sites-available/jupyter.conf",
    "/etc/apache2/conf-available/zz-remote-jupyter-tls.conf",
)


ACME_SITE = "/etc/apache2/sites-available/remote-jupyter-acme.conf"


@setup()
def install_apache(c, s):
    """Run Apache."""
    yield from ports_are_free(s)
    yield Package("apache2", lock_timeout=s.apt.lock_timeout)
    yield apache


@setup(modules="apache.modules")
def enable_apache_modules(c, s):
    """Enable the modules that the site needs."""
    yield Package("apache2", lock_timeout=s.apt.lock_timeout)
    for module in s.apache.modules:
        yield ApacheModule(module, notify=apache.reload)


@setup(
    domain="tls.domains",
    port="jupyter.port",
    base_url="jupyter.base_url",
    site="apache.site",
    name="jupyter.name",
)
def configure_apache(c, s):
    """Serve Jupyter with TLS and websockets.

    It is below its path, and plain HTTP leads there.
    """
    mine = names(c, s)
    part = render(
        "apache-jupyter.inc.j2",
        name=s.jupyter.name,
        base=base_url(s),
        port=s.jupyter.port,
        hosts=hosts_pattern(mine) if s.apache.site else "",
    )
    yield Check(
        f"path {base_url(s) or '/'}",
        sh(OTHER_PATHS, PARTS, f"{PARTS}/{s.jupyter.name}.inc"),
        path_judge(base_url(s)),
    )
    yield from enable_apache_modules.body(c, s)
    yield Directory(PARTS)
    yield File(f"{PARTS}/{s.jupyter.name}.inc", part, check=CONFIGTEST, notify=apache.reload)
    if s.apache.site:
        yield ApacheInclude(s.apache.site, f"{PARTS}/*.inc", notify=apache.reload)
        return
    yield from pair(c, s)
    yield File(TLS, render("apache-tls.conf.j2"), notify=apache.reload)
    yield ApacheConf("zz-remote-jupyter-tls", notify=apache.reload)
    own = {"names": mine, "hosts": hosts_pattern(mine), "parts": f"{PARTS}/*.inc"}
    site = render(
        "apache-site.conf.j2", **own, certificate=CERTIFICATE, key=KEY, profile=s.tls.profile
    )
    yield File(SITE, site, check=CONFIGTEST, notify=apache.reload)
    yield ApacheSite("jupyter", notify=apache.reload)
    yield ServedCertificate(mine[0], CERTIFICATE)


def answer_challenges(c, s):
    """Yield what makes port 80 answer an ACME server: the site, or with `direct` access one for this alone."""
    if s.jupyter.access == "apache":
        yield from configure_apache.body(c, s)
        return
    yield from install_apache.body(c, s)
    yield ApacheModule("rewrite", notify=apache.reload)
    site = render("acme-site.conf.j2", names=names(c, s), port=s.jupyter.port)
    yield File(ACME_SITE, site, check=CONFIGTEST, notify=apache.reload)
    yield ApacheSite("remote-jupyter-acme", notify=apache.reload)


def hosts_pattern(hosts):
    """Return a regular expression for the Host headers that mean one of *hosts*."""
    return "|".join(re.escape(f"[{host}]" if ":" in host else host) for host in hosts)


OTHER_PATHS = """
    for f in {}/*.inc; do [ "$f" = {} ] || sed -n "s#^ProxyPass \\([^ ]*\\) .*#\\1 $f#p" "$f" 2>/dev/null; done; :
"""


def path_judge(base):
    """Return a judge of the other Jupyters' paths: none may lie below *base*, nor the other way round."""

    def judge(output):
        for line in output.splitlines():
            other, _, file = line.partition(" ")
            if f"{base}/".startswith(f"{other.rstrip('/')}/") or f"{other.rstrip('/')}/".startswith(
                f"{base}/"
            ):
                name = file.rpartition("/")[2].removesuffix(".inc")
                return (
                    f"the Jupyter {name} has {other}; give this one a path beside it: jupyter.base_url",
                    "",
                )
        return "", ""

    return judge

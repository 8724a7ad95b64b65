"""Serve Jupyter with Apache."""

import re
from functools import cache

from ..kit.quote import script
from ..kit.resources import Check, Directory, File, Package
from ..kit.resources.check import fail, ok
from ..resources import ApacheConf, ApacheInclude, ApacheModule, ApacheSite, ServedCertificate
from ..resources.apache import CONFIGTEST
from ..settings import setup
from ..settings.certificate import CERTIFICATE, KEY, served_certificate
from ..settings.derived import apache, base_url, names
from ..settings.templates import render
from .preflight import ports_are_free

PARTS = "/etc/apache2/remote-jupyter"  # one file for each Jupyter of the server
SITE = "/etc/apache2/sites-available/jupyter.conf"
TLS = "/etc/apache2/conf-available/zz-remote-jupyter-tls.conf"
ACME_SITE = "/etc/apache2/sites-available/remote-jupyter-acme.conf"

# Prints the path and the file of each other Jupyter.
OTHER_PATHS = r"""
for part in "$folder"/*.inc; do
    [ "$part" = "$own" ] || sed -n "s#^ProxyPass \([^ ]*\) .*#\1 $part#p" "$part" 2>/dev/null
done; :
"""


@setup()
def install_apache(c, s):
    """Install and start Apache."""
    yield from ports_are_free(s)
    yield Package("apache2", lock_timeout=s.apt.lock_timeout)
    yield apache


@setup("apache.modules")
def enable_apache_modules(c, s):
    """Enable the Apache modules that Jupyter's site needs."""
    yield Package("apache2", lock_timeout=s.apt.lock_timeout)
    for module in s.apache.modules:
        yield ApacheModule(module, notify=apache.reload)


@setup(
    "tls.domains",
    "jupyter.port",
    "jupyter.base_url",
    "apache.site",
    "jupyter.name",
)
def configure_apache(c, s):
    """Serve Jupyter through Apache with TLS.

    Plain HTTP redirects to HTTPS.
    """
    part = f"{PARTS}/{s.jupyter.name}.inc"
    question = script(OTHER_PATHS, folder=PARTS, own=part)
    yield Check(f"path {base_url(s) or '/'}", question, path_judge(base_url(s)))
    yield from enable_apache_modules.body(c, s)
    yield Directory(PARTS)
    yield File(part, jupyter_part(c, s), check=CONFIGTEST, notify=apache.reload)
    if s.apache.site:
        yield ApacheInclude(s.apache.site, f"{PARTS}/*.inc", notify=apache.reload)
    else:
        yield from own_site(c, s)


def own_site(c, s):
    """Yield the virtual hosts of our own, with their certificate."""
    yield from served_certificate(c, s)
    yield File(TLS, render("apache-tls.conf.j2"), notify=apache.reload)
    yield ApacheConf("zz-remote-jupyter-tls", notify=apache.reload)
    site = render(
        "apache-site.conf.j2",
        names=names(c, s),
        hosts=hosts_pattern(names(c, s)),
        parts=f"{PARTS}/*.inc",
        certificate=CERTIFICATE,
        key=KEY,
        profile=s.tls.profile,
        trusted=s.tls.issuer != "self-signed" and not s.tls.staging,
    )
    yield File(SITE, site, check=CONFIGTEST, notify=apache.reload)
    yield ApacheSite("jupyter", notify=apache.reload)
    yield ServedCertificate(names(c, s)[0], CERTIFICATE)


def jupyter_part(c, s):
    """Return the part of a virtual host that leads to this Jupyter."""
    return render(
        "apache-jupyter.inc.j2",
        name=s.jupyter.name,
        base=base_url(s),
        port=s.jupyter.port,
        hosts=hosts_pattern(names(c, s)) if s.apache.site else "",
    )


def answer_challenges(c, s):
    """Yield what lets port 80 answer an ACME server.

    That is the site, or with `direct` access a site for this alone.
    """
    if s.jupyter.access == "apache":
        yield from configure_apache.body(c, s)
        return
    yield from install_apache.body(c, s)
    yield ApacheModule("rewrite", notify=apache.reload)
    site = render("acme-site.conf.j2", names=names(c, s), port=s.jupyter.port)
    yield File(ACME_SITE, site, check=CONFIGTEST, notify=apache.reload)
    yield ApacheSite("remote-jupyter-acme", notify=apache.reload)


def hosts_pattern(hosts):
    """Return a regular expression for the Host headers that name one of *hosts*."""
    return "|".join(re.escape(f"[{host}]" if ":" in host else host) for host in hosts)


@cache
def path_judge(base):
    """Return a judge of the other Jupyters' paths; none may contain *base* or lie below it."""

    def judge(output):
        for line in output.splitlines():
            other, _, file = line.partition(" ")
            paths = f"{base}/", f"{other.rstrip('/')}/"
            if paths[0].startswith(paths[1]) or paths[1].startswith(paths[0]):
                name = file.rpartition("/")[2].removesuffix(".inc")
                return fail(
                    f"the Jupyter {name} already has the path {other}; choose a jupyter.base_url"
                    " that does not overlap with it"
                )
        return ok()

    return judge

"""Apache in front of Jupyter."""

import re

from .certs import CERTIFICATE, KEY, issue_cert
from .kit.resources import ApacheConf, ApacheModule, ApacheSite, File, Package, ServedCertificate
from .kit.resources.apache import CONFIGTEST
from .options import apache, base_url, names, render, setup


@setup()
def install_apache(c, s):
    """Run Apache."""
    yield Package("apache2", lock_timeout=s.apt.lock_timeout)
    yield apache


@setup(modules="apache.modules")
def enable_apache_modules(c, s):
    """Enable the modules that the site needs."""
    yield Package("apache2", lock_timeout=s.apt.lock_timeout)
    for module in s.apache.modules:
        yield ApacheModule(module, notify=apache.reload)


@setup(domain="tls.domain", port="jupyter.port", base_url="jupyter.base_url")
def configure_apache(c, s):
    """Serve Jupyter with TLS and websockets below its path, and lead plain HTTP there."""
    site = render(
        "apache-site.conf.j2",
        names=names(c, s),
        hosts=hosts_pattern(names(c, s)),
        base=base_url(s),
        port=s.jupyter.port,
        certificate=CERTIFICATE,
        key=KEY,
    )
    yield from enable_apache_modules.body(c, s)
    yield from issue_cert.body(c, s)
    yield File("/etc/apache2/conf-available/zz-remote-jupyter-tls.conf", render("apache-tls.conf.j2"), notify=apache.reload)
    yield ApacheConf("zz-remote-jupyter-tls", notify=apache.reload)
    yield File("/etc/apache2/sites-available/jupyter.conf", site, check=CONFIGTEST, notify=apache.reload)
    yield ApacheSite("jupyter", notify=apache.reload)
    yield ServedCertificate(names(c, s)[0], CERTIFICATE)


def hosts_pattern(hosts):
    """Return a regular expression for the Host headers that mean one of *hosts*."""
    return "|".join(re.escape(f"[{host}]" if ":" in host else host) for host in hosts)

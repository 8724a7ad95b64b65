"""The firewall."""

from .kit.resources import Package, UfwEnabled, UfwOnly, UfwRule
from .options import setup

WEB = (80, 443)


@setup(allow="firewall.allow")
def firewall(c, s):
    """Let in SSH, what Jupyter needs and what you name; rules of others stay."""
    if not s.firewall.enabled:
        return
    yield Package("ufw", lock_timeout=s.apt.lock_timeout)
    yield UfwRule(0)
    for port in (*WEB, *s.firewall.allow):
        yield UfwRule(port)
    yield UfwOnly((*WEB, *s.firewall.allow))
    yield UfwEnabled()

"""The firewall."""

from ..kit.resources import Package
from ..kit.rollback import Rollback
from ..resources import UfwEnabled, UfwOnly, UfwRule
from ..resources.apache import SERVED_FOR_OTHERS
from ..settings import setup
from ..settings.derived import open_ports
from .users import proof

FILES = ("/etc/ufw/user.rules", "/etc/ufw/user6.rules", "/etc/ufw/ufw.conf", "/etc/default/ufw")


# What was live decides, and not what ufw.conf says: a firewall that was stopped may have no rule for SSH.
NOTE = "if iptables -nL ufw-user-input >/dev/null 2>&1; then : >live; else iptables-save >v4 && ip6tables-save >v6; fi"


BACK = """
if [ -e live ]; then ufw --force enable
else
    PATH=$PATH:/lib/ufw:/usr/lib/ufw ufw-init force-stop
    iptables-restore <v4 && ip6tables-restore <v6
fi
"""


@setup(allow="firewall.allow")
def firewall(c, s):
    """Let in SSH, Jupyter and what you name, no more.

    Rules that others made stay.
    """
    if not s.firewall.enabled:
        return
    yield Package("ufw", lock_timeout=s.apt.lock_timeout)
    rollback = Rollback("firewall", FILES, BACK, s.ssh.rollback_timeout, NOTE)
    yield UfwRule(0, rollback=rollback)
    ports = (*open_ports(s), *s.firewall.allow)
    for port in ports:
        yield UfwRule(port, rollback=rollback)
    yield UfwOnly(ports, (80, 443), SERVED_FOR_OTHERS, rollback=rollback)
    yield UfwEnabled(rollback=rollback)
    yield proof(c, s)

"""Set up the firewall."""

from ..kit.resources import Package
from ..kit.rollback import Rollback
from ..resources import UfwEnabled, UfwIpv6, UfwOnly, UfwRule
from ..resources.apache import SERVED_FOR_OTHERS
from ..settings import setup
from ..settings.derived import open_ports
from .users import verified_login

FILES = ("/etc/ufw/user.rules", "/etc/ufw/user6.rules", "/etc/ufw/ufw.conf", "/etc/default/ufw")

# The rules in the kernel decide, not ufw.conf: a firewall that was stopped may lack a rule for SSH.
SAVE_STATE = """
ip6tables-save >v6 2>/dev/null || :
if iptables -nL ufw-user-input >/dev/null 2>&1; then : >live
else iptables-save >v4
fi
"""

RESTORE_STATE = r"""
if [ -e live ]; then
    ufw --force enable
    # With IPV6=no, ufw leaves the rules in place that it made for IPv6.
    grep -qi '^IPV6="\{0,1\}yes' /etc/default/ufw || ip6tables-restore <v6
else
    PATH=$PATH:/lib/ufw:/usr/lib/ufw ufw-init force-stop
    iptables-restore <v4 && { [ ! -s v6 ] || ip6tables-restore <v6; }
fi
"""


@setup("firewall.allow")
def firewall(c, s):
    """Allow SSH, Jupyter and the ports you name.

    All other incoming connections are blocked. Rules that others made stay.
    """
    if not s.firewall.enabled:
        return
    rollback = Rollback("firewall", FILES, RESTORE_STATE, s.ssh.rollback_timeout, SAVE_STATE)
    ports = (*open_ports(s), *s.firewall.allow)
    yield Package("ufw", lock_timeout=s.apt.lock_timeout)
    # First: ufw adds no rule for IPv6 before.
    yield UfwIpv6(rollback=rollback)
    yield UfwRule(0, rollback=rollback)
    for port in ports:
        yield UfwRule(port, rollback=rollback)
    yield UfwOnly(ports, (80, 443), SERVED_FOR_OTHERS, rollback=rollback)
    yield UfwEnabled(rollback=rollback)
    yield verified_login(c, s)

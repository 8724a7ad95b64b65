"""What each access mode opens, and how that is closed again when another one is chosen."""

from ..kit.quote import sh
from ..kit.resources import Check, Withdrawn
from ..resources import ApacheInclude, ApacheOff, NoCopy, Renewal
from ..settings import setup
from ..settings.certificate import FOR_JUPYTER, LINEAGE, only_jupyter
from ..settings.derived import apache, open_ports
from .apache import ACME_SITE, PARTS, SITE, TLS
from .certificates import HOOK


def without_apache(s):
    """Yield what takes Jupyter away from Apache."""
    mine = f"{PARTS}/{s.jupyter.name}.inc"
    found = sh(
        'for f in {}/*.inc; do [ ! -e "$f" ] || [ "$f" = {} ] || echo "$f"; done', PARTS, mine
    )
    yield Check("other Jupyters", found, others)
    yield ApacheInclude("", f"{PARTS}/*.inc", notify=apache.reload)
    yield Withdrawn(mine, notify=apache.reload)
    for path in (SITE, TLS):
        yield switched_off(path)


def without_direct(s):
    """Yield what takes the key away from Jupyter."""
    yield only_jupyter(s)
    yield NoCopy(FOR_JUPYTER)


def switched_off(path):
    """Return what takes away a site or a configuration of ours, and the link that enables it."""
    return Withdrawn(path, links=(path.replace("-available", "-enabled"),), notify=apache.reload)


def others(output):
    """Judge whether other Jupyters are behind Apache: all of one server are reached in the same way."""
    names = [line.rpartition("/")[2].removesuffix(".inc") for line in output.splitlines()]
    return (
        f"{', '.join(names)} would lose it; jupyter.access must be the same for all Jupyters of a server"
        if names
        else "",
        "",
    )


# What is made only for one access mode, and is gone in the others. The firewall's rules follow from `open_ports`.
CLOSING = {"apache": without_apache, "direct": without_direct}


@setup()
def close_other_access(c, s):
    """Close the ways in that were not chosen.

    Notebooks and the password stay.
    """
    for access, closing in CLOSING.items():
        if access != s.jupyter.access:
            yield from closing(s)
    if s.jupyter.access != "direct" or s.tls.issuer != "letsencrypt":
        yield switched_off(ACME_SITE)
    if 80 not in open_ports(s):
        # Nobody can answer an issuer: certbot keeps its certificate, and would fail twice a day.
        yield Withdrawn(HOOK)
        yield Renewal(LINEAGE, by_timer=False)
        yield ApacheOff()

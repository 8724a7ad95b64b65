"""What each access mode opens, and how that is closed again when another one is chosen."""

from .apache import PARTS, SITE, TLS
from .kit.quote import sh
from .kit.resources import ApacheInclude, ApacheOff, Check, Withdrawn
from .options import apache, setup


def without_apache(s):
    """Yield what takes Jupyter away from Apache, which stops where it has nothing else to serve."""
    mine = f"{PARTS}/{s.jupyter.name}.inc"
    found = sh('for f in {}/*.inc; do [ ! -e "$f" ] || [ "$f" = {} ] || echo "$f"; done', PARTS, mine)
    yield Check("other Jupyters", found, others)
    yield ApacheInclude("", f"{PARTS}/*.inc", notify=apache.reload)
    yield Withdrawn(mine, notify=apache.reload)
    for path in (SITE, TLS):
        yield Withdrawn(path, links=(path.replace("-available", "-enabled"),), notify=apache.reload)
    # With `direct` access Apache may still answer an issuer's challenges.
    if s.jupyter.access != "direct" or s.tls.issuer != "letsencrypt":
        yield ApacheOff()


def others(output):
    """Judge whether other Jupyters are behind Apache: all of one server are reached in the same way."""
    names = [line.rpartition("/")[2].removesuffix(".inc") for line in output.splitlines()]
    return f"{', '.join(names)} would lose it; jupyter.access must be the same for all Jupyters of a server" if names else "", ""


# What is made only for one access mode, and is gone in the others. The firewall's rules follow from `open_ports`.
CLOSING = {"apache": without_apache}


@setup()
def close_other_access(c, s):
    """Take away what other access modes than the chosen one have opened; notebooks and the password stay."""
    for access, closing in CLOSING.items():
        if access != s.jupyter.access:
            yield from closing(s)

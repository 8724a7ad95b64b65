"""Close the ways to Jupyter that were not chosen."""

from ..kit.quote import script
from ..kit.resources import Check, FileAbsent
from ..kit.resources.check import fail, ok
from ..resources import ApacheDisabled, ApacheInclude, CertbotAutorenew, CertificateCopyAbsent
from ..settings import setup
from ..settings.certificate import CERTBOT_NAME, JUPYTER_FOLDER, owner_check
from ..settings.derived import apache, open_ports
from .apache import ACME_SITE, PARTS, SITE, TLS
from .certificates import HOOK

OTHER_PARTS = """
for part in "$folder"/*.inc; do
    [ ! -e "$part" ] || [ "$part" = "$own" ] || echo "$part"
done
"""


@setup()
def close_other_access(c, s):
    """Close the ways to Jupyter that were not chosen.

    Notebooks and the password stay.
    """
    if s.jupyter.access != "apache":
        yield from without_apache(s)
    if s.jupyter.access != "direct":
        yield from without_direct(s)
    if s.jupyter.access != "direct" or s.tls.issuer != "letsencrypt":
        yield removed_from_apache(ACME_SITE)
    if 80 not in open_ports(s):
        # certbot keeps its certificate; without port 80 each renewal would fail, twice a day.
        yield FileAbsent(HOOK, foreign="keep")
        yield CertbotAutorenew(CERTBOT_NAME, by_timer=False)
        yield ApacheDisabled()


def without_apache(s):
    """Yield what removes this Jupyter from Apache."""
    own = f"{PARTS}/{s.jupyter.name}.inc"
    yield Check("other Jupyters", script(OTHER_PARTS, folder=PARTS, own=own), other_jupyters)
    yield ApacheInclude("", f"{PARTS}/*.inc", notify=apache.reload)
    yield FileAbsent(own, foreign="keep", notify=apache.reload)
    yield removed_from_apache(SITE)
    yield removed_from_apache(TLS)


def without_direct(s):
    """Yield what removes Jupyter's own copy of the key."""
    yield owner_check(s)
    yield CertificateCopyAbsent(JUPYTER_FOLDER)


def removed_from_apache(path):
    """Return the absence of a site or configuration of ours, and of the link that enables it."""
    link = path.replace("-available", "-enabled")
    return FileAbsent(path, foreign="keep", links=(link,), notify=apache.reload)


def other_jupyters(output):
    """Judge whether Apache serves other Jupyters; a server reaches all of them the same way."""
    names = [line.rpartition("/")[2].removesuffix(".inc") for line in output.splitlines()]
    if not names:
        return ok()
    return fail(
        f"Apache also serves {', '.join(names)}; give all Jupyters of this server the same"
        " jupyter.access"
    )

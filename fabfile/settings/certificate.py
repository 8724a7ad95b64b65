"""The certificate and the key that are served: self-signed, certbot's, or the operator's own."""

from functools import cache

from ..kit.plan import Section
from ..kit.quote import sh
from ..kit.resources import Check, Directory, File, Handler, Package
from ..kit.resources.check import fail, ok
from ..local.certificate import own_pair
from ..resources import CertificateCopy, SelfSigned
from .derived import apache, login_user, names

FOLDER = "/etc/remote-jupyter/tls"


CERTIFICATE, KEY = f"{FOLDER}/cert.pem", f"{FOLDER}/key.pem"


LINEAGE = "remote-jupyter"


LIVE = f"/etc/letsencrypt/live/{LINEAGE}"


FOR_JUPYTER = (
    "/etc/remote-jupyter/jupyter-tls"  # with `direct` access, what the login user may read
)


def pair(c, s):
    """Yield what makes certificate and key be there, also before the first one of certbot's."""
    yield Section("issue-cert")
    yield Package("openssl", lock_timeout=s.apt.lock_timeout)
    yield Directory("/etc/remote-jupyter")
    yield Directory(FOLDER)
    if s.tls.issuer == "own":
        certificate, key = own_pair(s, names(c, s))
        yield File(KEY, key, mode="0600", secret=True, notify=taken_up(s))
        yield File(CERTIFICATE, certificate, notify=taken_up(s))
    elif s.tls.issuer == "letsencrypt":
        yield SelfSigned(
            CERTIFICATE, KEY, names(c, s), s.tls.days, f"{LIVE}/fullchain.pem", notify=taken_up(s)
        )
        yield certbots(s)
    else:
        yield SelfSigned(CERTIFICATE, KEY, names(c, s), s.tls.days, notify=taken_up(s))
    if s.jupyter.access == "direct":
        yield only_jupyter(s)
        yield login_user(s)
        yield Directory(FOR_JUPYTER, group=s.user.name, mode="0750")
        yield for_jupyter(s)
    yield Section()


def certbots(s):
    """Return the copy of certbot's certificate, where it has one, that is served."""
    return CertificateCopy(
        FOLDER, f"{LIVE}/fullchain.pem", f"{LIVE}/privkey.pem", needed=False, notify=taken_up(s)
    )


def for_jupyter(s):
    """Return the copy that Jupyter itself reads, anew for each connection."""
    return CertificateCopy(FOR_JUPYTER, CERTIFICATE, KEY, s.user.name, "0640")


def only_jupyter(s):
    """Return the check that no other user's Jupyter has `direct` access, which is for one on a server."""
    return Check(
        "owner of Jupyter's key",
        sh("stat -c %G {} 2>/dev/null; :", FOR_JUPYTER),
        key_judge(s.user.name),
    )


@cache
def key_judge(user):
    """Return a judge of whose key it is: one of another user's is neither replaced nor removed."""

    def judge(output):
        other = output.strip()
        if other in ("", "UNKNOWN", user):
            return ok()
        return fail(
            f"it belongs to {other}'s Jupyter; only one Jupyter of a server can have direct access,"
            " so use jupyter.access apache or tunnel for all of them"
        )

    return judge


def taken_up(s):
    """Return the handler after which a new certificate is served, without a restart."""
    if s.jupyter.access == "direct":
        return Handler("copy certificate", for_jupyter(s).apply({}))
    return apache.reload

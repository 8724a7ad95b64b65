"""The certificate and the key that are served.

They are self-signed, from certbot, or the operator's own. Apache, or Jupyter itself with ``direct``
access, always reads the same two files, so that another issuer changes nothing for them.
"""

from collections.abc import Callable, Iterator
from functools import cache

from fabric import Connection

from ..kit.plan import Section
from ..kit.quote import sh
from ..kit.resources import Check, Directory, File, Handler, Package
from ..kit.resources.check import Verdict, fail, ok
from ..kit.settings import Settings
from ..local.certificate import own_pair
from ..resources import CertificateCopy, SelfSigned
from .derived import apache, login_user, names

FOLDER = "/etc/remote-jupyter/tls"
CERTIFICATE, KEY = f"{FOLDER}/cert.pem", f"{FOLDER}/key.pem"

# With `direct` access Jupyter reads a copy, as the key itself is only for root.
JUPYTER_FOLDER = "/etc/remote-jupyter/jupyter-tls"

CERTBOT_NAME = "remote-jupyter"  # certbot's --cert-name
CERTBOT_FOLDER = f"/etc/letsencrypt/live/{CERTBOT_NAME}"


def served_certificate(c: Connection, s: Settings) -> Iterator[object]:
    """Yield the resources that put certificate and key into place.

    With letsencrypt it is self-signed until certbot has obtained one.
    """
    yield Section("issue-cert")
    yield Package("openssl", lock_timeout=s.apt.lock_timeout)
    yield Directory("/etc/remote-jupyter")
    yield Directory(FOLDER)
    load = load_certificate(s)
    if s.tls.issuer == "own":
        certificate, key = own_pair(s, names(c, s))
        yield File(KEY, key, mode="0600", secret=True, notify=load)
        yield File(CERTIFICATE, certificate, notify=load)
    elif s.tls.issuer == "letsencrypt":
        unless = f"{CERTBOT_FOLDER}/fullchain.pem"
        yield SelfSigned(CERTIFICATE, KEY, names(c, s), s.tls.days, unless, notify=load)
        yield certbot_copy(s)
    else:
        yield SelfSigned(CERTIFICATE, KEY, names(c, s), s.tls.days, notify=load)
    if s.jupyter.access == "direct":
        yield owner_check(s)
        yield login_user(s)
        yield Directory(JUPYTER_FOLDER, group=s.user.name, mode="0750")
        yield jupyter_copy(s)
    yield Section()


def certbot_copy(s: Settings) -> CertificateCopy:
    """Return the copy of certbot's certificate, if it has one, that is served."""
    return CertificateCopy(
        FOLDER,
        f"{CERTBOT_FOLDER}/fullchain.pem",
        f"{CERTBOT_FOLDER}/privkey.pem",
        needed=False,
        notify=load_certificate(s),
    )


def jupyter_copy(s: Settings) -> CertificateCopy:
    """Return the copy that Jupyter itself reads, again for each connection."""
    return CertificateCopy(JUPYTER_FOLDER, CERTIFICATE, KEY, s.user.name, "0640")


def load_certificate(s: Settings) -> Handler:
    """Return the handler that brings a new certificate into use, without a restart."""
    if s.jupyter.access == "direct":
        return Handler("copy certificate", jupyter_copy(s).apply({}))
    return apache.reload


def owner_check(s: Settings) -> Check:
    """Return the check that no other user's Jupyter has ``direct`` access."""
    return Check(
        "owner of Jupyter's key",
        sh("stat -c %G {} 2>/dev/null; :", JUPYTER_FOLDER),
        owner_judge(s.user.name),
    )


@cache  # equal checks merge, so the same user gets the same judge
def owner_judge(user: str) -> Callable[[str], Verdict]:
    """Return a judge of the key's owner, who must be *user* if there is one."""

    def judge(output: str) -> Verdict:
        owner = output.strip()
        if owner in ("", "UNKNOWN", user):
            return ok()
        return fail(
            f"it belongs to {owner}'s Jupyter; only one Jupyter of a server can have direct access,"
            " so use jupyter.access apache or tunnel for all of them"
        )

    return judge

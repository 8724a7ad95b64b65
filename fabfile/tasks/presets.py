"""Flows that only join other tasks."""

from ..settings import setup
from ..settings.derived import with_access
from .access import close_other_access
from .apache import configure_apache, enable_apache_modules, install_apache
from .certificates import issue_cert
from .firewall import firewall
from .jupyter import configure_jupyter
from .preflight import preflight
from .python import begin_download, install_anaconda
from .sshd import harden_ssh
from .users import create_user

ASK = {
    "ask_password": "Ask for the passwords here, instead of USER_PASSWORD, JUPYTER_PASSWORD or generated ones."
}


def jupyter_itself(c, s, ask_password):
    """Yield what comes first, whichever way leads to Jupyter."""
    yield from preflight.body(c, s)
    # What takes longest goes on while packages are installed.
    yield from begin_download(c, s)
    yield from create_user.body(c, s, ask_password=ask_password)
    yield from install_anaconda.body(c, s)
    yield from configure_jupyter.body(c, s, ask_password=ask_password)


def one_way_in(c, s):
    """Yield what leaves open the chosen way to Jupyter, and no other."""
    yield from close_other_access.body(c, s)
    yield from firewall.body(c, s)
    yield from harden_ssh.body(c, s)


@setup(
    user="user.name",
    domain="tls.domains",
    issuer="tls.issuer",
    distribution="python.distribution",
    accept_terms="python.accept_terms",
    base_url="jupyter.base_url",
    help=ASK,
)
def full_setup(c, s, ask_password=False):
    """Do everything: Jupyter behind Apache with TLS."""
    s = with_access(s, "apache")
    yield from jupyter_itself(c, s, ask_password)
    yield from install_apache.body(c, s)
    yield from enable_apache_modules.body(c, s)
    yield from configure_apache.body(c, s)
    yield from one_way_in(c, s)
    # Last: an issuer asks from outside whether all that works, and may refuse.
    if not s.apache.site:
        yield from issue_cert.body(c, s)


@setup(
    user="user.name",
    distribution="python.distribution",
    accept_terms="python.accept_terms",
    base_url="jupyter.base_url",
    help=ASK,
)
def tunnel_setup(c, s, ask_password=False):
    """Do everything: Jupyter that only SSH reaches.

    The task tunnel leads there.
    """
    s = with_access(s, "tunnel")
    yield from jupyter_itself(c, s, ask_password)
    yield from one_way_in(c, s)


@setup(
    user="user.name",
    domain="tls.domains",
    issuer="tls.issuer",
    distribution="python.distribution",
    accept_terms="python.accept_terms",
    port="jupyter.port",
    base_url="jupyter.base_url",
    help=ASK,
)
def direct_setup(c, s, ask_password=False):
    """Do everything: Jupyter with TLS and no Apache."""
    s = with_access(s, "direct")
    yield from jupyter_itself(c, s, ask_password)
    yield from one_way_in(c, s)
    yield from issue_cert.body(c, s)

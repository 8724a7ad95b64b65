"""Set up a whole server. Presets only join other tasks."""

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
from .users import create_admin, create_user

ASK_PASSWORD = {
    "ask_password": "Prompt for the passwords instead of using USER_PASSWORD, ADMIN_PASSWORD,"
    " JUPYTER_PASSWORD or generated ones."
}


@setup(
    "user.name",
    "admin.name",
    "tls.domains",
    "tls.issuer",
    "python.distribution",
    "python.accept_terms",
    "jupyter.base_url",
    help=ASK_PASSWORD,
)
def full_setup(c, s, ask_password=False):
    """Set up everything: Jupyter behind Apache with TLS."""
    s = with_access(s, "apache")
    yield from private_jupyter(c, s, ask_password)
    yield from install_apache.body(c, s)
    yield from enable_apache_modules.body(c, s)
    yield from configure_apache.body(c, s)
    yield from only_chosen_access(c, s)
    # Last, as an issuer connects from outside, and may refuse.
    if not s.apache.site:
        yield from issue_cert.body(c, s)


@setup(
    "user.name",
    "admin.name",
    "python.distribution",
    "python.accept_terms",
    "jupyter.base_url",
    help=ASK_PASSWORD,
)
def tunnel_setup(c, s, ask_password=False):
    """Set up everything: Jupyter through SSH only.

    The task tunnel forwards a local port to it.
    """
    s = with_access(s, "tunnel")
    yield from private_jupyter(c, s, ask_password)
    yield from only_chosen_access(c, s)


@setup(
    "user.name",
    "admin.name",
    "tls.domains",
    "tls.issuer",
    "python.distribution",
    "python.accept_terms",
    "jupyter.port",
    "jupyter.base_url",
    help=ASK_PASSWORD,
)
def direct_setup(c, s, ask_password=False):
    """Set up everything: Jupyter with TLS, no Apache."""
    s = with_access(s, "direct")
    yield from private_jupyter(c, s, ask_password)
    yield from only_chosen_access(c, s)
    yield from issue_cert.body(c, s)


def private_jupyter(c, s, ask_password):
    """Yield what all presets begin with: a checked server, its user, and a running Jupyter."""
    yield from preflight.body(c, s)
    # The longest step runs in the background while packages are installed.
    yield from begin_download(c, s)
    if s.admin.name:
        yield from create_admin.body(c, s, ask_password=ask_password)
    yield from create_user.body(c, s, ask_password=ask_password)
    yield from install_anaconda.body(c, s)
    yield from configure_jupyter.body(c, s, ask_password=ask_password)


def only_chosen_access(c, s):
    """Yield what opens the chosen way to Jupyter and closes the others."""
    yield from close_other_access.body(c, s)
    yield from firewall.body(c, s)
    yield from harden_ssh.body(c, s)

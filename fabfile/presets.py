"""Flows that only join other tasks."""

from .apache import configure_apache, enable_apache_modules, install_apache
from .certs import issue_cert
from .checks import preflight
from .conda import install_anaconda
from .firewall import firewall
from .jupyter import configure_jupyter
from .options import setup
from .ssh import harden_ssh
from .users import create_user


@setup(
    user="user.name",
    domain="tls.domain",
    issuer="tls.issuer",
    distribution="python.distribution",
    base_url="jupyter.base_url",
    help={"ask_password": "Ask for the passwords here, instead of USER_PASSWORD, JUPYTER_PASSWORD or generated ones."},
)
def full_setup(c, s, ask_password=False):
    """Turn a fresh server into a Jupyter server behind Apache with TLS."""
    yield from preflight.body(c, s)
    yield from create_user.body(c, s, ask_password=ask_password)
    yield from install_anaconda.body(c, s)
    yield from configure_jupyter.body(c, s, ask_password=ask_password)
    yield from install_apache.body(c, s)
    yield from enable_apache_modules.body(c, s)
    yield from issue_cert.body(c, s)
    yield from configure_apache.body(c, s)
    yield from firewall.body(c, s)
    yield from harden_ssh.body(c, s)

"""remote-jupyter: turn a fresh Debian or Ubuntu server into a secure remote Jupyter server."""

from fabric.main import program
from invoke import Collection

from .apache import configure_apache, enable_apache_modules, install_apache
from .certs import issue_cert
from .checks import preflight, verify
from .conda import install_anaconda
from .firewall import firewall
from .jupyter import configure_jupyter
from .kit.task import adopt
from .presets import full_setup
from .ssh import harden_ssh
from .users import create_user

ns = Collection(
    configure_apache,
    configure_jupyter,
    create_user,
    enable_apache_modules,
    firewall,
    full_setup,
    harden_ssh,
    install_anaconda,
    install_apache,
    issue_cert,
    preflight,
    verify,
)

if __name__ == "fabfile":
    # `fab` found us by itself, in this repository: hosts side by side, one connection a host. A team's own fabfile, which
    # imports us, keeps Fabric's own executor unless it does the same.
    adopt(program)

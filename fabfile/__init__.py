"""remote-jupyter: turn a fresh Debian or Ubuntu server into a secure remote Jupyter server."""

from fabric.main import program
from invoke import Collection

from .access import close_other_access
from .apache import configure_apache, enable_apache_modules, install_apache
from .certs import cert_status, delete_cert, issue_cert, renew_cert
from .checks import preflight, verify
from .conda import install_anaconda, remove_anaconda
from .control import logs, open_, restart, start, status, stop
from .firewall import firewall
from .jupyter import configure_jupyter, set_password
from .keys import copy_ssh_key, create_ssh_key
from .kit.task import adopt
from .notebooks import pull_notebooks, push_notebooks
from .presets import direct_setup, full_setup, tunnel_setup
from .ssh import harden_ssh
from .system import release_upgrade, system_update
from .tunnel import tunnel
from .users import create_user, lock_user, remove_user

ns = Collection(
    cert_status,
    close_other_access,
    configure_apache,
    configure_jupyter,
    copy_ssh_key,
    create_ssh_key,
    create_user,
    delete_cert,
    direct_setup,
    enable_apache_modules,
    firewall,
    full_setup,
    harden_ssh,
    install_anaconda,
    install_apache,
    issue_cert,
    lock_user,
    logs,
    open_,
    preflight,
    pull_notebooks,
    push_notebooks,
    release_upgrade,
    remove_anaconda,
    remove_user,
    renew_cert,
    restart,
    set_password,
    start,
    status,
    stop,
    system_update,
    tunnel,
    tunnel_setup,
    verify,
)

if __name__ == "fabfile":
    # `fab` found us by itself, in this repository: hosts side by side, one connection a host. A team's own fabfile, which
    # imports us, keeps Fabric's own executor unless it does the same.
    adopt(program)

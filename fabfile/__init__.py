"""remote-jupyter: turn a fresh Debian or Ubuntu server into a secure remote Jupyter server.

The package is a collection of Fabric tasks. In a clone, `fab` finds it as the folder ``fabfile``;
installed, it is called ``remote_jupyter``, and a team's own fabfile imports the tasks from it.

The folders, from the top layer down; each imports only from those below:

    tasks       what `fab --list` shows
    settings    one table of settings, and what follows from them
    resources   resources that know a subject: conda, pip, Jupyter, certbot, Apache, ufw, sshd
    local       what runs on the operator's machine: OpenSSH, port forwarding, a browser
    kit         the engine, with resources such as File, Package and Service; it knows no subject

Begin with `tasks/users.py`, which has a plain task, and `tasks/presets.py`, which joins tasks.

Example of a team's own fabfile::

    from fabric.main import program
    from remote_jupyter import adopt, create_user, setup
    from remote_jupyter.kit.resources import Package

    adopt(program)

    @setup()
    def workshop(c, s):
        \"\"\"Prepare a server for our course.\"\"\"
        yield from create_user.body(c, s)
        yield Package("graphviz")
"""

from fabric.main import program
from invoke import Collection

from .kit.host import Host as Host
from .kit.resources import Resource as Resource
from .local.commandline import adopt as adopt
from .settings import schema
from .settings import setup as setup
from .tasks.access import close_other_access
from .tasks.apache import configure_apache, enable_apache_modules, install_apache
from .tasks.certificates import cert_status, delete_cert, issue_cert, renew_cert
from .tasks.firewall import firewall
from .tasks.jupyter import configure_jupyter, set_password
from .tasks.notebooks import pull_notebooks, push_notebooks
from .tasks.preflight import preflight
from .tasks.presets import direct_setup, full_setup, tunnel_setup
from .tasks.python import install_anaconda, remove_anaconda
from .tasks.service import logs, open_, restart, start, status, stop
from .tasks.ssh_keys import copy_ssh_key, create_ssh_key
from .tasks.sshd import harden_ssh
from .tasks.system import release_upgrade, system_update
from .tasks.tunnel import tunnel
from .tasks.users import create_admin, create_user, lock_user, remove_user
from .tasks.verify import verify

# In the order of use, as `fab --list` shows them.
ns = Collection(
    create_ssh_key,
    copy_ssh_key,
    preflight,
    full_setup,
    tunnel_setup,
    direct_setup,
    create_user,
    create_admin,
    install_anaconda,
    configure_jupyter,
    install_apache,
    enable_apache_modules,
    configure_apache,
    issue_cert,
    close_other_access,
    firewall,
    harden_ssh,
    verify,
    open_,
    tunnel,
    push_notebooks,
    pull_notebooks,
    status,
    logs,
    start,
    stop,
    restart,
    set_password,
    cert_status,
    renew_cert,
    delete_cert,
    system_update,
    release_upgrade,
    lock_user,
    remove_user,
    remove_anaconda,
)

if __name__ == "fabfile":
    # `fab` found this folder by itself. A team's own fabfile calls adopt() if it wants the same.
    adopt(program)
    schema.check_program(program)

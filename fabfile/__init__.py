"""remote-jupyter: turn a fresh Debian or Ubuntu server into a secure remote Jupyter server.

This package is the collection of the tasks, in the order in which a person meets them. `fab` finds it by itself in a clone,
as the folder ``fabfile``; installed, it is ``remote_jupyter``, and a team's own fabfile imports the tasks from here.

Most tasks are setup tasks: generators of resources, each of which says one thing that should be true on the server. Begin with
`users.create_user`, which is one, and `presets.full_setup`, which joins others. A task that does something once, such as
`tunnel.tunnel`, is a plain Fabric task. What they share:

    options     the rules of all settings (config/defaults.yml has their defaults), and what follows from them
    rules       what such rules are made of
    render      whole configuration files from config/templates
    installers  the known installers of conda, with what each needs
    pair        the certificate and the key that are served
    loaded      what the running Jupyter has really loaded
    openssh     the command line of OpenSSH that goes where a Fabric connection goes, for tunnel and notebooks
    web         how a person's browser meets Jupyter, for verify
    commandline how `fab` lists tasks and answers what was mistyped
    kit         the engine, which makes true what the tasks say
"""

from fabric.main import program
from invoke import Collection

from .local.commandline import adopt
from .settings import schema
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
from .tasks.users import create_user, lock_user, remove_user
from .tasks.verify import verify

# In the order in which a person meets them; `fab --list` keeps it.
ns = Collection(
    create_ssh_key,
    copy_ssh_key,
    preflight,
    full_setup,
    tunnel_setup,
    direct_setup,
    create_user,
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
    # `fab` found us by itself, in this repository: hosts side by side, one connection a host. A team's own fabfile, which
    # imports us, keeps Fabric's own executor unless it does the same.
    adopt(program)
    schema.check_program(program)

"""All settings, each stated once: name, default, rule and help.

`config/defaults.yml` (by ``inv defaults``), the tasks' flags with their help and the reference page
come from this table. A new setting is one more line here.
"""

from ..kit.settings import Setting
from .files import StrictSchema
from .rules import (
    absolute_path,
    boolean,
    device,
    host_name,
    keys,
    list_of,
    number,
    one_of,
    plain_path,
    requirement,
    text,
    url,
    url_path,
    user_name,
)

HEAD = """\
Every setting of remote-jupyter, with its default.

This file is generated from fabfile/settings/table.py by: inv defaults

Put the settings that you change in a file of your own, under the same keys: a file that you pass
with fab -f FILE, ~/.fabric.yml, or fabric.yml next to your fabfile. Later sources win: the
defaults, your files, the environment (FABRIC_REMOTE_JUPYTER_USER_NAME=ada), the flags of a task.

Passwords are not settings. Give them in the environment (JUPYTER_PASSWORD, USER_PASSWORD,
ADMIN_PASSWORD, SUDO_PASSWORD), in a file that JUPYTER_PASSWORD_FILE and so on name, or at the
prompt of --ask-password.
"""

USER = (
    Setting(
        "user.name",
        "jupyter",
        user_name,
        "Login name of the account that runs Jupyter.",
        flag="user",
    ),
    Setting(
        "user.home",
        "",
        plain_path,
        "Home directory of the account; empty means /home/NAME.",
    ),
    Setting(
        "user.shell",
        "",
        text(r"/[\w./+-]+", "the path of a shell, such as /bin/bash"),
        "Login shell; empty means /bin/bash for a new account and no change for an existing one.",
    ),
    Setting(
        "user.sudo",
        False,
        boolean,
        "Grant sudo to the account that runs Jupyter; a notebook may then become root.",
    ),
    Setting(
        "user.adopt",
        False,
        boolean,
        "Accept an existing account that create-user did not create.",
    ),
    Setting(
        "user.passwordless_sudo",
        False,
        boolean,
        "Let the account use sudo without a password.",
    ),
    Setting(
        "user.authorized_keys",
        [],
        keys,
        "Public keys, or local files that contain them; "
        "empty means the keys of the account that Fabric logs in as.",
    ),
    Setting(
        "user.copy_root_keys",
        False,
        boolean,
        "Authorize the keys of the account that Fabric logs in as "
        "in addition to user.authorized_keys.",
    ),
    Setting(
        "user.remove_keys",
        [],
        keys,
        "Public keys, or local files that contain them, that may no longer log in.",
        flag="remove_key",
    ),
)

ADMIN = (
    Setting(
        "admin.name",
        "",
        text(r"(?!root$)[a-z_][a-z0-9_-]{0,30}", "a login name other than root, such as admin"),
        "Login name of the administrator, who may use sudo; empty means none is created.",
        flag="admin",
    ),
    Setting(
        "admin.authorized_keys",
        [],
        keys,
        "Public keys of the administrator, or local files that contain them; "
        "empty means the keys of the account that Fabric logs in as.",
        flag="admin_keys",
    ),
    Setting(
        "admin.adopt",
        False,
        boolean,
        "Accept an existing administrator's account that create-admin did not create.",
        flag="adopt_admin",
    ),
)

SSH = (
    Setting(
        "ssh.password_authentication",
        False,
        boolean,
        "Accept passwords for SSH logins, not only keys.",
    ),
    Setting(
        "ssh.permit_root_login",
        "prohibit-password",
        one_of("yes", "prohibit-password", "no"),
        "SSH login of root: yes, prohibit-password (keys only) or no.",
    ),
    Setting(
        "ssh.permit_open",
        "",
        list_of(number(1, 65535)),
        "More loopback ports of the server that SSH may forward to, separated by commas; "
        "Jupyter's own port is always included.",
    ),
    Setting(
        "ssh.rollback_timeout",
        60,
        number(10, 3600),
        "Seconds until the server undoes a change to SSH, sudo or the firewall "
        "that no new login has verified.",
        former="ssh.undo_after",
    ),
)

FIREWALL = (
    Setting(
        "firewall.enabled",
        True,
        boolean,
        "Manage the firewall; false leaves it as it is.",
        help_off="Leave the firewall as it is.",
    ),
    Setting(
        "firewall.allow",
        "",
        list_of(number(1, 65535)),
        "More TCP ports to open, separated by commas; "
        "those of SSH and of the access mode are always open.",
    ),
)

APT = (
    Setting(
        "apt.lock_timeout",
        300,
        number(0, 3600),
        "Seconds to wait for another apt process to finish.",
    ),
)

PYTHON = (
    Setting(
        "python.distribution",
        "anaconda",
        one_of("anaconda", "miniconda", "miniforge", "venv"),
        "Python distribution: anaconda, miniconda, miniforge, "
        "or venv for a virtual environment of the system's Python.",
    ),
    Setting(
        "python.version",
        "",
        text(r"[A-Za-z0-9][\w.-]*", "a version as in the installer's file name, such as 2025.12-2"),
        "Version in the installer's file name; empty means the newest known one. Not for venv.",
    ),
    Setting(
        "python.prefix",
        "",
        plain_path,
        "Directory of the environment; empty means ~/anaconda3, ~/miniconda3, ~/miniforge3 "
        "or ~/jupyter-env in the account's home.",
    ),
    Setting(
        "python.url",
        "",
        url,
        "URL to download the installer from, such as that of a mirror. Not for venv.",
    ),
    Setting(
        "python.sha256",
        "",
        text(r"[0-9a-f]{64}", "64 hexadecimal digits"),
        "SHA-256 checksum of the installer at python.url.",
    ),
    Setting(
        "python.accept_terms",
        False,
        boolean,
        "Accept the terms of Anaconda and its channels without being asked. "
        "Only for anaconda and miniconda.",
    ),
    Setting(
        "python.upload",
        False,
        boolean,
        "Download the installer to your machine and upload it, for a server without access to it. "
        "Not for venv.",
    ),
    Setting(
        "python.update",
        False,
        boolean,
        "Update conda, pip and setuptools on every run.",
    ),
    Setting(
        "python.packages",
        ["jupyterlab", "notebook"],
        list_of(requirement),
        "Packages to install if they are missing, with an optional version "
        "such as jupyterlab==4.*.",
    ),
)

JUPYTER = (
    Setting(
        "jupyter.access",
        "apache",
        one_of("apache", "direct", "tunnel"),
        "How browsers reach Jupyter: apache (behind Apache with TLS), "
        "direct (Jupyter itself with TLS) or tunnel (only through SSH).",
    ),
    Setting(
        "jupyter.interface",
        "lab",
        one_of("lab", "notebook"),
        "User interface: lab or notebook.",
    ),
    Setting(
        "jupyter.port",
        8888,
        number(1024, 65535),
        "Port of Jupyter, on the loopback interface; with direct access, on all interfaces.",
    ),
    Setting(
        "jupyter.base_url",
        "/jupyter",
        url_path,
        "Path of Jupyter's URL.",
    ),
    Setting(
        "jupyter.notebook_dir",
        "",
        absolute_path,
        "Directory of the notebooks; empty means ~/notebooks in the account's home.",
    ),
    Setting(
        "jupyter.name",
        "jupyter",
        text(
            r"jupyter(-[a-z0-9-]{1,30})?",
            "jupyter, or jupyter- and a name, such as jupyter-ada",
            empty=False,
        ),
        "Name of the service; use jupyter-ada and so on if several users of the server "
        "have a Jupyter.",
    ),
    Setting(
        "jupyter.runner",
        "systemd",
        one_of("systemd", "tmux"),
        "What runs Jupyter: systemd, or tmux in a session that the user can attach to.",
    ),
    Setting(
        "jupyter.sudo",
        False,
        boolean,
        "Allow sudo in Jupyter's terminals, which gives the service less protection; "
        "sudo over SSH does not need it.",
    ),
    Setting(
        "jupyter.devices",
        [],
        list_of(device),
        "Devices that kernels may use, such as /dev/nvidia0, "
        "or a kind of devices such as char-nvidia-frontend.",
    ),
    Setting(
        "jupyter.memory",
        "",
        text(r"[1-9]\d*[KMGT]|[1-9]\d?%|100%", "a size such as 512M or 4G, or a share such as 80%"),
        "Memory limit of Jupyter and its kernels together, such as 4G or 80%; "
        "empty means no limit.",
    ),
)

APACHE = (
    Setting(
        "apache.modules",
        ["ssl", "proxy", "proxy_http", "headers", "rewrite"],
        list_of(
            text(r"[a-z][a-z0-9_]*", "the name of an Apache module, such as headers", empty=False)
        ),
        "Apache modules to enable.",
    ),
    Setting(
        "apache.site",
        "",
        text(
            r"[\w][\w.-]*(?<!\.conf)",
            "the name of a site as a2ensite takes it, such as 000-default",
        ),
        "Name (as for a2ensite) of an existing TLS site that serves Jupyter at its path; "
        "empty means a separate site.",
    ),
)

TLS = (
    Setting(
        "tls.issuer",
        "self-signed",
        one_of("self-signed", "letsencrypt", "own"),
        "Issuer of the certificate: self-signed, letsencrypt (or another ACME server), "
        "or own for files of yours.",
    ),
    Setting(
        "tls.domains",
        "",
        list_of(host_name),
        "Names of the server, separated by commas; empty means the host that you pass to -H.",
        flag="domain",
        former="tls.domain",
    ),
    Setting(
        "tls.email",
        "",
        text(r"[^@\s]+@[^@\s]+", "an e-mail address"),
        "Address for the issuer's notices. Only for letsencrypt.",
    ),
    Setting(
        "tls.acme_server",
        "https://acme-v02.api.letsencrypt.org/directory",
        url,
        "URL of the ACME server. Only for letsencrypt.",
        flag="server",
    ),
    Setting(
        "tls.acme_staging",
        "https://acme-staging-v02.api.letsencrypt.org/directory",
        url,
        "URL of the ACME server for tls.staging and for the rehearsal before each attempt; "
        "empty means no rehearsal.",
    ),
    Setting(
        "tls.acme_ca",
        "",
        text(),
        "Local PEM file with the CA certificate of an ACME server whose CA is not public.",
    ),
    Setting(
        "tls.staging",
        False,
        boolean,
        "Get a test certificate from tls.acme_staging; browsers do not trust it.",
    ),
    Setting(
        "tls.max_attempts",
        3,
        number(1, 50),
        "Stop after this many failed attempts within an hour; the limit of Let's Encrypt is 5.",
        former="tls.tries",
    ),
    Setting(
        "tls.fallback",
        False,
        boolean,
        "Continue with a warning and the present certificate if no new one can be issued.",
    ),
    Setting(
        "tls.profile",
        "intermediate",
        one_of("intermediate", "modern"),
        "Mozilla's TLS profile: intermediate, or modern for TLS 1.3 only.",
    ),
    Setting(
        "tls.days",
        365,
        number(31, 3650),
        "Days that the next self-signed certificate is valid; it is renewed when 30 are left.",
    ),
    Setting(
        "tls.certificate",
        "",
        text(),
        "Local PEM file with your own certificate and its chain. Only for own.",
    ),
    Setting(
        "tls.key",
        "",
        text(),
        "Local PEM file with the private key of your own certificate. Only for own.",
    ),
)

schema = StrictSchema(
    "remote_jupyter",
    (*USER, *ADMIN, *SSH, *FIREWALL, *APT, *PYTHON, *JUPYTER, *APACHE, *TLS),
)

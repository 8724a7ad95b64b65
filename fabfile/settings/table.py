"""TODO."""

import re

from .rules import absolute_path, boolean, host_name, list_of, number, one_of, text

USER = text(
    r"[a-z_][a-z0-9_-]{0,30}",
    "a user name: small letters, digits, - and _, not a digit first, at most 31",
    empty=False,
)


PATH = text(
    r"/|(/(?!\.+(/|$))[A-Za-z0-9._~-]+)+/?",
    "a path such as /jupyter: letters, digits and ._~- between slashes, or / alone",
    empty=False,
)


REQUIREMENT = text(
    r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?(\[[\w,. -]+\])?\s*([<>=!~]=?[\w.*+!<>=~, -]+)?",
    "a package as pip names it, such as jupyterlab or notebook==7.*",
    empty=False,
)


DEVICE = text(
    r"/dev/[\w./-]+|(char|block)-[\w*.-]+",
    "a device such as /dev/nvidia0, or char-nvidia* for a kind",
    empty=False,
)


def user_name(value):
    """A rule: the name of a person's account."""
    if USER(value) == "root":
        raise ValueError("a user other than root, who shall not run Jupyter")
    return value


def plain_path(value):
    """A rule: an absolute path of plain characters; a script's first line and systemd's ExecStart hold no others."""
    if not re.fullmatch(r"[\w./~+@-]*", absolute_path(value)):
        raise ValueError("an absolute path of letters, digits and ._+@-")
    return value


def keys(value):
    """A rule: public keys, or files that hold some; a comma may be part of a key's options."""
    value = [value] if isinstance(value, str) and value else value or []
    return tuple(text(empty=False)(item) for item in value)


def url(value):
    """A rule: a web address without a password, or nothing; plain HTTP is allowed, as what is fetched is checked by itself."""
    # A password in it would be shown in plans, and in the list of processes.
    return text(
        r"https?://[^\s'\"@/]+(/[^\s'\"]*)?",
        "an address that begins with https://, and holds no password",
    )(value)


RULES = {
    "user.name": user_name,
    "user.home": plain_path,
    "user.sudo": boolean,
    "user.adopt": boolean,
    "user.shell": text(r"/[\w./+-]+", "the path of a shell, such as /bin/bash"),
    "user.passwordless_sudo": boolean,
    "user.authorized_keys": keys,
    "user.copy_root_keys": boolean,
    "user.remove_keys": keys,
    "ssh.permit_root_login": one_of("yes", "prohibit-password", "no"),
    "ssh.password_authentication": boolean,
    "ssh.permit_open": list_of(number(1, 65535)),
    "ssh.rollback_timeout": number(10, 3600),
    "firewall.enabled": boolean,
    "firewall.allow": list_of(number(1, 65535)),
    "apt.lock_timeout": number(0, 3600),
    "python.distribution": one_of("anaconda", "miniconda", "miniforge", "venv"),
    "python.version": text(
        r"[A-Za-z0-9][\w.-]*", "a version as it is in the installer's name, such as 2025.12-2"
    ),
    "python.prefix": plain_path,
    "python.url": url,
    "python.sha256": text(r"[0-9a-f]{64}", "64 hexadecimal digits"),
    "python.accept_terms": boolean,
    "python.upload": boolean,
    "python.update": boolean,
    "python.packages": list_of(REQUIREMENT),
    "jupyter.access": one_of("apache", "direct", "tunnel"),
    "jupyter.interface": one_of("lab", "notebook"),
    "jupyter.port": number(1024, 65535),
    "jupyter.base_url": PATH,
    "jupyter.notebook_dir": absolute_path,
    "jupyter.name": text(
        r"jupyter(-[a-z0-9-]{1,30})?",
        "jupyter, or jupyter- and a name, such as jupyter-ada",
        empty=False,
    ),
    "jupyter.runner": one_of("systemd", "tmux"),
    "jupyter.sudo": boolean,
    "jupyter.devices": list_of(DEVICE),
    "jupyter.memory": text(
        r"[1-9]\d*[KMGT]|[1-9]\d?%|100%", "a size such as 512M or 4G, or a share such as 80%"
    ),
    "apache.modules": list_of(
        text(r"[a-z][a-z0-9_]*", "the name of an Apache module, such as headers", empty=False)
    ),
    "apache.site": text(
        r"[\w][\w.-]*(?<!\.conf)", "the name of a site as a2ensite takes it, such as 000-default"
    ),
    "tls.issuer": one_of("self-signed", "letsencrypt", "own"),
    "tls.domains": list_of(host_name),
    "tls.email": text(r"[^@\s]+@[^@\s]+", "an e-mail address"),
    "tls.acme_server": url,
    "tls.acme_staging": url,
    "tls.acme_ca": text(),
    "tls.staging": boolean,
    "tls.max_attempts": number(1, 50),
    "tls.fallback": boolean,
    "tls.profile": one_of("intermediate", "modern"),
    "tls.days": number(31, 3650),
    "tls.certificate": text(),
    "tls.key": text(),
}

"""The settings' rules, and what follows from the settings."""

import re
from functools import partial
from pathlib import Path

from .kit import secret
from .kit.quote import sh
from .kit.resources import Service, User
from .kit.resources.apache import CONFIGTEST
from .kit.settings import Schema
from .kit.task import setup as kit_setup
from .render import environment
from .rules import absolute_path, boolean, host_name, list_of, number, one_of, text

CONFIG = Path(__file__).resolve().parent.parent / "config"

USER = text(r"[a-z_][a-z0-9_-]{0,30}", "a user name: small letters, digits, - and _, not a digit first, at most 31", empty=False)
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
    """A rule: an https address, or nothing."""
    return text(r"https?://[^\s'\"]+", "an address that begins with https://")(value)


RULES = {
    "user.name": user_name,
    "user.home": plain_path,
    "user.sudo": boolean,
    "user.adopt": boolean,
    "user.shell": text(r"/[\w./+-]+", "the path of a shell, such as /bin/bash"),
    "user.authorized_keys": keys,
    "ssh.permit_root_login": one_of("yes", "prohibit-password", "no"),
    "ssh.password_authentication": boolean,
    "firewall.enabled": boolean,
    "firewall.allow": list_of(number(1, 65535)),
    "apt.lock_timeout": number(0, 3600),
    "python.distribution": one_of("venv"),
    "python.version": text(),
    "python.prefix": plain_path,
    "python.url": url,
    "python.sha256": text(r"[0-9a-f]{64}", "64 hexadecimal digits"),
    "python.accept_terms": boolean,
    "python.packages": list_of(REQUIREMENT),
    "jupyter.access": one_of("apache"),
    "jupyter.interface": one_of("lab", "notebook"),
    "jupyter.port": number(1024, 65535),
    "jupyter.base_url": PATH,
    "jupyter.notebook_dir": absolute_path,
    "jupyter.runner": one_of("systemd"),
    "apache.modules": list_of(text(r"[a-z][a-z0-9_]*", "the name of an Apache module, such as headers", empty=False)),
    "tls.issuer": one_of("self-signed", "own"),
    "tls.domain": list_of(host_name),
    "tls.email": text(r"[^@\s]+@[^@\s]+", "an e-mail address"),
    "tls.acme_server": url,
    "tls.days": number(31, 3650),
    "tls.certificate": text(),
    "tls.key": text(),
}

schema = Schema("remote_jupyter", CONFIG / "defaults.yml", RULES)
setup = partial(kit_setup, schema)


def render(template, **values):
    """Return the file that *template* of ``config/templates`` makes with *values*."""
    return environment(CONFIG / "templates").get_template(template).render(values)


def home(s):
    """Return the login user's home."""
    return s.user.home or f"/home/{s.user.name}"


def login_user(s):
    """Return the login user as what every task needs that works in that user's home; create-user asks for more."""
    return User(s.user.name, home(s))


def at_home(s, path, default):
    """Return *path*, or *default* where it is empty, with ``~`` standing for the login user's home."""
    return re.sub(r"^~(?=/)", lambda _: home(s), path or default)


def prefix(s):
    """Return the folder of the Python environment."""
    return at_home(s, s.python.prefix, "~/jupyter-env")


def notebook_dir(s):
    """Return the folder of the notebooks."""
    return at_home(s, s.jupyter.notebook_dir, "~/notebooks")


def base_url(s):
    """Return the path of Jupyter's address without a slash at its end; empty for the root."""
    return s.jupyter.base_url.rstrip("/")


def names(c, s):
    """Return the names under which the server is met: ``tls.domain``, or the host as it was given."""
    return s.tls.domain or (c.host.lower(),)


def jupyter_service(s):
    """Return Jupyter's service, whose unit file configure-jupyter writes."""
    return Service("jupyter", ready=answers(s), ours=True)


def answers(s):
    """Return shell text that succeeds when Jupyter answers; a bare server has no curl, but Python is there."""
    ask = "import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=5)"
    return sh("{} -c {} {} 2>/dev/null", f"{prefix(s)}/bin/python", ask, f"http://127.0.0.1:{s.jupyter.port}{base_url(s)}/api")


password = secret.given
apache = Service("apache2", check=CONFIGTEST)

"""The settings' rules, and what follows from the settings."""

import re
from functools import partial
from pathlib import Path
from types import SimpleNamespace

from fabric import Connection
from invoke import Exit

from .installers import DISTRIBUTIONS
from .kit import secret
from .kit.resources import Service, User
from .kit.resources.apache import CONFIGTEST
from .kit.settings import Invalid, Schema
from .kit.task import BAD_REQUEST
from .kit.task import setup as kit_setup
from .loaded import ready
from .render import environment, in_url
from .rules import absolute_path, boolean, host_name, list_of, number, one_of, text

PACKAGE = Path(__file__).resolve().parent
# The wheel has it inside the package, the repository beside it.
CONFIG = next(folder for folder in (PACKAGE / "config", PACKAGE.parent / "config") if (folder / "defaults.yml").exists())

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
DEVICE = text(r"/dev/[\w./-]+|(char|block)-[\w*.-]+", "a device such as /dev/nvidia0, or char-nvidia* for a kind", empty=False)


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
    return text(r"https?://[^\s'\"@/]+(/[^\s'\"]*)?", "an address that begins with https://, and holds no password")(value)


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
    "ssh.undo_after": number(10, 3600),
    "firewall.enabled": boolean,
    "firewall.allow": list_of(number(1, 65535)),
    "apt.lock_timeout": number(0, 3600),
    "python.distribution": one_of("anaconda", "miniconda", "miniforge", "venv"),
    "python.version": text(r"[A-Za-z0-9][\w.-]*", "a version as it is in the installer's name, such as 2025.12-2"),
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
    "jupyter.name": text(r"jupyter(-[a-z0-9-]{1,30})?", "jupyter, or jupyter- and a name, such as jupyter-ada", empty=False),
    "jupyter.runner": one_of("systemd", "tmux"),
    "jupyter.sudo": boolean,
    "jupyter.devices": list_of(DEVICE),
    "jupyter.memory": text(r"[1-9]\d*[KMGT]|[1-9]\d?%|100%", "a size such as 512M or 4G, or a share such as 80%"),
    "apache.modules": list_of(text(r"[a-z][a-z0-9_]*", "the name of an Apache module, such as headers", empty=False)),
    "apache.site": text(r"[\w][\w.-]*(?<!\.conf)", "the name of a site as a2ensite takes it, such as 000-default"),
    "tls.issuer": one_of("self-signed", "letsencrypt", "own"),
    "tls.domain": list_of(host_name),
    "tls.email": text(r"[^@\s]+@[^@\s]+", "an e-mail address"),
    "tls.acme_server": url,
    "tls.acme_staging": url,
    "tls.acme_ca": text(),
    "tls.staging": boolean,
    "tls.tries": number(1, 50),
    "tls.fallback": boolean,
    "tls.profile": one_of("intermediate", "modern"),
    "tls.days": number(31, 3650),
    "tls.certificate": text(),
    "tls.key": text(),
}

schema = Schema("remote_jupyter", CONFIG / "defaults.yml", RULES)
setup = partial(kit_setup, schema)


def settings_for(c, flags=None):
    """Return the settings to a task that is no setup task; raises Exit with status 2 where one is wrong, or *c* has no host."""
    if not isinstance(c, Connection):
        raise Exit("this is about a server: say which with -H [user@]host", BAD_REQUEST)
    try:
        return schema.load(c, flags)
    except Invalid as error:
        raise Exit(str(error), BAD_REQUEST) from None


# For TLS 1.2, by Mozilla's intermediate profile.
CIPHERS = ":".join(
    f"ECDHE-{kind}-{cipher}"
    for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
    for kind in ("ECDSA", "RSA")
)


def render(template, **values):
    """Return the file that *template* of ``config/templates`` makes with *values*."""
    return environment(CONFIG / "templates").get_template(template).render(values, ciphers=CIPHERS)


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
    known = DISTRIBUTIONS.get(s.python.distribution)
    return at_home(s, s.python.prefix, known.folder if known else "~/jupyter-env")


def notebook_dir(s):
    """Return the folder of the notebooks."""
    return at_home(s, s.jupyter.notebook_dir, "~/notebooks")


def base_url(s):
    """Return the path of Jupyter's address without a slash at its end; empty for the root."""
    return s.jupyter.base_url.rstrip("/")


def by_access(s, access):
    """Return the settings *s* for this access mode, whatever they say: a preset is for one of them."""
    return SimpleNamespace(**vars(s) | {"jupyter": SimpleNamespace(**vars(s.jupyter) | {"access": access})})


def open_ports(s):
    """Return the TCP ports that the access mode opens to everybody."""
    challenges = (80,) if s.tls.issuer == "letsencrypt" else ()
    return {"apache": (80, 443), "direct": (s.jupyter.port, *challenges), "tunnel": ()}[s.jupyter.access]


def apache_ports(s):
    """Return those of the open ports on which Apache listens."""
    return tuple(port for port in open_ports(s) if port != s.jupyter.port)


def names(c, s):
    """Return the names under which the server is met: ``tls.domain``, or the host as it was given."""
    return s.tls.domain or (c.host.lower(),)


def jupyter_service(s):
    """Return Jupyter's service, whose unit file configure-jupyter writes."""
    scheme = "https" if s.jupyter.access == "direct" else "http"
    url = f"{scheme}://127.0.0.1:{s.jupyter.port}{base_url(s)}/api"
    return Service(s.jupyter.name, ready=ready(s.jupyter.name, s.user.name, url, home(s), to_load(s)), ours=True)


def to_load(s):
    """Return what the running Jupyter must have loaded, under the names that it uses itself."""
    direct = s.jupyter.access == "direct"
    where = {"hostname": "localhost" if direct else "127.0.0.1", "port": s.jupyter.port}  # localhost: on every address
    return where | {"base_url": f"{base_url(s)}/", "root_dir": notebook_dir(s), "token": "", "secure": direct}


def address(c, s):
    """Return the address at which a browser finds Jupyter, or an empty text where only a tunnel leads there."""
    name = in_url(names(c, s)[0])
    ways = {"apache": f"https://{name}{base_url(s)}/", "direct": f"https://{name}:{s.jupyter.port}{base_url(s)}/", "tunnel": ""}
    return ways[s.jupyter.access]


password = secret.given
apache = Service("apache2", check=CONFIGTEST)

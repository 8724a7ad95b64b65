"""The settings' rules, and what follows from the settings."""

import re
from types import SimpleNamespace

from ..kit.resources import Service, User
from ..resources.apache import CONFIGTEST
from ..resources.installers import DISTRIBUTIONS
from ..resources.jupyter import ready
from .templates import in_url


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
    return SimpleNamespace(
        **vars(s) | {"jupyter": SimpleNamespace(**vars(s.jupyter) | {"access": access})}
    )


def open_ports(s):
    """Return the TCP ports that the access mode opens to everybody."""
    challenges = (80,) if s.tls.issuer == "letsencrypt" else ()
    return {"apache": (80, 443), "direct": (s.jupyter.port, *challenges), "tunnel": ()}[
        s.jupyter.access
    ]


def apache_ports(s):
    """Return those of the open ports on which Apache listens."""
    return tuple(port for port in open_ports(s) if port != s.jupyter.port)


def names(c, s):
    """Return the names under which the server is met: ``tls.domains``, or the host as it was given."""
    return s.tls.domains or (c.host.lower(),)


def jupyter_service(s):
    """Return Jupyter's service, whose unit file configure-jupyter writes."""
    scheme = "https" if s.jupyter.access == "direct" else "http"
    url = f"{scheme}://127.0.0.1:{s.jupyter.port}{base_url(s)}/api"
    return Service(
        s.jupyter.name,
        ready=ready(s.jupyter.name, s.user.name, url, home(s), to_load(s)),
        ours=True,
    )


def to_load(s):
    """Return what the running Jupyter must have loaded, under the names that it uses itself."""
    direct = s.jupyter.access == "direct"
    where = {
        "hostname": "localhost" if direct else "127.0.0.1",
        "port": s.jupyter.port,
    }  # localhost: on every address
    return where | {
        "base_url": f"{base_url(s)}/",
        "root_dir": notebook_dir(s),
        "token": "",
        "secure": direct,
    }


def address(c, s):
    """Return the address at which a browser finds Jupyter, or an empty text where only a tunnel leads there."""
    name = in_url(names(c, s)[0])
    ways = {
        "apache": f"https://{name}{base_url(s)}/",
        "direct": f"https://{name}:{s.jupyter.port}{base_url(s)}/",
        "tunnel": "",
    }
    return ways[s.jupyter.access]


apache = Service("apache2", check=CONFIGTEST)

"""What follows from the settings: directories, names, URLs, ports and shared resources."""

import re
from types import SimpleNamespace

from fabric import Connection

from ..kit.resources import Service, User
from ..kit.settings import Settings
from ..resources.apache import CONFIGTEST
from ..resources.installers import DISTRIBUTIONS
from ..resources.jupyter import ready
from .templates import url_host

# -- the login user


def login_user(s: Settings) -> User:
    """Return the login user, which every task needs that works in its home."""
    return User(s.user.name, home(s))


def home(s: Settings) -> str:
    """Return the login user's home."""
    return s.user.home or f"/home/{s.user.name}"


def prefix(s: Settings) -> str:
    """Return the directory of the Python environment."""
    known = DISTRIBUTIONS.get(s.python.distribution)
    return in_home(s, s.python.prefix or (known.folder if known else "~/jupyter-env"))


def notebook_dir(s: Settings) -> str:
    """Return the directory of the notebooks."""
    return in_home(s, s.jupyter.notebook_dir or "~/notebooks")


def in_home(s: Settings, path: str) -> str:
    """Return *path* with the login user's home in place of ``~``."""
    return re.sub(r"^~(?=/)", lambda _: home(s), path)


# -- how browsers reach Jupyter


def with_access(s: Settings, access: str) -> Settings:
    """Return the settings with another access mode; each preset is for one mode."""
    jupyter = SimpleNamespace(**vars(s.jupyter) | {"access": access})
    return SimpleNamespace(**vars(s) | {"jupyter": jupyter})


def names(c: Connection, s: Settings) -> tuple[str, ...]:
    """Return the server's names: those in ``tls.domains``, or else the host of the connection."""
    return s.tls.domains or (c.host.lower(),)


def base_url(s: Settings) -> str:
    """Return the path of Jupyter's URL without a slash at its end; empty for the root."""
    return s.jupyter.base_url.rstrip("/")


def jupyter_url(c: Connection, s: Settings) -> str:
    """Return the URL for browsers, or an empty text if Jupyter is reached only through SSH."""
    host = url_host(names(c, s)[0])
    return {
        "apache": f"https://{host}{base_url(s)}/",
        "direct": f"https://{host}:{s.jupyter.port}{base_url(s)}/",
        "tunnel": "",
    }[s.jupyter.access]


def open_ports(s: Settings) -> tuple[int, ...]:
    """Return the TCP ports that the access mode opens in the firewall."""
    challenges = (80,) if s.tls.issuer == "letsencrypt" else ()
    return {
        "apache": (80, 443),
        "direct": (s.jupyter.port, *challenges),
        "tunnel": (),
    }[s.jupyter.access]


def apache_ports(s: Settings) -> tuple[int, ...]:
    """Return those of the open ports on which Apache listens."""
    return tuple(port for port in open_ports(s) if port != s.jupyter.port)


# -- services

apache = Service("apache2", check=CONFIGTEST)


def jupyter_service(s: Settings) -> Service:
    """Return Jupyter's service, whose unit file configure-jupyter writes."""
    scheme = "https" if s.jupyter.access == "direct" else "http"
    url = f"{scheme}://127.0.0.1:{s.jupyter.port}{base_url(s)}/api"
    return Service(
        s.jupyter.name,
        ready=ready(s.user.name, url, home(s), prefix(s), runtime_settings(s)),
        ours=True,
    )


def runtime_settings(s: Settings) -> dict[str, str | int | bool]:
    """Return what the running Jupyter must have loaded, by Jupyter's own names."""
    direct = s.jupyter.access == "direct"
    return {
        "hostname": "localhost" if direct else "127.0.0.1",  # localhost: on every interface
        "port": s.jupyter.port,
        "base_url": f"{base_url(s)}/",
        "root_dir": notebook_dir(s),
        "token": "",
        "secure": direct,
    }

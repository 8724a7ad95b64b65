"""Whole configuration files from config/templates."""

import re
from functools import cache
from pathlib import Path
from typing import Any

from ..kit.quote import CONFIG
from ..kit.resources import MARK

# For TLS 1.2, from the intermediate profile of https://wiki.mozilla.org/Security/Server_Side_TLS
CIPHERS = ":".join(
    f"ECDHE-{kind}-{cipher}"
    for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
    for kind in ("ECDSA", "RSA")
)


def render(template: str, **values: Any) -> str:
    """Return a configuration file.

    For example::

        render("sudoers.j2", user="ada")

    Args:
        template: the name of a file in config/templates.
        values: the variables of the template, besides ``mark`` and ``ciphers``.

    Raises:
        jinja2.UndefinedError: if the template uses a variable that is not in *values*.
    """
    environment = jinja_environment(CONFIG / "templates")
    return str(environment.get_template(template).render(values, ciphers=CIPHERS))


@cache
def jinja_environment(folder: Path) -> Any:
    """Return the Jinja environment for the templates in *folder*, with our filters."""
    import jinja2  # here, as it takes a while and most command lines do without it

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters |= {
        "py": repr,
        "unit": unit_word,
        "unit_path": unit_path,
        "url_host": url_host,
        "regex": re.escape,
    }
    environment.globals["mark"] = MARK
    return environment


def unit_path(text: str) -> str:
    """Return *text* for a systemd setting that takes one path as the rest of its line."""
    return text.replace("%", "%%")


def unit_word(text: str) -> str:
    """Return *text* as one word of a systemd setting that takes several."""
    return '"' + unit_path(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def url_host(host: str) -> str:
    """Return *host* as it is written in a URL: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host

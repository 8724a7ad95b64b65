"""Whole configuration files from templates."""

import re
from functools import cache

from ..kit.quote import CONFIG
from ..kit.resources import MARK

# For TLS 1.2, by Mozilla's intermediate profile.
CIPHERS = ":".join(
    f"ECDHE-{kind}-{cipher}"
    for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
    for kind in ("ECDSA", "RSA")
)


def render(template, **values):
    """Return the file that *template* of ``config/templates`` makes with *values*."""
    return environment(CONFIG / "templates").get_template(template).render(values, ciphers=CIPHERS)


@cache
def environment(folder):
    """Return the Jinja environment of *folder*; a value that a template names and nobody gives is an error."""
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    made.filters |= {
        "py": repr,
        "unit": unit_word,
        "unit_path": unit_path,
        "in_url": in_url,
        "regex": re.escape,
    }
    made.globals["mark"] = MARK
    return made


def unit_path(text):
    """Return *text* for a systemd setting that takes one path as the rest of its line."""
    return text.replace("%", "%%")


def unit_word(text):
    """Return *text* as one word of a systemd setting that takes several."""
    return '"' + unit_path(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def in_url(host):
    """Return *host* as a URL has it: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host

"""Jupyter itself: its configuration and its service."""

import json

from .conda import install_anaconda
from .kit.quote import sh
from .kit.resources import Check, Directory, File, PasswordFile
from .kit.resources.certificate import is_address
from .options import base_url, home, jupyter_service, names, notebook_dir, password, prefix, render, setup

UNIT = "/etc/systemd/system/jupyter.service"

_generated = {}  # by host: the passwords that were generated in this process, so that verify can log in after full-setup


def generated_here(c):
    """Return the list of the passwords that were generated in this process for Jupyter on the host of *c*."""
    return _generated.setdefault((c.host, c.port), [])


@setup(
    user="user.name",
    interface="jupyter.interface",
    port="jupyter.port",
    base_url="jupyter.base_url",
    notebook_dir="jupyter.notebook_dir",
    domain="tls.domain",
    help={"ask_password": "Ask for Jupyter's password here, instead of JUPYTER_PASSWORD or a generated one."},
)
def configure_jupyter(c, s, ask_password=False):
    """Run Jupyter as the login user's service, on loopback, behind a password."""
    user, config = s.user.name, f"{home(s)}/.jupyter"
    hash_file = f"{config}/password-hash"
    service = jupyter_service(s)
    values = {
        "user": user,
        "prefix": prefix(s),
        "notebook_dir": notebook_dir(s),
        "interface": s.jupyter.interface,
        "port": s.jupyter.port,
        "base_url": f"{base_url(s)}/",
        "hash_file": hash_file,
        "names": ["localhost", *names(c, s)],
        "by_address": any(map(is_address, names(c, s))),
        "writable": writable(home(s), notebook_dir(s), prefix(s)),
    }
    yield from install_anaconda.body(c, s)
    yield Check("other configuration", sh(OTHERS, config), overriding)
    yield Directory(config, user, mode="0700")
    yield Directory(notebook_dir(s), user, mode="", adopt=False)
    yield PasswordFile(
        hash_file,
        user,
        web_password(ask_password),
        "argon2:",
        "password of Jupyter",
        told=generated_here(c),
        notify=service.restart,
    )
    content = render("jupyter_server_config.py.j2", **values)
    yield File(f"{config}/jupyter_server_config.py", content, user, mode="0600", notify=service.restart)
    yield File(UNIT, render("jupyter.service.j2", **values), notify=service.restart)
    yield service


def web_password(ask):
    """Return the password that the operator gives for Jupyter, or None; raises ValueError where it would never let in."""
    given = password("JUPYTER_PASSWORD", ask)
    if given and given.reveal() != given.reveal().strip():
        raise ValueError("JUPYTER_PASSWORD: begins or ends with a space, which Jupyter's login form drops")
    return given


# Of two values for one key, Jupyter takes the one of the JSON file.
OTHERS = """
    cd {} 2>/dev/null || exit 0
    for f in jupyter_server_config.json jupyter_server_config.d/*.json; do
        [ -f "$f" ] && cat "$f"
        printf '\\000%s\\000' "$f"
    done
"""


def overriding(output):
    """Return what is wrong with Jupyter's JSON configuration: that it holds more than a list of extensions."""
    parts = output.split("\0")
    for text, name in zip(parts[::2], parts[1::2], strict=False):
        try:
            tree = json.loads(text) if text.strip() else {}
            keys = [f"{group}.{key}" for group, values in tree.items() for key in values if key != "jpserver_extensions"]
        except (ValueError, AttributeError, TypeError):
            keys = ["what is no JSON"]
        if keys:
            return f"~/.jupyter/{name} holds {', '.join(keys)}, which would win over our settings; move it away", ""
    return "", ""


def writable(*folders):
    """Return those of *folders* that are not inside another one."""
    return [one for one in dict.fromkeys(folders) if not any(one.startswith(f"{other}/") for other in folders)]

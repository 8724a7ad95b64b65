"""Jupyter itself: its configuration and its service."""

import json

from ..kit.quote import sh
from ..kit.resources import Check, Directory, File, MovedAside, Package, Withdrawn
from ..resources import PasswordFile
from ..resources.jupyter import LoadedSettings
from ..resources.tls import is_address
from ..settings import password, setup
from ..settings.certificate import FOR_JUPYTER, pair
from ..settings.derived import base_url, home, jupyter_service, names, notebook_dir, prefix, to_load
from ..settings.templates import render
from .python import install_anaconda

CONFIG_FILE = "jupyter_server_config.py"


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
    domain="tls.domains",
    help={
        "ask_password": "Ask for Jupyter's password here, instead of JUPYTER_PASSWORD or a generated one."
    },
)
def configure_jupyter(c, s, ask_password=False):
    """Run Jupyter as a service, behind a password."""
    user, config = s.user.name, f"{home(s)}/.jupyter"
    hash_file = f"{config}/password-hash"
    service = jupyter_service(s)
    met_as = () if s.jupyter.access == "tunnel" else names(c, s)
    session = f"/usr/local/lib/remote-jupyter-{s.jupyter.name}.sh"
    values = {
        "user": user,
        "prefix": prefix(s),
        "notebook_dir": notebook_dir(s),
        "interface": s.jupyter.interface,
        "port": s.jupyter.port,
        "base_url": f"{base_url(s)}/",
        "hash_file": hash_file,
        "config": config,
        "names": ["localhost", *met_as],
        "by_address": any(map(is_address, met_as)),
        "behind_proxy": s.jupyter.access == "apache",
        "tls": FOR_JUPYTER if s.jupyter.access == "direct" else "",
        "writable": writable(
            home(s), notebook_dir(s), prefix(s), *["/tmp"] * (s.jupyter.runner == "tmux")
        ),
        "name": s.jupyter.name,
        "session": session if s.jupyter.runner == "tmux" else "",
        "sudo": s.jupyter.sudo,
        "devices": s.jupyter.devices,
        "memory": s.jupyter.memory,
    }
    yield from install_anaconda.body(c, s)
    if s.jupyter.access == "direct":
        if s.tls.profile == "modern":
            raise ValueError(
                "tls.profile: modern is for Apache; Jupyter itself (jupyter.access direct) speaks TLS 1.2 too"
            )
        yield from pair(c, s)
    if s.jupyter.runner == "tmux":
        yield Package("tmux", lock_timeout=s.apt.lock_timeout)
        yield File(
            session, render("tmux-session.sh.j2", name=s.jupyter.name), notify=service.restart
        )
    else:
        yield Withdrawn(session)
    unit = f"/etc/systemd/system/{s.jupyter.name}.service"
    yield Check(f"owner of {s.jupyter.name}.service", sh(OWNER, unit), owner_judge(user))
    yield Check("other configuration", sh(OTHERS, config), overriding)
    yield Directory(config, user, mode="0700")
    yield Directory(notebook_dir(s), user, mode="", adopt=False)
    for suffix in ("py", "json"):
        yield MovedAside(
            f"{config}/jupyter_notebook_config.{suffix}",
            f"{config}/classic.{suffix}",
            user,
            notify=service.restart,
        )
    yield PasswordFile(
        hash_file,
        user,
        web_password(ask_password),
        "argon2:",
        "password of Jupyter",
        told=generated_here(c),
    )
    content = render("jupyter_server_config.py.j2", **values)
    yield File(f"{config}/{CONFIG_FILE}", content, user, mode="0600", notify=service.restart)
    yield File(unit, render("jupyter.service.j2", **values), notify=service.restart)
    yield service
    yield LoadedSettings(service, home(s), json.dumps(to_load(s), sort_keys=True))


@setup(
    user="user.name",
    name="jupyter.name",
    help={"no_prompt": "Take JUPYTER_PASSWORD, and do not ask for it."},
)
def set_password(c, s, no_prompt=False):
    """Change Jupyter's password; kernels go on.

    It holds at once, and everybody has to log in again.
    """
    password = web_password(not no_prompt)
    if not password:
        raise ValueError("JUPYTER_PASSWORD: is not set; set it, or let yourself be asked")
    config = f"{home(s)}/.jupyter"
    yield Check(
        "Jupyter's configuration",
        sh("grep -sc {} {}; :", "class PasswordOfFile", f"{config}/{CONFIG_FILE}"),
        takes_up,
    )
    yield PasswordFile(
        f"{config}/password-hash", s.user.name, password, "argon2:", "password of Jupyter"
    )


def takes_up(output):
    """Judge whether the server takes up a new password by itself, as it does with the configuration that we write."""
    if output.strip() in ("", "0"):
        return (
            "there is none of ours, so that no new password would be taken up; run configure-jupyter, which sets it too",
            "",
        )
    return "", ""


# Of a service whose user is gone, nobody is the owner.
OWNER = """
    owner=$(sed -n 's/^User=//p' {} 2>/dev/null)
    [ -z "$owner" ] || ! getent passwd "$owner" >/dev/null || echo "$owner"
"""


def owner_judge(user):
    """Return a judge of whose service it is: one of another user's is not to be taken over."""

    def judge(output):
        other = output.strip()
        if other in ("", user):
            return "", ""
        own = f"jupyter.name=jupyter-{user}, and its own jupyter.port and jupyter.base_url"
        return f"it is {other}'s; a second Jupyter on this server needs {own}", ""

    return judge


def web_password(ask):
    """Return the password that the operator gives for Jupyter, or None; raises ValueError where it would never let in."""
    given = password("JUPYTER_PASSWORD", ask)
    if given and given.reveal() != given.reveal().strip():
        raise ValueError(
            "JUPYTER_PASSWORD: begins or ends with a space, which Jupyter's login form drops"
        )
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
            keys = [
                f"{group}.{key}"
                for group, values in tree.items()
                for key in values
                if key != "jpserver_extensions"
            ]
        except (ValueError, AttributeError, TypeError):
            keys = ["what is no JSON"]
        if keys:
            return (
                f"~/.jupyter/{name} holds {', '.join(keys)}, which would win over our settings; move it away",
                "",
            )
    return "", ""


def writable(*folders):
    """Return those of *folders* that are not inside another one."""
    return [
        one
        for one in dict.fromkeys(folders)
        if not any(one.startswith(f"{other}/") for other in folders)
    ]

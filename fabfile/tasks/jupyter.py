"""Configure Jupyter and its service."""

import json
from functools import cache

from ..kit.host import Host
from ..kit.quote import script
from ..kit.resources import Check, Directory, File, FileAbsent, MovedAside, Package
from ..kit.resources.check import fail, ok
from ..kit.resources.home import as_owner
from ..resources import PasswordFile, StartupFiles
from ..resources.jupyter import LoadedSettings
from ..resources.startup import PARENTS, PROTECTED
from ..resources.tls import is_address
from ..settings import password, setup
from ..settings.certificate import JUPYTER_FOLDER, served_certificate
from ..settings.derived import (
    base_url,
    home,
    jupyter_service,
    names,
    notebook_dir,
    prefix,
    runtime_settings,
)
from ..settings.templates import render
from .python import install_anaconda

CONFIG_FILE = "jupyter_server_config.py"

# A path of a socket has at most 107 characters, and those of kernels are 79 longer than the home.
LONGEST_HOME = 28

# A service whose user was removed has no owner.
SERVICE_OWNER = """
owner=$(sed -n 's/^User=//p' "$unit" 2>/dev/null)
[ -z "$owner" ] || ! getent passwd "$owner" >/dev/null || echo "$owner"
"""

# If two files set a key, Jupyter takes the value of the JSON file.
JSON_FILES = r"""
cd "$folder" 2>/dev/null || exit 0
for file in jupyter_server_config.json jupyter_server_config.d/*.json; do
    [ ! -f "$file" ] || head -c 1000000 "$file" 2>/dev/null || :
    printf '\000%s\000' "$file"
done
"""


def generated_here(c):
    """Return the list of the passwords that this process has generated for Jupyter."""
    return Host.of(c).secrets("jupyter")


@setup(
    "user.name",
    "jupyter.interface",
    "jupyter.port",
    "jupyter.base_url",
    "jupyter.notebook_dir",
    "tls.domains",
    help={
        "ask_password": "Prompt for Jupyter's password instead of using JUPYTER_PASSWORD"
        " or a generated one."
    },
)
def configure_jupyter(c, s, ask_password=False):
    """Run Jupyter as a service, protected by a password."""
    user, config, name = s.user.name, f"{home(s)}/.jupyter", s.jupyter.name
    unit = f"/etc/systemd/system/{name}.service"
    service = jupyter_service(s)
    yield from install_anaconda.body(c, s)
    if s.jupyter.access == "direct":
        yield from own_tls(c, s)
    yield from tmux_session(s, service)
    question = script(SERVICE_OWNER, unit=unit)
    yield Check(f"owner of {name}.service", question, owner_judge(user))
    question = as_owner(user, script(JSON_FILES, folder=config), seconds=20, no_user=":")
    yield Check("other configuration", question, no_overrides)
    yield Directory(config, user, mode="0700")
    yield Directory(notebook_dir(s), user, mode="", adopt=False)
    # The unit can protect only what exists.
    yield StartupFiles(user, home(s))
    yield from classic_configuration(config, user, service)
    yield PasswordFile(
        f"{config}/password-hash",
        user,
        web_password(ask_password),
        "argon2:",
        "password of Jupyter",
        told=generated_here(c),
    )
    values = template_values(c, s)
    content = render("jupyter_server_config.py.j2", **values)
    yield File(f"{config}/{CONFIG_FILE}", content, user, mode="0600", notify=service.restart)
    yield File(unit, render("jupyter.service.j2", **values), notify=service.restart)
    yield service
    yield LoadedSettings(service, user, json.dumps(runtime_settings(s), sort_keys=True))


def own_tls(c, s):
    """Yield the certificate with which Jupyter itself speaks TLS.

    Raises:
        ValueError: the TLS profile is one that Jupyter cannot have.
    """
    if s.tls.profile == "modern":
        raise ValueError(
            "tls.profile: modern needs Apache; with jupyter.access direct, Jupyter also accepts"
            " TLS 1.2, so use intermediate"
        )
    yield from served_certificate(c, s)


def tmux_session(s, service):
    """Yield tmux and the script that starts Jupyter in it, or the absence of that script."""
    if s.jupyter.runner != "tmux":
        yield FileAbsent(session_script(s), foreign="keep")
        return
    yield Package("tmux", lock_timeout=s.apt.lock_timeout)
    content = render("tmux-session.sh.j2", name=s.jupyter.name)
    yield File(session_script(s), content, notify=service.restart)


def session_script(s):
    """Return the path of the script that starts Jupyter in tmux."""
    return f"/usr/local/lib/remote-jupyter-{s.jupyter.name}.sh"


def classic_configuration(config, user, service):
    """Yield the renaming of the classic notebook's configuration, which Jupyter would read too."""
    for suffix in ("py", "json"):
        path = f"{config}/jupyter_notebook_config.{suffix}"
        yield MovedAside(path, f"{config}/classic.{suffix}", user, notify=service.restart)


def template_values(c, s):
    """Return the values of the templates of Jupyter's configuration and service."""
    host_names = () if s.jupyter.access == "tunnel" else names(c, s)
    tmux = s.jupyter.runner == "tmux"
    config = f"{home(s)}/.jupyter"
    return {
        "user": s.user.name,
        "prefix": prefix(s),
        "notebook_dir": notebook_dir(s),
        "interface": s.jupyter.interface,
        "port": s.jupyter.port,
        "base_url": f"{base_url(s)}/",
        "hash_file": f"{config}/password-hash",
        "config": config,
        "names": ["localhost", *host_names],
        "by_address": any(map(is_address, host_names)),
        "behind_proxy": s.jupyter.access == "apache",
        "tls": JUPYTER_FOLDER if s.jupyter.access == "direct" else "",
        "writable": outermost(home(s), notebook_dir(s), prefix(s)),
        "startup": [f"{home(s)}/{name}" for name in PROTECTED],
        "startup_parents": [f"{home(s)}/{name}" for name in PARENTS],
        "name": s.jupyter.name,
        "session": session_script(s) if tmux else "",
        "ipc": len(home(s)) <= LONGEST_HOME,
        "sudo": s.jupyter.sudo,
        "devices": s.jupyter.devices,
        "memory": s.jupyter.memory,
    }


@setup(
    "user.name",
    "jupyter.name",
    help={"no_prompt": "Use JUPYTER_PASSWORD instead of prompting."},
)
def set_password(c, s, no_prompt=False):
    """Change Jupyter's password; kernels keep running.

    It takes effect at once, and everyone has to log in again.
    """
    new = web_password(not no_prompt)
    if not new:
        raise ValueError("JUPYTER_PASSWORD: not set; set it, or leave out --no-prompt")
    config = f"{home(s)}/.jupyter"
    count = script(
        '[ ! -f "$config" ] || grep -sc "class PasswordOfFile" "$config" || :',
        config=f"{config}/{CONFIG_FILE}",
    )
    question = as_owner(s.user.name, count, seconds=20, no_user=":")
    yield Check("Jupyter's configuration", question, is_configured)
    yield PasswordFile(
        f"{config}/password-hash", s.user.name, new, "argon2:", "password of Jupyter"
    )


def is_configured(output):
    """Judge whether Jupyter has our configuration, which reads the password at each login."""
    if output.strip() in ("", "0"):
        return fail(
            "Jupyter's configuration was not written by configure-jupyter, so Jupyter would ignore"
            " a new password; run configure-jupyter, which sets the password too"
        )
    return ok()


@cache
def owner_judge(user):
    """Return a judge of whose service it is; another user's must not be replaced."""

    def judge(output):
        other = output.strip()
        if other in ("", user):
            return ok()
        return fail(
            f"the service belongs to {other}; a second Jupyter on this server needs"
            f" jupyter.name=jupyter-{user}, and its own jupyter.port and jupyter.base_url"
        )

    return judge


def web_password(ask):
    """Return Jupyter's password as the operator gives it, or None.

    Raises:
        ValueError: no one could log in with this password.
    """
    given = password("JUPYTER_PASSWORD", ask)
    if given and given.reveal() != given.reveal().strip():
        raise ValueError(
            "JUPYTER_PASSWORD: begins or ends with a space, which Jupyter's login form drops;"
            " choose another password"
        )
    return given


def no_overrides(output):
    """Judge Jupyter's JSON files; they may hold nothing but a list of extensions."""
    parts = output.split("\0")
    for text, name in zip(parts[::2], parts[1::2], strict=False):
        if keys := overriding_keys(text):
            return fail(
                f"~/.jupyter/{name} holds {', '.join(keys)}, which would override our settings;"
                " move it away"
            )
    return ok()


def overriding_keys(text):
    """Return the keys in the JSON *text* that would override our settings."""
    try:
        tree = json.loads(text) if text.strip() else {}
        return [
            f"{group}.{key}"
            for group, values in tree.items()
            for key in values
            if key != "jpserver_extensions"
        ]
    except (ValueError, AttributeError, TypeError):
        return ["something that is not a JSON object of settings"]


def outermost(*folders):
    """Return those of *folders* that are not inside another one."""
    return [
        folder
        for folder in dict.fromkeys(folders)
        if not any(folder.startswith(f"{other}/") for other in folders)
    ]

"""Notebooks from here to the server and back, by rsync."""

import re
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import SimpleNamespace

from fabric import task
from invoke import Exit

from ..kit.errors import RemoteError
from ..kit.patchwork import environment, transfers
from ..kit.quote import sh, words
from ..kit.report import say
from ..kit.resources import Package
from ..kit.shell import shell_of
from ..kit.task import BAD_REQUEST, PENDING
from ..local.openssh import ssh_config, ssh_environment
from ..settings import settings_for, setup
from ..settings.derived import notebook_dir

LEFT_OUT = (".ipynb_checkpoints", ".~*")  # Jupyter's own


FLAGS = {
    "folder": "Folder on your machine.",
    "delete": "Delete what is there and not here (the other way round for pull).",
    "overwrite": "Also replace files that are newer where they would be replaced.",
}


@setup()
def rsync_installed(c, s):
    """Have rsync on the server."""
    yield Package("rsync", lock_timeout=s.apt.lock_timeout)


@task(help=FLAGS)
def push_notebooks(c, folder="notebooks", delete=False, overwrite=False):
    """Copy a folder of notebooks to the server.

    What is newer there stays, and is named.
    """
    s = check(c, folder)
    if not Path(folder).expanduser().is_dir():
        raise Exit(f"--folder {folder}: there is no such folder here", BAD_REQUEST)
    copy(c, s, folder, False, delete, overwrite)


@task(help=FLAGS)
def pull_notebooks(c, folder="notebooks", delete=False, overwrite=False):
    """Copy the notebooks from the server.

    What is newer in the folder here stays, and is named.
    """
    s = check(c, folder)
    if not c.config.run.dry:
        Path(folder).expanduser().mkdir(parents=True, exist_ok=True)
    copy(c, s, folder, True, delete, overwrite)


def check(c, folder="notebooks", **_):
    """Return the settings; raises Exit with status 2 where they are not valid, or *folder* is no folder."""
    s = settings_for(c)
    if Path(folder).expanduser().exists() and not Path(folder).expanduser().is_dir():
        raise Exit(f"--folder {folder}: is no folder", BAD_REQUEST)
    return s


push_notebooks.check = pull_notebooks.check = check


def copy(c, s, folder, pull, delete, overwrite):
    """Copy the content of *folder* to the server, or with *pull* from there, and print what changes and what is newer."""
    if not shutil.which("rsync"):
        raise Exit("rsync is missing here: install it on your machine", 1)
    dry, here, there = c.config.run.dry, str(Path(folder).expanduser().resolve()), notebook_dir(s)
    try:
        if not shell_of(c).run(sh("id -u {}", s.user.name), hide=True, warn=True).ok:
            raise Exit(
                f"{c.original_host}  there is no user {s.user.name} on the server; create-user makes one",
                1,
            )
        if not environment.have_program(shell_of(c), "rsync"):
            rsync_installed(c)
            if dry:
                return
    except RemoteError as error:
        raise Exit(f"{c.original_host}  {error}", 1) from None
    with tempfile.TemporaryDirectory() as scratch, ssh_environment(c) as variables:
        config = Path(scratch, "config")
        config.write_text(ssh_config(c), encoding="utf-8")

        def changes(*options):
            argv = rsync_words(c, config, f"{here}/", f"{there}/", s.user.name, delete, options)
            if pull:
                argv[-2:] = reversed(argv[-2:])
            done = subprocess.run(
                argv, env=variables, capture_output=True, text=True, errors="replace"
            )
            if done.returncode:
                raise Exit(f"{c.original_host}  rsync failed: {done.stderr.strip()}", 1)
            return re.findall(r"^(?:[<>]f\S+|\*deleting) +(.+)$", done.stdout, re.M)

        copied = changes(*["--update"] * (not overwrite), *["--dry-run"] * dry)
        newer = [] if overwrite else [name for name in changes("--dry-run") if name not in copied]
    for name in copied:
        say(f"{c.original_host}  {'would change' if dry else 'changed'}  {name}")
    for name in newer:
        say(
            f"{c.original_host}  newer {'here' if pull else 'on the server'}, and stays: {name}; --overwrite replaces it"
        )
    say(
        f"{c.original_host}  {len(copied)} {'would change' if dry else 'changed'}, {len(newer)} newer"
    )
    if newer or (dry and copied):
        raise Exit(code=1 if newer else PENDING)


def rsync_words(c, config, here, there, user, delete, options):
    """Return the command of patchwork's rsync from *here* to *there*, as words; on the server it runs as *user*."""
    commands = []
    become = {user: "rsync", "root": f"runuser -u {user} -- rsync"}.get(
        c.user, f"sudo -n -u {user} rsync"
    )
    rsync_opts = sh("-s --out-format={} --rsync-path={} {}", "%i %n", become, words(options))
    place = SimpleNamespace(
        connect_kwargs={}, user=c.user, host=c.original_host, port=c.port, local=commands.append
    )
    ssh_opts = sh("-F {}", config)
    transfers.rsync(
        place,
        sh("{}", here),
        sh("{}", there),
        LEFT_OUT,
        delete,
        rsync_opts=rsync_opts,
        ssh_opts=ssh_opts,
    )
    return shlex.split(commands[0])

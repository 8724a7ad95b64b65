"""Copy notebooks between the operator's machine and the server by rsync."""

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
from ..kit.host import Host
from ..kit.patchwork import environment, transfers
from ..kit.quote import sh, words
from ..kit.resources import Package
from ..kit.task import BAD_REQUEST, PENDING
from ..kit.terminal import printable, say
from ..local.openssh import ssh_config, ssh_environment
from ..settings import settings_for, setup
from ..settings.derived import notebook_dir

EXCLUDED = (".ipynb_checkpoints", ".~*")  # Jupyter's own files

FLAGS = {
    "folder": "Folder on your machine.",
    "delete": "Delete files that are missing in the folder they are copied from.",
    "overwrite": "Replace newer files too.",
}


@setup()
def rsync_installed(c, s):
    """Install rsync on the server."""
    yield Package("rsync", lock_timeout=s.apt.lock_timeout)


@task(help=FLAGS)
def push_notebooks(c, folder="notebooks", delete=False, overwrite=False):
    """Copy a folder of notebooks to the server.

    Files that are newer on the server are kept, and named.
    """
    s = check_folder(c, folder)
    if not Path(folder).expanduser().is_dir():
        raise Exit(f"--folder {folder}: no such folder", BAD_REQUEST)
    copy(c, s, folder, False, delete, overwrite)


@task(help=FLAGS)
def pull_notebooks(c, folder="notebooks", delete=False, overwrite=False):
    """Copy the notebooks from the server.

    Files that are newer on your machine are kept, and named.
    """
    s = check_folder(c, folder)
    if not c.config.run.dry:
        Path(folder).expanduser().mkdir(parents=True, exist_ok=True)
    copy(c, s, folder, True, delete, overwrite)


def check_folder(c, folder="notebooks", **_):
    """Return the settings.

    Raises:
        Exit: they are invalid, or *folder* is not a folder (status 2).
    """
    s = settings_for(c)
    path = Path(folder).expanduser()
    if path.exists() and not path.is_dir():
        raise Exit(f"--folder {folder}: not a folder", BAD_REQUEST)
    return s


push_notebooks.check = pull_notebooks.check = check_folder


def copy(c, s, folder, pull, delete, overwrite):
    """Copy the files that differ; print them, and those that are kept because they are newer.

    Args:
        folder: the folder on this machine.
        pull: whether to copy from the server instead of to it.
        delete: whether to delete files that are missing in the source.
        overwrite: whether to replace newer files.

    Raises:
        Exit: the copy fails or leaves newer files (status 1); a dry run found changes (3).
    """
    dry = c.config.run.dry
    if not prepared(c, s):
        return
    with tempfile.TemporaryDirectory() as scratch, ssh_environment(c) as variables:
        config = Path(scratch, "config")
        config.write_text(ssh_config(c), encoding="utf-8")
        places = f"{Path(folder).expanduser().resolve()}/", f"{notebook_dir(s)}/"

        def rsync(*options):
            command = rsync_words(c, config, *places, s.user.name, delete, options)
            if pull:
                command[-2:] = reversed(command[-2:])
            return changed_files(c, command, variables)

        copied = rsync(*["--update"] * (not overwrite), *["--dry-run"] * dry)
        newer = [] if overwrite else [name for name in rsync("--dry-run") if name not in copied]
    tell(c, copied, newer, pull)
    if newer:
        raise Exit(code=1)
    if dry and copied:
        raise Exit(code=PENDING)


def prepared(c, s):
    """Make sure that both sides can copy; install rsync on the server.

    Returns:
        False in a dry run on a server that has no rsync yet.

    Raises:
        Exit: rsync or the login user is missing (status 1).
    """
    if not shutil.which("rsync"):
        raise Exit("rsync is missing here; install it on your machine", 1)
    try:
        shell = Host.of(c).shell
        if not shell.run(sh("id -u {}", s.user.name), hide=True, warn=True).ok:
            missing = f"the user {s.user.name} does not exist on the server; run create-user first"
            raise Exit(f"{c.original_host}  {missing}", 1)
        if not environment.have_program(shell, "rsync"):
            rsync_installed(c)
            return not c.config.run.dry
    except RemoteError as error:
        raise Exit(f"{c.original_host}  {error}", 1) from None
    return True


def changed_files(c, command, variables):
    """Run rsync and return the files that it copies or deletes.

    Raises:
        Exit: rsync fails (status 1).
    """
    done = subprocess.run(command, env=variables, capture_output=True, text=True, errors="replace")
    if done.returncode:
        raise Exit(f"{c.original_host}  rsync failed: {printable(done.stderr).strip()}", 1)
    return re.findall(r"^(?:[<>]f\S+|\*deleting) +(.+)$", printable(done.stdout), re.M)


def tell(c, copied, newer, pull):
    """Print the files that were copied, or would be, and the newer files that are kept."""
    host, status = c.original_host, "would change" if c.config.run.dry else "changed"
    for name in copied:
        say(f"{host}  {status}  {name}")
    where = "here" if pull else "on the server"
    for name in newer:
        say(f"{host}  newer {where}, kept: {name}; --overwrite replaces it")
    say(f"{host}  {len(copied)} {status}, {len(newer)} newer")


def rsync_words(c, config, here, there, user, delete, options):
    """Return the words of patchwork's rsync command.

    Args:
        config: the ssh_config that leads to the server of *c*.
        here: the folder on this machine, which is the source.
        there: the folder on the server.
        user: whom rsync runs as on the server.
        delete: whether to delete files that are missing in the source.
        options: further options of rsync.
    """
    remote_rsync = {user: "rsync", "root": f"runuser -u {user} -- rsync"}.get(
        c.user, f"sudo -n -u {user} rsync"
    )
    commands: list[str] = []
    place = SimpleNamespace(
        connect_kwargs={}, user=c.user, host=c.original_host, port=c.port, local=commands.append
    )
    transfers.rsync(
        place,
        sh("{}", here),
        sh("{}", there),
        EXCLUDED,
        delete,
        rsync_opts=sh(
            "-s --out-format={} --rsync-path={} {}", "%i %n", remote_rsync, words(options)
        ),
        ssh_opts=sh("-F {}", config),
    )
    return shlex.split(commands[0])

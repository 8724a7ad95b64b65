"""Install Python and JupyterLab by Anaconda, Miniconda, Miniforge or the system's venv."""

from typing import Any

from ..kit.quote import script
from ..kit.resources import Check, Download, DownloadBegun, Package, Upload
from ..kit.resources.check import ok, warn
from ..kit.resources.home import as_owner
from ..kit.task import confirm
from ..resources import (
    Agreement,
    ChannelTerms,
    CondaAbsent,
    CondaInit,
    CondaPackages,
    CondaPrefix,
    CondaUpdates,
    PipPackages,
    PipUpdates,
    Terms,
    Venv,
)
from ..resources.conda import is_complete
from ..resources.installers import DISTRIBUTIONS, sources
from ..settings import setup
from ..settings.derived import jupyter_service, login_user, prefix

ADVICE = (
    "set python.accept_terms: true (--accept-terms),"
    " or use Miniforge, which has none (--distribution miniforge)"
)

# Prints each of conda's configuration files that names Anaconda's channels.
ANACONDA_CHANNELS = r"""
cd "$HOME" 2>/dev/null || exit 0
for file in .condarc .conda/.condarc .config/conda/.condarc \
        /etc/conda/.condarc /etc/conda/condarc.d/*; do
    [ -f "$file" ] && grep -Eqs -e "^ *- *[\"']?defaults\\b" -e '^channels: *\[.*\bdefaults\b' \
        -e '^[^#]*repo\.anaconda\.com' "$file" && realpath "$file"
done; :
"""


@setup(
    "user.name",
    "python.distribution",
    "python.version",
    "python.prefix",
    "python.packages",
    "python.accept_terms",
    "python.upload",
    "python.update",
)
def install_anaconda(c, s):
    """Install Python and JupyterLab.

    Anaconda, Miniconda, Miniforge or a venv, with JupyterLab and the classic notebook.
    """
    if s.python.distribution == "venv":
        yield from venv(s)
    else:
        yield from conda(c, s)


def venv(s):
    """Yield a virtual environment of the system's Python, and its packages."""
    path, user = prefix(s), s.user.name
    yield Package("python3-venv", lock_timeout=s.apt.lock_timeout)
    yield login_user(s)
    yield Venv(path, user)
    yield PipPackages(path, user, s.python.packages, notify=jupyter_service(s).restart)
    if s.python.update:
        yield PipUpdates(path, user, ("pip", "setuptools"))


def conda(c, s):
    """Yield conda from its installer, and its packages."""
    distribution, path, user = DISTRIBUTIONS[s.python.distribution], prefix(s), s.user.name
    # A running Jupyter keeps using the modules that it has loaded.
    restart = jupyter_service(s).restart
    yield from begin_download(c, s)
    if distribution.title == "Miniforge":
        question = as_owner(user, script(ANACONDA_CHANNELS), seconds=20, no_user=":")
        yield Check("channels", question, no_anaconda_channels)
    yield curl(s)
    yield login_user(s)
    name, files = installer(s)
    if s.python.upload:
        yield Upload(name, files, is_complete(path, user), connection=c)
    else:
        yield Download(name, files, is_complete(path, user))
    yield CondaPrefix(path, user, name, files, **requirements(s), notify=restart)
    # A server that cannot download the installer cannot ask for the channels' terms either.
    if distribution.channels and not s.python.upload:
        yield ChannelTerms(path, user, distribution.channels, agreement(c, s))
    if s.python.update:
        terms = agreement(c, s) if distribution.terms else None
        yield CondaUpdates(path, user, ("conda", "pip", "setuptools"), terms)
    yield CondaPackages(path, user, s.python.packages, notify=restart)
    yield CondaInit(path, user)


def begin_download(c, s):
    """Yield a download of the installer in the background, once its terms are accepted."""
    if s.python.distribution == "venv":
        return
    distribution, path = DISTRIBUTIONS[s.python.distribution], prefix(s)
    name, files = installer(s)
    complete = is_complete(path, s.user.name)
    if distribution.terms:
        terms, dry = agreement(c, s), c.config.run.dry
        yield Terms(name, distribution.terms, terms, complete, ADVICE, foretells=dry)
    if not s.python.upload:
        yield DownloadBegun(name, files, complete, curl(s))


def curl(s):
    """Return the packages that a download needs."""
    return Package("ca-certificates", "curl", lock_timeout=s.apt.lock_timeout)


def installer(s):
    """Return the installer's name and its file for each architecture.

    Raises:
        ValueError: the settings name no known installer.
    """
    python = s.python
    files = sources(python.distribution, python.version, python.url, python.sha256)
    return files[0].name.removesuffix(".sh").removesuffix(f"-Linux-{files[0].machine}"), files


def requirements(s) -> dict[str, Any]:
    """Return the disk space, memory and glibc that the distribution needs.

    An installer from another address may need less or more; only its own header says so.
    """
    if s.python.url:
        return {}
    known = DISTRIBUTIONS[s.python.distribution]
    return {"disk": known.disk, "memory": known.memory, "glibc": known.glibc}


def agreement(c, s):
    """Return the operator's answer to the distribution's terms; it may still be unknown."""
    known = DISTRIBUTIONS[s.python.distribution]
    question = (
        f"{known.title} and its channels are free under certain conditions only: {known.terms}."
        " Do you accept these terms?"
    )
    return Agreement(question, s.python.accept_terms, asks=not c.config.run.dry)


def no_anaconda_channels(output):
    """Judge conda's configuration; with Miniforge it should not add Anaconda's channels."""
    files = ", ".join(output.split("\n")[:-1])
    if not files:
        return ok()
    return warn(
        f"Anaconda's channels, whose terms then apply, come from {files}; remove defaults there"
    )


@setup(
    "user.name",
    "python.distribution",
    "python.prefix",
    help={"yes": "Do not ask for confirmation."},
)
def remove_anaconda(c, s, yes=False):
    """Remove the conda that install-anaconda installed.

    Its packages, its environments and its lines in the shell's start-up files are removed too.
    """
    if s.python.distribution == "venv":
        raise ValueError(
            f"python.distribution: remove-anaconda removes a conda, not a venv; remove {prefix(s)}"
            " yourself"
        )
    removed = CondaAbsent(prefix(s), s.user.name, s.jupyter.name)
    confirm(c, f"Remove {removed.path} and everything in it from {c.host}", yes)
    yield removed

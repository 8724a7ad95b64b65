"""Python, with JupyterLab and the classic notebook: Anaconda, Miniconda, Miniforge, or the system's own."""

from typing import Any

from ..kit.quote import sh
from ..kit.resources import Check, Download, DownloadBegun, Package, Upload
from ..kit.task import confirm
from ..resources import (
    Agreement,
    ChannelTerms,
    CondaInit,
    CondaPackages,
    CondaPrefix,
    CondaRemoved,
    CondaUpdates,
    PipPackages,
    PipUpdates,
    Terms,
    Venv,
)
from ..resources.conda import is_complete
from ..resources.installers import DISTRIBUTIONS, sources
from ..settings import setup
from ..settings.derived import home, jupyter_service, login_user, prefix


@setup(
    user="user.name",
    distribution="python.distribution",
    version="python.version",
    prefix="python.prefix",
    packages="python.packages",
    accept_terms="python.accept_terms",
    upload="python.upload",
    update="python.update",
)
def install_anaconda(c, s):
    """Give that user a Python with Jupyter in it.

    Anaconda, Miniconda, Miniforge or a venv, with JupyterLab and the classic notebook.
    """
    path, user = prefix(s), s.user.name
    # A server that runs already would go on with what it has loaded.
    restart = jupyter_service(s).restart
    if s.python.distribution == "venv":
        yield Package("python3-venv", lock_timeout=s.apt.lock_timeout)
        yield login_user(s)
        yield Venv(path, user)
        yield PipPackages(path, user, s.python.packages, notify=restart)
        if s.python.update:
            yield PipUpdates(path, user, ("pip", "setuptools"))
        return
    distribution = DISTRIBUTIONS[s.python.distribution]
    yield from begin_download(c, s)
    if distribution.title == "Miniforge":
        yield Check("channels", sh(CHANNELS, home(s)), channels)
    yield curl(s)
    yield login_user(s)
    name, files = installer(s)
    if s.python.upload:
        yield Upload(name, files, is_complete(path), connection=c)
    else:
        yield Download(name, files, is_complete(path))
    # Of a file that somebody else made, only its own header tells what it needs.
    needs: dict[str, Any] = {
        "disk": distribution.disk,
        "memory": distribution.memory,
        "glibc": distribution.glibc,
    }
    yield CondaPrefix(path, user, name, files, **({} if s.python.url else needs), notify=restart)
    # A server that cannot reach the installer can ask nobody for the channels' terms either.
    if distribution.channels and not s.python.upload:
        yield ChannelTerms(path, user, distribution.channels, agreement(c, s))
    if s.python.update:
        yield CondaUpdates(
            path,
            user,
            ("conda", "pip", "setuptools"),
            agreement(c, s) if distribution.terms else None,
        )
    yield CondaPackages(path, user, s.python.packages, notify=restart)
    yield CondaInit(path, user)


def begin_download(c, s):
    """Yield what makes the server download the installer by itself while other things are done, once its terms are accepted."""
    if s.python.distribution == "venv":
        return
    distribution, path = DISTRIBUTIONS[s.python.distribution], prefix(s)
    name, files = installer(s)
    if distribution.terms:
        yield Terms(
            name,
            distribution.terms,
            agreement(c, s),
            is_complete(path),
            ADVICE,
            foretells=c.config.run.dry,
        )
    if not s.python.upload:
        yield DownloadBegun(name, files, is_complete(path), curl(s))


def curl(s):
    """Return the packages that a download needs."""
    return Package("ca-certificates", "curl", lock_timeout=s.apt.lock_timeout)


def installer(s):
    """Return the name of the installer that the settings mean, and where it is for each machine; raises ValueError."""
    python = s.python
    files = sources(python.distribution, python.version, python.url, python.sha256)
    return files[0].name.removesuffix(".sh").removesuffix(f"-Linux-{files[0].machine}"), files


ADVICE = "set python.accept_terms: true (--accept-terms); or use Miniforge, which has none (--distribution miniforge)"


def agreement(c, s):
    """Return the operator's yes to the terms of the distribution, which may still have to be asked for."""
    known = DISTRIBUTIONS[s.python.distribution]
    question = f"{known.title} and its channels are free under conditions only: {known.terms}. Do you accept these terms?"
    return Agreement(question, s.python.accept_terms, asks=not c.config.run.dry)


CHANNELS = """
    cd {} 2>/dev/null || exit 0
    for file in .condarc .conda/.condarc .config/conda/.condarc /etc/conda/.condarc /etc/conda/condarc.d/*; do
        grep -Eqs "^ *- *[\\"']?defaults\\b|^channels: *\\[.*\\bdefaults\\b|^[^#]*repo\\.anaconda\\.com" "$file" &&
            realpath "$file"
    done; :
"""


def channels(output):
    """Judge conda's own settings: under Miniforge, none should bring Anaconda's channels, which have terms."""
    files = ", ".join(output.split("\n")[:-1])
    return (
        "",
        f"{files} brings Anaconda's channels, and with these their terms; take defaults out of it"
        if files
        else "",
    )


@setup(
    user="user.name",
    distribution="python.distribution",
    prefix="python.prefix",
    help={"yes": "Remove without asking."},
)
def remove_anaconda(c, s, yes=False):
    """Remove the conda that install-anaconda made.

    Its packages and environments, and what it left in the shell, go with it.
    """
    if s.python.distribution == "venv":
        raise ValueError("python.distribution: venv is no conda; remove its folder yourself")
    removed = CondaRemoved(prefix(s), s.user.name, s.jupyter.name)
    confirm(c, f"Remove {removed.path} from {c.host}, with all that is in it", yes)
    yield removed

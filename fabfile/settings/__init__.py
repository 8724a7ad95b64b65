"""TODO."""

from functools import partial
from pathlib import Path

from fabric import Connection
from invoke import Exit

from ..kit import secret
from ..kit.settings import Invalid, Schema
from ..kit.task import BAD_REQUEST
from ..kit.task import setup as kit_setup
from .table import RULES

PACKAGE = Path(__file__).resolve().parents[1]


# The wheel has it inside the package, the repository beside it.
CONFIG = next(folder for folder in (PACKAGE / "config", PACKAGE.parent / "config") if (folder / "defaults.yml").exists())


schema = Schema("remote_jupyter", CONFIG / "defaults.yml", RULES)


setup = partial(kit_setup, schema)


def settings_for(c, flags=None):
    """Return the settings to a task that is no setup task; raises Exit with status 2 where one is wrong, or *c* has no host."""
    if not isinstance(c, Connection):
        raise Exit("this is about a server: say which with -H [user@]host", BAD_REQUEST)
    try:
        return schema.load(c, flags)
    except Invalid as error:
        raise Exit(str(error), BAD_REQUEST) from None


password = secret.given

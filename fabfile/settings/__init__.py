"""TODO."""

from functools import partial

from fabric import Connection
from invoke import Exit

from ..kit import secret
from ..kit.quote import CONFIG
from ..kit.settings import InvalidSetting, Schema
from ..kit.task import BAD_REQUEST
from ..kit.task import setup as kit_setup
from .table import RULES

# The wheel has it inside the package, the repository beside it.


schema = Schema("remote_jupyter", CONFIG / "defaults.yml", RULES)


setup = partial(kit_setup, schema)


def settings_for(c, flags=None):
    """Return the settings to a task that is no setup task; raises Exit with status 2 where one is wrong, or *c* has no host."""
    if not isinstance(c, Connection):
        raise Exit("this is about a server: say which with -H [user@]host", BAD_REQUEST)
    try:
        return schema.load(c, flags)
    except InvalidSetting as error:
        raise Exit(str(error), BAD_REQUEST) from None


password = secret.given

"""The settings of remote-jupyter, and what follows from them.

    table        all settings: name, default, rule, help and flag
    rules        what values are valid
    files        settings in the wrong place of a file
    reference    what is generated from the table
    derived      values and resources that follow from the settings: home, prefix, URL, ports, …
    certificate  the resources for the certificate that is served
    templates    whole configuration files, from config/templates

A task gets the validated values as nested attributes::

    @setup("user.name")  # the flag --user
    def create_user(c, s):
        yield User(s.user.name)
"""

from collections.abc import Mapping
from typing import Any

from fabric import Connection
from invoke import Exit

from ..kit import secret
from ..kit.settings import InvalidSetting, Settings
from ..kit.task import BAD_REQUEST
from ..kit.task import setup as kit_setup
from .table import schema

password = secret.given


def setup(*names: Any, help: Mapping[str, str] | None = None, **flags: str) -> Any:
    """Return a decorator that makes a setup task of a generator of resources.

    Args:
        names: settings that become flags of the task, by dotted name; the table names the flags.
            ``@setup`` without parentheses gets the function itself here.
        help: the help of the function's parameters after *c* and the settings, which become flags.
        flags: settings whose flag has another name in this task: ``path="python.prefix"``.
    """
    if names and callable(names[0]):
        return kit_setup(schema)(names[0])
    named = {schema.flag(name): name for name in names}
    return kit_setup(schema, help=dict(help or {}), **named, **flags)


def settings_for(c: Any, flags: Mapping[str, Any] | None = None) -> Settings:
    """Return the settings for a task that is not a setup task.

    Args:
        c: the connection to the server.
        flags: values that win over files and the environment, by dotted name.

    Raises:
        Exit: with status 2, if a setting is not valid or *c* is not a connection.
    """
    if not isinstance(c, Connection):
        raise Exit("this task needs a server; name it with -H [user@]host", BAD_REQUEST)
    try:
        return schema.load(c, flags)
    except InvalidSetting as error:
        raise Exit(str(error), BAD_REQUEST) from None

"""The one place where patchwork is imported.

patchwork 1.0.1 imports ``invoke.vendor.six``, which Invoke 2 dropped, and says ``fabric<3``; its helpers run all the same.
A helper given a *runner* asks for one round trip; `recorded` gives the shell text that it would have run, so that a
resource can put it into a batch. The helpers do not quote, so quote what is passed in.
"""

import sys

import six
from invoke import Exit, Result

from .quote import Shell

sys.modules.setdefault("invoke.vendor.six", six)

try:
    from patchwork import environment, files, transfers
except ModuleNotFoundError:
    # Its fabric<3 keeps it out of what our distribution requires. Now, before anything is asked of a server.
    raise Exit(
        "patchwork is missing; get it with: pip install --no-deps patchwork==1.0.1"
    ) from None

__all__ = ["environment", "files", "recorded", "transfers"]


def recorded(helper, *args, **kwargs):
    """Return the shell text that patchwork's *helper* runs, one command a line, stopping at the first that fails."""
    commands = []

    def runner(command, **_):
        commands.append(command)
        return Result()

    helper(None, *args, runner=runner, **kwargs)
    return Shell(" &&\n".join(commands))

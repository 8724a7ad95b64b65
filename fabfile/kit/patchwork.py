"""The only place where patchwork is imported.

patchwork 1.0.1 imports ``invoke.vendor.six``, which Invoke 2 dropped, and says ``fabric<3``, but
its helpers run on Fabric 3. A helper with a *runner* costs one round trip; `recorded` returns the
shell text that it would have run, so that a resource can put it into a batch. The helpers quote
nothing, so quote their arguments.
"""

import sys
from collections.abc import Callable

import six
from invoke import Exit, Result

from .quote import Shell

sys.modules.setdefault("invoke.vendor.six", six)

try:
    from patchwork import environment, files, transfers
except ModuleNotFoundError:
    # Because of its fabric<3 our distribution cannot require it. Fail before any connection.
    raise Exit(
        "patchwork is missing; install it with: pip install --no-deps patchwork==1.0.1"
    ) from None

__all__ = ["environment", "files", "recorded", "transfers"]


def recorded(helper: Callable[..., object], *args: object, **kwargs: object) -> Shell:
    """Return the shell text that patchwork's *helper* runs; it stops at the first failure."""
    commands: list[str] = []

    def runner(command: str, **_: object) -> Result:
        commands.append(command)
        return Result()

    helper(None, *args, runner=runner, **kwargs)
    return Shell(" &&\n".join(commands))

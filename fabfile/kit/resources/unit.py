"""Long steps as transient systemd units, which outlive a lost connection."""

from ..quote import Shell, program, sh, words
from .base import STATE

# Units have no login environment, so read the proxies that logins get.
PROXIES = Shell("""
    for name in http_proxy https_proxy no_proxy all_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY
    do
        value=$(sed -n "s/^\\(export  *\\)\\{0,1\\}$name=//p" /etc/environment 2>/dev/null |
            tail -n 1 | tr -d "\\"'")
        [ -z "$value" ] || export "$name=$value"
    done
""")


def as_unit(name: str, code: str, user: str = "root") -> Shell:
    """Return shell code that runs *code* as a transient unit and prints its log as it grows.

    If a unit of this name still runs, because an earlier run lost its connection, the code waits
    for that one first. The exit status is that of *code*; after a failure, the end of the log is
    on standard error.

    Args:
        name: the unit, without ``.service``.
        code: shell code, run with ``set -e``.
        user: who runs it.
    """
    return _unit(name, code, user, wait=True)


def unit_begun(name: str, code: str, user: str = "root") -> Shell:
    """Return shell code that starts *code* as a transient unit, if it does not run, and goes on.

    The arguments are those of `as_unit`, which waits for the unit later.
    """
    return _unit(name, code, user, wait=False)


def _unit(name, code, user, wait):
    begin = sh('start "$@" /bin/sh -ec {}', as_argument(code))
    log = f"{STATE}/{name}.log"
    return program("transient-unit", unit=name, log=log, user=user, wait=wait, begin=begin)


def as_argument(code: str) -> Shell:
    """Return *code* as one quoted word for systemd-run, which would expand ``${...}`` itself."""
    return words([code.replace("$", "$$")])

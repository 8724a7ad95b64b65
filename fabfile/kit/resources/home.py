"""Reading and writing below a user's home: always as its owner."""

from ..quote import Shell, program, sh, words

SECONDS = 60
SIZE = 4_000_000


def as_owner(
    user: str,
    code: str,
    *,
    seconds: int = SECONDS,
    size: int = SIZE,
    no_user: str = "echo 'there is no such user' >&2; exit 1",
) -> Shell:
    """Return shell code that runs *code* as *user*, who owns what it reads or writes.

    Every path below a home goes through this. The user may replace any part of such a path at any
    time: by a link to a file of root's, by a pipe that never ends, or by a file without an end.
    As its owner, *code* can reach nothing that the user could not reach anyway. It inherits no
    descriptor (the run's lock is one), its standard input is /dev/null, and its environment has
    only the user's HOME, USER and LOGNAME, PATH and LC_ALL.

    *code* itself travels by standard input, so that a secret in it is in no argument list. Test
    for a regular file before you read one, and read it with ``head -c``::

        as_owner("ada", script('[ -f "$path" ] && head -c 1000 "$path"', path=path))

    Args:
        user: the owner; ``root`` runs *code* as it is, because only root can change root's files.
        code: shell code, run by ``sh`` with ``set -e``. It must not need root.
        seconds: the time limit; then the code and its children are killed, and the step fails.
        size: the limit of the output, in bytes; more is an error.
        no_user: shell code that answers if the user does not exist.

    Returns:
        Shell code in a subshell; its status is that of *code*.
    """
    if user == "root":
        return Shell(code)
    become = program("relay", user=user, size=size)
    return sh(
        "(\n{})\n",
        program(
            "as-owner",
            user=user,
            seconds=seconds,
            print_code=sh("printf %s {}", words([code])),
            relay=sh("timeout -k 2 {} /bin/sh -c {}", seconds, words([become])),
            no_user=Shell(no_user),
        ),
    )

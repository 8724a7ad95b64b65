"""Read what a user may have written, without trusting it."""

from ..kit.quote import script


def as_user(user, code, seconds=20, size=1_000_000):
    """Return shell code that runs *code* as *user* and prints what it prints.

    Below a home, a file may be a FIFO, endless, or a program that never ends. So the code has
    limits, gets no input, and inherits none of the descriptors that hold the locks of a run. Its
    exit status is lost, so it must print what it finds. It does not run if there is no such user.

    Args:
        user: the user's name.
        code: shell code.
        seconds: the time limit.
        size: the limit of the output, in bytes.
    """
    return script(
        """
        if id -u "$user" >/dev/null 2>&1; then
            home=$(getent passwd "$user" | cut -d: -f6)
            timeout -k 1 "$seconds" runuser -u "$user" -- \\
                env HOME="$home" /bin/sh -c "$code" \\
                </dev/null 2>/dev/null 8>&- 9>&- | timeout "$((seconds + 2))" head -c "$size"
        fi
        """,
        user=user,
        code=str(code),
        seconds=seconds,
        size=size,
    )

"""Shell text, quoted by construction."""

import shlex


class Shell(str):
    """Text that is shell already: `sh` puts it into other shell text as it is."""


def sh(template, *values):
    """Return *template* with each ``{}`` replaced by the next of *values*, quoted for a POSIX shell unless it is `Shell`.

    Any other brace stands for itself, so ``${x}`` and functions can be written as they are.
    Raises ValueError when the number of values does not fit.
    """
    parts = template.split("{}")
    if len(parts) != len(values) + 1:
        raise ValueError(f"{len(parts) - 1} places but {len(values)} values in shell text")
    text = parts[0]
    for value, rest in zip(values, parts[1:], strict=True):
        text += (value if isinstance(value, Shell) else shlex.quote(str(value))) + rest
    return Shell(text)


def words(values):
    """Return *values* as quoted words with spaces between them."""
    return Shell(" ".join(shlex.quote(str(value)) for value in values))

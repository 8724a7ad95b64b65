"""Build shell text in which every value is quoted."""

import functools
import shlex
from collections.abc import Iterable
from pathlib import Path
from textwrap import dedent

# The wheel has the folder inside the package, the repository beside it.
_PACKAGE = Path(__file__).resolve().parents[1]
CONFIG = next(
    folder
    for folder in (_PACKAGE / "config", _PACKAGE.parent / "config")
    if (folder / "defaults.yml").exists()
)


class Shell(str):
    """Text that is shell code already, so it is never quoted again."""


def script(text: str, /, *arguments: object, **values: object) -> Shell:
    """Return the constant shell code *text* after assignments of *values*.

    The code stays plain shell, so that people and shellcheck can read it as it is::

        script('install -o "$owner" /dev/null "$path"', path="/etc/a b", owner="ada")
        script('for port in "$@"; do echo "$port"; done', 80, 443)

    Args:
        text: shell code for ``sh``; never built from values.
        arguments: become the positional parameters ``$1``, ``$2``, … of the code.
        values: each becomes a shell variable of its name, quoted. A `Shell` value becomes a
            shell function of its name instead, which the code calls.

    Returns:
        Shell code. ``True`` is assigned as 1, ``False`` and ``None`` as an empty text.
    """
    lines = []
    for name, value in values.items():
        if isinstance(value, Shell):
            lines.append(f"{name}() {{\n{value.strip() or ':'}\n}}")
        else:
            plain = "1" if value is True else "" if value is False or value is None else str(value)
            lines.append(f"{name}={shlex.quote(plain)}")
    if arguments:
        lines.append(f"set -- {words(arguments)}")
    return Shell("\n".join([*lines, dedent(text).strip("\n"), ""]))


def program(name: str, /, *arguments: object, **values: object) -> Shell:
    """Return the shell program ``config/scripts/NAME.sh`` after assignments, as `script` does."""
    return script(_read(name), *arguments, **values)


@functools.cache
def _read(name: str) -> str:
    return (CONFIG / "scripts" / f"{name}.sh").read_text(encoding="utf-8")


def sh(template: str, *values: object) -> Shell:
    """Return *template* with each ``{}`` replaced by the next of *values*, quoted.

    For commands of one line; longer code is easier to read with `script`. Any other brace stands
    for itself. A `Shell` value is put in as it is.

    Raises:
        ValueError: the number of values does not fit.
    """
    parts = template.split("{}")
    if len(parts) != len(values) + 1:
        raise ValueError(f"{len(parts) - 1} places but {len(values)} values in shell text")
    text = parts[0]
    for value, rest in zip(values, parts[1:], strict=True):
        text += (value if isinstance(value, Shell) else shlex.quote(str(value))) + rest
    return Shell(text)


def words(values: Iterable[object]) -> Shell:
    """Return *values* as quoted words with spaces between them."""
    return Shell(" ".join(shlex.quote(str(value)) for value in values))

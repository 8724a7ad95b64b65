"""Rules for settings: each takes a value and returns it as it is used.

A value that is not valid raises ValueError, whose text says what would be valid.
"""

import ipaddress
import re
from collections.abc import Callable
from typing import Any

from ..kit.settings import Rule, nearest

SWITCH = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}


def boolean(value: Any) -> bool:
    """Take true or false, or a word for them such as yes and off."""
    if isinstance(value, bool):
        return value
    if str(value).lower() not in SWITCH:
        raise ValueError("true or false")
    return SWITCH[str(value).lower()]


def number(low: int = 0, high: int = 2**31) -> Rule:
    """Return a rule that takes a whole number from *low* to *high*."""

    def rule(value: Any) -> int:
        whole = not isinstance(value, bool) and re.fullmatch(r"-?\d{1,10}", str(value))
        if not whole or not low <= int(value) <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return int(value)

    return rule


def text(
    pattern: str = "", meaning: str = "one line of printable text", empty: bool = True
) -> Callable[[Any], str]:
    """Return a rule that takes one line of text.

    Args:
        pattern: a regular expression that matches the whole text; empty allows any.
        meaning: what the pattern means, for the error.
        empty: whether an empty text is valid too.
    """

    def rule(value: Any) -> str:
        value = "" if value is None else value
        if isinstance(value, (bool, list, dict)):
            raise ValueError(meaning)
        value = str(value)
        if not value and empty:
            return value
        if not value or not value.isprintable() or (pattern and not re.fullmatch(pattern, value)):
            raise ValueError(meaning)
        return value

    return rule


def one_of(*choices: str) -> Rule:
    """Return a rule that takes one of *choices*; true and false count as ``yes`` and ``no``."""

    def rule(value: Any) -> str:
        value = {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
        if value not in choices:
            raise ValueError(" or ".join(choices) + nearest(value, choices))
        return str(value)

    return rule


def list_of(rule: Rule) -> Rule:
    """Return a rule that takes a list, whose items *rule* takes.

    A text is a list too, with commas between its items.
    """

    def whole(value: Any) -> tuple[Any, ...]:
        if value is None or value == "":
            return ()
        items = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
        if not isinstance(items, (list, tuple)):
            items = [items]
        try:
            return tuple(rule(item) for item in items)
        except ValueError as error:
            commas = ", separated by commas" if isinstance(value, str) else ""
            raise ValueError(f"{error}{commas}") from None

    return whole


def absolute_path(value: Any) -> str:
    """Take an absolute path without ``..``, or an empty text; ``~/`` is the login user's home."""
    meaning = "an absolute path, or one that begins with ~/ for the login user's home"
    path = text(meaning=meaning)(value)
    if not path:
        return path
    absolute = re.match(r"(/|~/)[^/]", path)
    if not absolute or ".." in path.split("/") or "//" in path or path[-1] in "/ \\":
        raise ValueError(meaning)
    return path


def plain_path(value: Any) -> str:
    """Take an absolute path of plain characters, as the first line of a script needs it.

    systemd's ExecStart takes no others either.
    """
    path = absolute_path(value)
    if not re.fullmatch(r"[\w./~+@-]*", path):
        raise ValueError("an absolute path of letters, digits and ._+@-")
    return path


def host_name(value: Any) -> str:
    """Take a DNS name or an IP address, and return it in lower case."""
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        pass
    name = str(value).rstrip(".")
    label = r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)"
    if len(str(value)) > 253 or not re.fullmatch(rf"{label}(\.{label})*", name):
        raise ValueError("a host name such as jupyter.example.org, or an IP address")
    return name.lower()


def user_name(value: Any) -> str:
    """Take the login name of an account other than root."""
    name = text(
        r"[a-z_][a-z0-9_-]{0,30}",
        "a user name: lower-case letters, digits, - and _, at most 31, the first one no digit",
        empty=False,
    )(value)
    if name == "root":
        raise ValueError("a user other than root, because Jupyter must not run as root")
    return name


def keys(value: Any) -> tuple[str, ...]:
    """Take public keys, or files that contain some; a comma may be part of a key's options."""
    meaning = "public keys, or files that contain them"
    if isinstance(value, dict):
        raise ValueError(meaning)
    items = [value] if isinstance(value, str) and value else value or []
    return tuple(text(meaning=meaning, empty=False)(item) for item in items)


def url(value: Any) -> str:
    """Take a URL without a password, or an empty text.

    Plain HTTP is valid because what is downloaded is verified on its own. A password would show up
    in plans and in the list of processes.
    """
    return text(
        r"https?://[^\s'\"@/]+(/[^\s'\"]*)?",
        "a URL that begins with https:// and contains no password",
    )(value)


url_path = text(
    r"/|(/(?!\.+(/|$))[A-Za-z0-9._~-]+)+/?",
    "a path such as /jupyter: letters, digits and ._~- between slashes, or / alone",
    empty=False,
)

requirement = text(
    r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?(\[[\w,. -]+\])?\s*([<>=!~]=?[\w.*+!<>=~, -]+)?",
    "a package as pip names it, such as jupyterlab or notebook==7.*",
    empty=False,
)

device = text(
    r"/dev/[\w./-]+|(char|block)-[\w*.-]+",
    "a device such as /dev/nvidia0, or char-nvidia* for a kind",
    empty=False,
)

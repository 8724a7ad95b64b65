"""Rules for settings: each takes a value and returns it as it is used, or raises ValueError that says what would be valid."""

import ipaddress
import re

from ..kit.settings import nearest


def boolean(value):
    """A rule: true or false, also as the words that YAML 1.1 and people use."""
    words = {
        "true": True,
        "yes": True,
        "on": True,
        "1": True,
        "false": False,
        "no": False,
        "off": False,
        "0": False,
    }
    if isinstance(value, bool):
        return value
    if str(value).lower() not in words:
        raise ValueError("true or false")
    return words[str(value).lower()]


def number(low=0, high=2**31):
    """A rule: a whole number from *low* to *high*."""

    def rule(value):
        if (
            isinstance(value, bool)
            or not re.fullmatch(r"-?\d{1,10}", str(value))
            or not low <= int(value) <= high
        ):
            raise ValueError(f"a whole number from {low} to {high}")
        return int(value)

    return rule


def text(pattern=None, meaning="one line of printable text", empty=True):
    """A rule: one line of text that the regular expression *pattern* matches as a whole."""

    def rule(value):
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


def one_of(*choices):
    """A rule: one of *choices*; YAML's true and false count as ``yes`` and ``no``."""

    def rule(value):
        value = {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
        if value not in choices:
            raise ValueError(" or ".join(choices) + nearest(value, choices))
        return value

    return rule


def list_of(rule):
    """A rule: a list, each item by *rule*; one text is a list of one, or of several with commas between them."""

    def whole(value):
        if value is None or value == "":
            return ()
        items = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
        if not isinstance(items, (list, tuple)):
            items = [items]
        try:
            return tuple(rule(item) for item in items)
        except ValueError as error:
            raise ValueError(
                f"{error}{', with commas between several' if isinstance(value, str) else ''}"
            ) from None

    return whole


def absolute_path(value):
    """A rule: an absolute path, or one below ``~`` for the login user's home, without ``..``; empty is allowed."""
    value = text()(value)
    if value and (
        not re.match(r"(/|~/)[^/]", value)
        or ".." in value.split("/")
        or "//" in value
        or value[-1] in "/ \\"
    ):
        raise ValueError("an absolute path, or one that begins with ~/ for the login user's home")
    return value


def host_name(value):
    """A rule: a DNS name or an IP address."""
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        pass
    labels = str(value).rstrip(".").split(".")
    if len(str(value)) > 253 or not all(
        re.fullmatch(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)", label) for label in labels
    ):
        raise ValueError("a host name such as jupyter.example.org, or an IP address")
    return str(value).rstrip(".").lower()

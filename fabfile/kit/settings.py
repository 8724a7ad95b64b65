"""Settings: defaults, the user's Fabric configuration and flags in one validated tree."""

import difflib
import ipaddress
import re
from types import SimpleNamespace

from invoke.util import yaml


class Invalid(ValueError):
    """A setting that cannot be meant: says the key, the value and what would be valid."""


class Schema:
    """The settings under *key*: the defaults in the YAML file *defaults*, and a rule for each that can be wrong.

    A rule is a function that takes a value and returns it, perhaps converted, or raises ValueError that says what would
    be valid. Where there is none, the value must be of the default's type.
    """

    def __init__(self, key, defaults, rules):
        self.key = key
        self.text = defaults.read_text(encoding="utf-8")
        self.defaults = yaml.safe_load(self.text)[key]
        self.rules = rules

    def load(self, c, flags=None):
        """Return the settings for the connection *c* as attributes, the *flags* ({"user.name": value}) winning.

        Raises Invalid for an unknown key or a value that no rule allows.
        """
        tree = self._merged(self.defaults, plain(c.config.get(self.key) or {}), ())
        for dotted, value in (flags or {}).items():
            group, name = dotted.split(".")
            if value is not None:
                tree[group][name] = value
        return self.checked(tree)

    def checked(self, tree):
        """Return *tree* as nested attributes, each value as its rule gives it back."""
        result = SimpleNamespace()
        for group, values in tree.items():
            setattr(result, group, SimpleNamespace())
            for name, value in values.items():
                setattr(getattr(result, group), name, self._value(f"{group}.{name}", value, self.defaults[group][name]))
        return result

    def _value(self, dotted, value, default):
        rule = self.rules.get(dotted) or of_type(default)
        try:
            return rule(value)
        except ValueError as error:
            raise Invalid(f"{self.key}.{dotted}: {value!r} is not valid: {error}") from None

    def _merged(self, defaults, given, path):
        if not isinstance(given, dict):
            where = ".".join((self.key, *path))
            raise Invalid(f"{where}: {given!r} is not valid: a mapping of {', '.join(defaults)}")
        tree = {name: dict(value) if isinstance(value, dict) else value for name, value in defaults.items()}
        for name, value in given.items():
            if name not in defaults:
                where = ".".join((self.key, *path, str(name)))
                near = difflib.get_close_matches(str(name), defaults, 1, 0.4)
                hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(defaults)}"
                raise Invalid(f"{where}: there is no such setting; {hint}")
            tree[name] = self._merged(defaults[name], value, (*path, name)) if isinstance(defaults[name], dict) else value
        return tree

    def help(self, dotted):
        """Return the comment that stands above a setting in the file of defaults."""
        group, name = dotted.split(".")
        inside, comment = False, []
        for line in self.text.splitlines():
            if re.match(r"  \w", line):
                inside = line.strip().startswith(f"{group}:")
            if inside and line.startswith("    #"):
                comment.append(line.strip("# "))
            elif inside and line.startswith(f"    {name}:"):
                return " ".join(comment)
            else:
                comment = []
        return ""

    def default(self, dotted):
        """Return the default of a setting."""
        group, name = dotted.split(".")
        return self.defaults[group][name]


def plain(value):
    """Return *value* with Invoke's proxies turned into plain dicts and lists."""
    if hasattr(value, "items"):
        return {name: plain(inner) for name, inner in value.items()}
    return value


def of_type(default):
    """Return a rule that asks for the type of *default*."""
    if isinstance(default, bool):
        return boolean
    if isinstance(default, int):
        return number()
    if isinstance(default, list):
        return list_of(text())
    return text()


def boolean(value):
    """A rule: true or false, also as the words that YAML 1.1 and people use."""
    words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    if isinstance(value, bool):
        return value
    if str(value).lower() not in words:
        raise ValueError("true or false")
    return words[str(value).lower()]


def number(low=0, high=2**31):
    """A rule: a whole number from *low* to *high*."""

    def rule(value):
        if isinstance(value, bool) or not re.fullmatch(r"-?\d{1,10}", str(value)) or not low <= int(value) <= high:
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
            raise ValueError(" or ".join(choices))
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
        return tuple(rule(item) for item in items)

    return whole


def absolute_path(value):
    """A rule: an absolute path, or one below ``~`` for the login user's home, without ``..``; empty is allowed."""
    value = text()(value)
    if value and (not re.match(r"(/|~/)[^/]", value) or ".." in value.split("/") or "//" in value or value.endswith("/")):
        raise ValueError("an absolute path, or one that begins with ~/ for the login user's home")
    return value


def host_name(value):
    """A rule: a DNS name or an IP address."""
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        pass
    labels = str(value).rstrip(".").split(".")
    if len(str(value)) > 253 or not all(re.fullmatch(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)", label) for label in labels):
        raise ValueError("a host name such as jupyter.example.org, or an IP address")
    return str(value).rstrip(".").lower()

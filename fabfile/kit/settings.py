"""Settings: defaults, the user's Fabric configuration and flags in one validated tree."""

import difflib
import os
import re
from types import SimpleNamespace

from invoke.util import yaml


class InvalidSetting(ValueError):
    """A setting that cannot be meant: says the key, the value and what would be valid."""


class Schema:
    """The settings under *key*: the defaults in the YAML file *defaults*, and a rule for each ({"user.name": rule}).

    A rule is a function that takes a value and returns it, perhaps converted, or raises ValueError that says what would
    be valid.
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
        for name in difflib.get_close_matches(self.key, map(str, plain(c.config)), 3, 0.8):
            if name != self.key:
                raise InvalidSetting(f"{name}: there is no such setting; did you mean {self.key}?")
        tree = self._merged(self.defaults, plain(c.config.get(self.key) or {}), ())
        given = {dotted: value for dotted, value in (flags or {}).items() if value is not None}
        for dotted, value in (self.from_environment() | given).items():
            group, name = dotted.split(".")
            tree[group][name] = value
        return self.checked(tree)

    def from_environment(self):
        """Return the settings that the environment gives, as ``FABRIC_REMOTE_JUPYTER_USER_NAME`` does.

        They are read here, as Invoke knows no lists and takes "false" for true.
        """
        prefix = f"FABRIC_{self.key.upper()}_"
        known = {
            f"{prefix}{group}_{name}".upper(): f"{group}.{name}"
            for group in self.defaults
            for name in self.defaults[group]
        }
        given = {
            variable: text for variable, text in os.environ.items() if variable.startswith(prefix)
        }
        for variable in given.keys() - known.keys():
            near = difflib.get_close_matches(variable, known, 1, 0)
            raise InvalidSetting(f"{variable}: there is no such setting; did you mean {near[0]}?")
        return {known[variable]: text for variable, text in given.items()}

    def checked(self, tree):
        """Return *tree* as nested attributes, each value as its rule gives it back."""
        result = SimpleNamespace()
        for group, values in tree.items():
            setattr(result, group, SimpleNamespace())
            for name, value in values.items():
                setattr(getattr(result, group), name, self._value(f"{group}.{name}", value))
        return result

    def _value(self, dotted, value):
        try:
            return self.rules[dotted](value)
        except ValueError as error:
            shown = re.sub("//[^/@]*@", "//...@", repr(value))  # a password may be in an address
            raise InvalidSetting(f"{self.key}.{dotted}: {shown} is not valid: {error}") from None

    def _merged(self, defaults, given, path):
        if not isinstance(given, dict):
            where = ".".join((self.key, *path))
            raise InvalidSetting(
                f"{where}: {given!r} is not valid: a mapping of {', '.join(defaults)}"
            )
        tree = {
            name: dict(value) if isinstance(value, dict) else value
            for name, value in defaults.items()
        }
        for name, value in given.items():
            if name not in defaults:
                where = ".".join((self.key, *path, str(name)))
                near = difflib.get_close_matches(str(name), defaults, 1, 0.4)
                hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(defaults)}"
                raise InvalidSetting(f"{where}: there is no such setting; {hint}")
            tree[name] = (
                self._merged(defaults[name], value, (*path, name))
                if isinstance(defaults[name], dict)
                else value
            )
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


def nearest(name, known):
    """Return the question whether the one of *known* that is nearest to *name* was meant; an empty text where none is near."""
    near = difflib.get_close_matches(str(name), known, 1, 0.5)
    return f"; did you mean {near[0]}?" if near else ""

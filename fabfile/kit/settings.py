"""Settings: a table of them, and their values from files, the environment and flags."""

import difflib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

Rule = Callable[[Any], Any]
Tree = dict[str, dict[str, Any]]
Settings = SimpleNamespace  # the values: ``settings.group.name``


class InvalidSetting(ValueError):
    """A setting that does not exist, or whose value is not valid."""


@dataclass(frozen=True)
class Setting:
    """One setting, stated once.

    Args:
        name: the group and the name in it, such as ``user.name``.
        default: the value if nothing else is given; a list for a setting that takes several.
        rule: takes a value and returns it as it is used, or raises ValueError that says what
            would be valid.
        help: one sentence that explains the setting; it is the help of its flag too.
        help_off: for a switch that is on by default, the help of the flag that turns it off.
        flag: the name of the flag, if it differs from the last part of *name*.
        former: the name that the setting had once; using it is an error that says the new one.
    """

    name: str
    default: Any
    rule: Rule
    help: str
    help_off: str = ""
    flag: str = ""
    former: str = ""


class Schema:
    """All settings under one key of Fabric's configuration.

    Example::

        schema = Schema("backup", [Setting("disk.size", 10, int, "Size of the disk in GB.")])
        schema.load(c).disk.size  # 10, or what a file, FABRIC_BACKUP_DISK_SIZE or a flag says

    Args:
        key: the key in the files, such as ``backup``.
        settings: the table; the settings of a group are next to each other.
    """

    def __init__(self, key: str, settings: Iterable[Setting]) -> None:
        self.key = key
        self.settings = {setting.name: setting for setting in settings}
        self.former = {s.former: s.name for s in self.settings.values() if s.former}
        self.defaults: Tree = {}
        for dotted, setting in self.settings.items():
            group, name = dotted.split(".")
            self.defaults.setdefault(group, {})[name] = setting.default

    def default(self, dotted: str) -> Any:
        """Return the default of the setting *dotted*."""
        return self.settings[dotted].default

    def help(self, dotted: str) -> str:
        """Return the sentence that explains the setting *dotted*."""
        return self.settings[dotted].help

    def help_off(self, dotted: str) -> str:
        """Return the help of the flag that turns the setting *dotted* off."""
        setting = self.settings[dotted]
        return setting.help_off or f"Turn off: {setting.help}"

    def flag(self, dotted: str) -> str:
        """Return the name of the flag for the setting *dotted*, with underscores."""
        return self.settings[dotted].flag or dotted.partition(".")[2]

    def variable(self, dotted: str) -> str:
        """Return the name of the environment variable for the setting *dotted*."""
        return f"FABRIC_{self.key}_{dotted.replace('.', '_')}".upper()

    def load(self, c: Any, flags: Mapping[str, Any] | None = None) -> Settings:
        """Return the settings for a connection, validated.

        Args:
            c: the connection or context; its ``config`` holds what Fabric's files say.
            flags: values that win over all others, by dotted name; None counts as not given.

        Returns:
            The values as nested attributes, such as ``.user.name``.

        Raises:
            InvalidSetting: for an unknown setting or a value that its rule rejects.
        """
        for name in difflib.get_close_matches(self.key, map(str, plain(c.config)), 3, 0.8):
            if name != self.key:
                raise InvalidSetting(f"{name}: unknown setting; did you mean {self.key}?")
        tree = {group: dict(values) for group, values in self.defaults.items()}
        found = plain(c.config.get(self.key) or {})
        if not isinstance(found, dict):
            raise self._no_mapping(self.key, found, tree)
        for group, values in found.items():
            self._check_group(group, values)
            tree[group] |= values
        given = {dotted: value for dotted, value in (flags or {}).items() if value is not None}
        for dotted, value in (self.from_environment() | given).items():
            group, name = dotted.split(".")
            tree[group][name] = value
        return self.checked(tree)

    def from_environment(self) -> dict[str, str]:
        """Return the values of variables such as ``FABRIC_BACKUP_DISK_SIZE``, by dotted name.

        Invoke's own reading of them knows no lists and takes "false" for true.

        Raises:
            InvalidSetting: for a variable of this key that names no setting.
        """
        known = {self.variable(dotted): dotted for dotted in self.settings}
        former = {self.variable(old): self.variable(new) for old, new in self.former.items()}
        given = {}
        for variable, text in os.environ.items():
            if not variable.startswith(f"FABRIC_{self.key.upper()}_"):
                continue
            if variable in former:
                raise InvalidSetting(f"{variable}: renamed to {former[variable]}")
            if variable not in known:
                near = difflib.get_close_matches(variable, known, 1, 0)
                raise InvalidSetting(f"{variable}: unknown setting; did you mean {near[0]}?")
            given[known[variable]] = text
        return given

    def checked(self, tree: Tree) -> Settings:
        """Return *tree* as nested attributes, each value as its rule returns it.

        Raises:
            InvalidSetting: for a value that its rule rejects.
        """
        groups = {}
        for group, values in tree.items():
            groups[group] = SimpleNamespace(
                **{name: self._value(f"{group}.{name}", value) for name, value in values.items()}
            )
        return SimpleNamespace(**groups)

    def _check_group(self, group: Any, values: Any) -> None:
        """Raise InvalidSetting unless *group* exists and has each name in *values*."""
        if group not in self.defaults:
            raise self._unknown(group, self.defaults)
        if not isinstance(values, dict):
            raise self._no_mapping(f"{self.key}.{group}", values, self.defaults[group])
        for name in values:
            if new := self.former.get(f"{group}.{name}"):
                raise InvalidSetting(f"{self.key}.{group}.{name}: renamed to {new}")
            if name not in self.defaults[group]:
                raise self._unknown(name, self.defaults[group], f"{group}.")

    def _unknown(self, name: Any, known: Iterable[str], group: str = "") -> InvalidSetting:
        near = difflib.get_close_matches(str(name), known, 1, 0.4)
        hint = f"did you mean {near[0]}?" if near else f"known settings: {', '.join(known)}"
        return InvalidSetting(f"{self.key}.{group}{name}: unknown setting; {hint}")

    def _no_mapping(self, where: str, value: Any, known: Iterable[str]) -> InvalidSetting:
        return InvalidSetting(f"{where}: {value!r} is not valid: a mapping of {', '.join(known)}")

    def _value(self, dotted: str, value: Any) -> Any:
        try:
            return self.settings[dotted].rule(value)
        except ValueError as error:
            shown = without_password(repr(value))
            raise InvalidSetting(f"{self.key}.{dotted}: {shown} is not valid: {error}") from None


def plain(value: Any) -> Any:
    """Return *value* with Invoke's proxies turned into plain dicts and lists."""
    if hasattr(value, "items"):
        return {name: plain(inner) for name, inner in value.items()}
    return value


def without_password(text: str) -> str:
    """Return *text* with ``...`` in place of the user and password of each URL."""
    return re.sub("//[^/@]*@", "//...@", text)


def nearest(name: object, known: Iterable[str]) -> str:
    """Return "; did you mean …?" with the one of *known* nearest to *name*, or an empty text."""
    near = difflib.get_close_matches(str(name), list(known), 1, 0.5)
    return f"; did you mean {near[0]}?" if near else ""

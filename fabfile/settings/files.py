"""Configuration files in which settings are outside of their key, where Fabric ignores them."""

import difflib
from collections.abc import Mapping
from typing import Any

from invoke import Exit
from invoke.config import AmbiguousMergeError
from invoke.util import yaml

from ..kit.settings import InvalidSetting, Schema, Settings, plain, without_password
from ..kit.task import BAD_REQUEST

LEVELS = ("system", "user", "project", "runtime")  # Invoke's levels that come from files


class StrictSchema(Schema):
    """A schema that rejects files with its settings outside of its key."""

    def load(self, c: Any, flags: Mapping[str, Any] | None = None) -> Settings:
        """Return the settings as `Schema.load` does, after a check of the files."""
        self.check_files(c.config)
        return super().load(c, flags)

    def check_files(self, config: Any) -> None:
        """Check that the user's configuration files have all settings under the key.

        Args:
            config: Invoke's configuration.

        Raises:
            InvalidSetting: with the file and the right form of what it says.
        """
        for level in LEVELS:
            values = plain(getattr(config, f"_{level}", {}))
            if not isinstance(values, dict):
                continue
            outside = {name: value for name, value in values.items() if self._is_ours(name, value)}
            if outside:
                right = yaml.safe_dump(
                    {self.key: nested(outside)}, sort_keys=False, allow_unicode=True
                )
                raise InvalidSetting(
                    f"{getattr(config, f'_{level}_path')}: "
                    f"settings belong under the key {self.key}:\n"
                    f"{without_password(right).rstrip()}"
                )

    def _is_ours(self, name: Any, value: Any) -> bool:
        """Return whether a key at the top level of a file is a group or a setting of ours.

        A group counts only if a setting in it is ours, at least nearly: a team's own tasks may have
        a key such as ``python``.
        """
        known = {*self.settings, *self.former}
        if not isinstance(value, dict) or name not in self.defaults:
            return name in known
        return any(difflib.get_close_matches(f"{name}.{inner}", known, 1, 0.8) for inner in value)

    def check_program(self, program: Any) -> None:
        """Let the Fabric *program* check the files before it runs any task.

        `load` checks them too, but not every task loads settings, and Fabric cannot even merge
        a file in which its own key ``user`` is a mapping.
        """
        update_config = program.update_config

        def checked(*args: Any, **kwargs: Any) -> None:
            problem: Exception | None = None
            try:
                update_config(*args, **kwargs)
            except AmbiguousMergeError as error:
                problem = error
            try:
                self.check_files(program.config)
            except InvalidSetting as error:
                raise Exit(str(error), BAD_REQUEST) from None
            if problem:
                raise Exit(f"-f {program.args.config.value}: {problem}", BAD_REQUEST)

        program.update_config = checked


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return *values* with each dotted key as a key in a group: ``a.b: 1`` as ``a: {b: 1}``."""
    tree: dict[str, Any] = {}
    for name, value in values.items():
        group, _, inner = str(name).partition(".")
        tree.setdefault(group, {}).update({inner: value} if inner else value)
    return tree

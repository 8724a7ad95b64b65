"""What is generated from the table of settings: the file of defaults and the reference page."""

import textwrap
from collections.abc import Iterator
from typing import Any, NamedTuple

from invoke.util import yaml

from ..kit.settings import Rule, Schema

WIDTH = 100  # characters in a line


class Row(NamedTuple):
    """A setting as the reference page shows it.

    Args:
        name: the dotted name.
        default: the default, as YAML.
        valid: which values are valid; empty if any text is.
        variable: the environment variable that sets it.
        help: one sentence that explains it.
    """

    name: str
    default: str
    valid: str
    variable: str
    help: str


def rows(schema: Schema) -> Iterator[Row]:
    """Yield each setting for the reference page, in the order of the table."""
    for name, setting in schema.settings.items():
        default = as_yaml(setting.default)
        yield Row(name, default, valid(setting.rule), schema.variable(name), setting.help)


def defaults_file(schema: Schema, head: str) -> str:
    """Return the file of defaults: YAML, each setting below its help as a comment.

    Args:
        schema: the settings.
        head: the text at the top of the file, as a comment.
    """
    lines = [f"# {line}".rstrip() for line in head.strip().splitlines()]
    lines.append(f"{schema.key}:")
    for number, (group, values) in enumerate(schema.defaults.items()):
        lines += ([""] if number else []) + [f"  {group}:"]
        for name, default in values.items():
            comment = textwrap.wrap(
                schema.help(f"{group}.{name}"), WIDTH - len("    # "), break_on_hyphens=False
            )
            lines += [f"    # {line}" for line in comment]
            lines.append(f"    {name}: {as_yaml(default)}")
    return "\n".join(lines) + "\n"


def valid(rule: Rule) -> str:
    """Return what *rule* says would be valid, or an empty text if it takes any text."""
    try:
        rule({"no": "value"})  # which no rule accepts
    except ValueError as error:
        return str(error)
    return ""


def as_yaml(value: Any) -> str:
    """Return *value* as one line of YAML; an empty text is a pair of quotes."""
    if value == "":
        return '""'
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6)
    return str(text).removesuffix("\n").removesuffix("\n...")

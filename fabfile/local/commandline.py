"""What `fab` prints by itself: the list of tasks, the help of a task, and answers to mistakes."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterable
from typing import Any

from invoke import Exit, ParseError

from ..kit import executor
from ..kit.settings import nearest
from ..kit.task import BAD_REQUEST

LIST_FORMATS = ("flat", "nested", "json")


def adopt(program: Any) -> None:
    """Let a Fabric program run, list and explain tasks as `fab` does in this repository.

    Hosts run side by side, with one connection each; a dry run that would change something ends
    with status 3. Call it in a fabfile, before the tasks::

        from fabric.main import program
        from remote_jupyter import adopt

        adopt(program)

    Args:
        program: `fabric.main.program`, or another `fabric.main.Fab`.
    """
    executor.adopt(program)
    print_help = program.print_task_help

    def list_flat() -> None:
        # Invoke sorts by name; here the collection's order is the order of use.
        place = {name: number for number, name in enumerate(program.collection.task_names)}
        pairs = program._make_pairs(program.scoped_collection)
        program.display_with_columns(
            sorted(pairs, key=lambda pair: place.get(pair[0].split()[0], len(place)))
        )

    def print_task_help(name: str) -> None:
        for argument in program.parser.contexts[name].args.values():
            origin = default_of(program.collection[name], argument)
            argument.help = f"{argument.help or ''} {origin}".strip()
        print_help(name)

    program.list_flat, program.print_task_help = list_flat, print_task_help
    answer_mistakes(program)


def default_of(task: Any, argument: Any) -> str:
    """Return a sentence for the help of a flag: its setting and its default, if it has them."""
    flags = getattr(task, "flags", {})
    dotted = flags.get(argument.name) or flags.get(argument.name.removeprefix("no_"))
    default = task.schema.default(dotted) if dotted else argument.default
    if not dotted and default in (None, False, []):
        return ""
    if isinstance(default, list):
        default = ", ".join(map(str, default))
    elif isinstance(default, bool):
        default = str(default).lower()
    shown = "empty" if default == "" else default
    return f"Setting {dotted}, default: {shown}." if dotted else f"Default: {shown}."


def answer_mistakes(program: Any, other: str = "", others: Collection[str] = ()) -> None:
    """Let a program answer mistakes in one line each, with status 2.

    Args:
        program: An Invoke or Fabric program.
        other: The command of another program in the same folder, such as ``fab``.
        others: The names of the tasks of that program.
    """

    def checked(step: Callable) -> Callable:
        def run(*args: Any) -> None:
            try:
                step(*args)
            except ParseError as error:
                raise Exit(explain(program, error, other, others), BAD_REQUEST) from None
            except ValueError as error:
                raise Exit(explain_number(program, error), BAD_REQUEST) from None

        return run

    cleanup = program.parse_cleanup

    def parse_cleanup() -> None:
        # Invoke ends with a traceback for another format.
        given = program.args["list-format"].value
        if given not in LIST_FORMATS:
            hint = nearest(given, LIST_FORMATS)
            text = f"--list-format {given}: must be flat, nested or json{hint}"
            raise Exit(text, BAD_REQUEST)
        cleanup()

    program.parse_tasks = checked(program.parse_tasks)
    program.parse_cleanup = checked(parse_cleanup)


def explain(program: Any, error: ParseError, other: str, others: Collection[str]) -> str:
    """Return what Invoke's *error* means; the arguments are those of `answer_mistakes`."""
    text, context = str(error), error.context
    task = context.name if context and context.name else ""
    where = f"{task}: " if task else ""
    if unknown := re.fullmatch("No idea what '(.*)' is!", text):
        name = unknown[1]
        if name.startswith("-"):
            return where + explain_flag(program, task, name, context)
        if name in others:
            return f"{name}: this is a task of {other}; run {other} {name}"
        known = program.collection.task_names
        return f"{name}: unknown task; {suggest(name, known) or f'see {program.binary} --list'}"
    if lacking := re.match(r"Flag <Argument: ([\w-]+)", text):
        flag = f"--{lacking[1].replace('_', '-')}"
        needed = "needs a value" if "needed value" in text else "takes no value"
        return f"{where}{flag} {needed}"
    return text


def explain_flag(program: Any, task: str, flag: str, context: Any) -> str:
    """Return what to use instead of an unknown *flag*: a setting, or the nearest flag."""
    name = flag.lstrip("-").partition("=")[0]
    if settings := settings_named(program, name):
        names, variable = " or ".join(settings.values()), next(iter(settings))
        return f"unknown flag --{name}; for the setting {names}, use -f FILE or {variable}=…"
    flags = [*(context.flag_names() if task else ()), *program.initial_context.flag_names()]
    # Compared without dashes, which would make short flags alike.
    known = [known[2:] for known in flags if known.startswith("--")]
    hint = suggest(name, known, "--") if flag.startswith("--") else ""
    help_flag = f"--help {task or 'TASK'}"
    return f"unknown flag {flag}; {hint or f'see {program.binary} {help_flag}'}"


def settings_named(program: Any, flag: str) -> dict[str, str]:
    """Return the settings that a flag of this name could mean, by their environment variables."""
    name, found = flag.replace("-", "_"), {}
    for task in program.collection.tasks.values():
        schema = getattr(task, "schema", None)
        if not schema:
            continue
        for group, defaults in schema.defaults.items():
            dotted = f"{group}.{name}"
            if name in defaults or task.flags.get(name) == dotted:
                variable = f"FABRIC_{schema.key}_{group}_{name}".upper()
                found[variable] = dotted
    return found


def explain_number(program: Any, error: ValueError) -> str:
    """Return which flag needs a whole number, for the *error* of ``int``."""
    value = str(error).rpartition(": ")[2].strip("'")
    words = program.core.unparsed
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word.endswith(f"={value}") or following == value:
            flag = word.removesuffix(f"={value}")
            return f"{flag} {value}: must be a whole number"
    return f"{value}: must be a whole number"


def suggest(name: str, known: Iterable[str], prefix: str = "") -> str:
    """Return the question whether the operator meant the nearest of *known*.

    Args:
        name: What the operator typed.
        known: What would be right.
        prefix: What to print before a name.

    Returns:
        ``did you mean …?``, or an empty string if nothing is near.
    """
    known = list(known)
    near = [one for one in known if name in one.split("-")]
    near = near or difflib.get_close_matches(name, known, 1, 0.75)
    shown = [prefix + one for one in near]
    last = " or ".join([", ".join(shown[:-1]), shown[-1]] if shown[1:] else shown)
    return f"did you mean {last}?" if shown else ""

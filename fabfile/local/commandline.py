"""What `fab` itself prints for us: the list of tasks, the help of one, and an answer to what was mistyped."""

import re

from invoke import Exit, ParseError

from ..kit import task as kit
from ..kit.settings import nearest
from ..kit.task import BAD_REQUEST

LISTS = ("flat", "nested", "json")  # the formats of --list-format


def adopt(program):
    """Let the Fabric *program* run hosts side by side over one connection each, and list, help and answer as we do."""
    kit.adopt(program)
    help_of = program.print_task_help

    def list_flat():
        # Invoke sorts by name.
        place = {name: number for number, name in enumerate(program.collection.task_names)}
        pairs = program._make_pairs(program.scoped_collection)
        program.display_with_columns(
            sorted(pairs, key=lambda pair: place.get(pair[0].split()[0], len(place)))
        )

    def print_task_help(name):
        for argument in program.parser.contexts[name].args.values():
            argument.help = (
                f"{argument.help or ''} {behind(program.collection[name], argument)}".strip()
            )
        help_of(name)

    program.list_flat, program.print_task_help = list_flat, print_task_help
    for step in ("parse_tasks", "parse_cleanup"):
        setattr(program, step, answering(program, getattr(program, step)))


def behind(task, argument):
    """Return which setting stands behind a flag, and its default."""
    flags = getattr(task, "flags", {})
    dotted = flags.get(argument.name) or flags.get(argument.name.removeprefix("no_"))
    default = task.schema.default(dotted) if dotted else argument.default
    if not dotted and default in (None, False, []):
        return ""
    if isinstance(default, list):
        default = ", ".join(map(str, default))
    shown = (
        str(default).lower() if isinstance(default, bool) else default if default != "" else "empty"
    )
    return f"Setting {dotted}, default: {shown}." if dotted else f"Default: {shown}."


def answering(program, step):
    """Return *step* of the program so that what it does not know is answered with the nearest that it does; status 2."""

    def run(*args):
        try:
            if (
                step.__name__ == "parse_cleanup"
                and (wrong := program.args["list-format"].value) not in LISTS
            ):
                raise Exit(
                    f"--list-format {wrong}: {' or '.join(LISTS)}{nearest(wrong, LISTS)}",
                    BAD_REQUEST,
                )
            step(*args)
        except ParseError as error:
            raise Exit(said(program, error), BAD_REQUEST) from None
        except ValueError as error:  # of a flag that takes a number
            value = str(error).rpartition(": ")[2].strip("'")
            words = program.core.unparsed
            flag = next(
                (
                    word
                    for word, after in zip(words, [*words[1:], ""], strict=True)
                    if value == after
                ),
                f"={value}",
            )
            flag = next((word for word in words if word.endswith(f"={value}")), flag).removesuffix(
                f"={value}"
            )
            raise Exit(f"{flag} {value}: a whole number is expected".strip(), BAD_REQUEST) from None

    return run


def said(program, error):
    """Return what Invoke's *error* says, in our words."""
    text, context = str(error), error.context
    where = f"{context.name}: " if context and context.name else ""
    if unknown := re.fullmatch("No idea what '(.*)' is!", text):
        name = unknown[1]
        if not name.startswith("-"):
            return f"{name}: there is no such task{nearest(name, program.collection.task_names) or '; fab --list names all'}"
        flags = [*(context.flag_names() if where else ()), *program.initial_context.flag_names()]
        # Without the dashes, which would make short ones alike.
        flags = [flag[2:] for flag in flags if flag.startswith("--") and name.startswith("--")]
        hint = nearest(name[2:], flags).replace("mean ", "mean --")
        return f"{where}there is no flag {name}{hint or '; fab --help TASK names those of a task'}"
    if lacking := re.match(r"Flag <Argument: ([\w-]+)", text):
        return f"{where}--{lacking[1].replace('_', '-')} {'needs a value' if 'needed value' in text else 'takes no value'}"
    return text

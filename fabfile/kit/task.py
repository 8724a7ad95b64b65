"""`setup` turns a generator of resources into a Fabric task."""

import inspect
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import fabric
from fabric import Connection
from invoke import Exit

from . import secret
from .converge import converge
from .errors import RemoteError
from .host import Host
from .plan import GO_ON, Plan, Section
from .report import Report, write_hosts, write_json
from .settings import InvalidSetting, Schema
from .terminal import answered_yes, has_terminal

BAD_REQUEST, PENDING = 2, 3  # exit statuses
Body = Callable[..., Iterable]  # a generator function (c, settings, …) of resources


@dataclass
class CommandLine:
    """What the tasks of one command line share while an `Executor` runs it."""

    running: bool = False
    report_files: set[str] = field(default_factory=set)
    results: dict[str, list[dict]] = field(default_factory=dict)  # by the file they go to


command_line = CommandLine()


class SetupTask(fabric.Task):
    """A task that says what should be true on a host.

    Called, it converges the host now and returns a `Report`; its ``body`` joins another task's
    plan by ``yield from``.

    Args:
        function: the generator ``(c, settings, …)``.
        schema: the settings.
        flags: flag of the task -> setting.
    """

    def __init__(
        self,
        function: Body,
        schema: Schema,
        flags: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        self.schema, self.flags = schema, flags or {}
        own = list(inspect.signature(function).parameters.values())[2:]
        self.extra = [parameter.name for parameter in own]  # flags that are not settings

        def body(c: Connection, settings: Any = None, **given: Any) -> Iterator:
            extra = self._take_extra(given)
            yield Section(self.name.replace("_", "-"))
            yield from function(c, settings or self.settings(c, given), **extra)
            yield Section()

        body.__name__, body.__doc__ = function.__name__, function.__doc__
        body.__module__ = function.__module__
        of_settings = [
            parameter(self.flag_name(name), False if self._is_switch(name) else None)
            for name in self.flags
        ]
        self._parameters = [
            parameter("verbose", False),
            *of_settings,
            *own,
            parameter("report", None),
        ]
        lists = [
            name for name, dotted in self.flags.items() if isinstance(schema.default(dotted), list)
        ]
        helps = self._helps() | (kwargs.pop("help", None) or {})
        super().__init__(body, help=helps, iterable=lists, **kwargs)

    def argspec(self, body: object) -> inspect.Signature:
        """Return the signature from which Invoke makes the flags of the command line."""
        return inspect.Signature(self._parameters)

    def flag_name(self, name: str) -> str:
        """Return the flag for *name*; ``no_NAME`` turns off a switch that is on by default."""
        return f"no_{name}" if self.schema.default(self.flags[name]) is True else name

    def settings(self, c: Connection, given: dict[str, Any]) -> Any:
        """Return the settings for *c* with the flags *given*; raises Exit with status 2."""
        values = {}
        for name, dotted in self.flags.items():
            value = given.pop(name, None)
            if given.pop(f"no_{name}", False):
                value = False
            # Invoke gives False and [] for flags that were left out.
            left_out = value in (None, []) or (
                value is False and self.schema.default(dotted) is not True
            )
            if not left_out:
                values[dotted] = value
        if given:
            raise TypeError(f"{self.name}() got unexpected flags: {', '.join(given)}")
        try:
            return self.schema.load(c, values)
        except InvalidSetting as error:
            raise Exit(str(error), BAD_REQUEST) from None

    def check(
        self, c: Connection, verbose: bool = False, report: str | None = None, **given: Any
    ) -> None:
        """Raise Exit with status 2 if a flag or setting is invalid, before any connection."""
        self._take_extra(given)
        self.settings(c, given)
        if report:
            check_writable("report", report)

    def __call__(
        self,
        c: Connection,
        settings: Any = None,
        verbose: bool = False,
        report: str | None = None,
        **given: Any,
    ) -> Report:
        if not isinstance(c, Connection):
            name = self.name.replace("_", "-")
            raise Exit(f"{name} sets up a server: name it with -H [user@]host", BAD_REQUEST)
        extra = self._take_extra(given)
        settings = settings or self.settings(c, given)
        host = Host.of(c)
        result = host.report if command_line.running else Report(host.name)
        result.verbose = verbose
        try:
            run(c, self.body(c, settings, **extra), result)
        finally:
            if report and command_line.running:
                command_line.report_files.add(report)
            elif report:
                write_json(report, [result])
        if not command_line.running:
            result.recap()
        if not result.ok:
            raise Exit(code=1)
        self.times_called += 1
        return result

    def _take_extra(self, given: dict[str, Any]) -> dict[str, Any]:
        return {name: given.pop(name) for name in self.extra if name in given}

    def _is_switch(self, name: str) -> bool:
        return isinstance(self.schema.default(self.flags[name]), bool)

    def _helps(self) -> dict[str, str]:
        helps = {
            "verbose": "Show the difference that each change makes.",
            "report": "Write a JSON report to FILE.",
        }
        for name, dotted in self.flags.items():
            flag = self.flag_name(name)
            negative = flag != name
            helps[flag] = self.schema.help_off(dotted) if negative else self.schema.help(dotted)
        return helps


def parameter(name: str, default: object) -> inspect.Parameter:
    """Return a parameter of a task's signature."""
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default)


def run(c: Connection, body: Iterable, report: Report) -> None:
    """Converge the host of *c* to what *body* yields, and record errors in *report*."""
    started, shell, trips = time.monotonic(), None, 0
    try:
        plan = Plan(body)
        if c.user != "root":
            secret.given("SUDO_PASSWORD")  # only to see whether it can be read
    except ValueError as error:
        raise Exit(str(error), BAD_REQUEST) from None
    try:
        shell = Host.of(c).shell
        trips = shell.round_trips
        converge(shell, plan, report, dry=c.config.run.dry)
    except RemoteError as error:
        report.error = str(error)
    except KeyboardInterrupt:
        report.error = f"Interrupted. {GO_ON.replace('Fix this and run', 'Run')}"
        raise
    finally:
        report.seconds += time.monotonic() - started
        report.round_trips += shell.round_trips - trips if shell else 0


def setup(schema: Schema, help: Any = None, **flags: str) -> Any:
    """Return a decorator that makes a `SetupTask` of a generator function ``(c, settings, …)``.

    A package binds its schema once, and each task names the settings that become its flags::

        setup = functools.partial(kit.task.setup, schema)

        @setup(user="user.name")
        def create_home(c, s):
            \"\"\"Create the home folder.\"\"\"
            yield Directory(f"/home/{s.user.name}", owner=s.user.name)

    Args:
        schema: the settings, which give each flag its default, type and help.
        help: help for the further parameters of the function, which become flags too.
        flags: flag -> setting, such as ``user="user.name"``.
    """

    def decorate(function: Body) -> SetupTask:
        return fabric.task(klass=SetupTask, schema=schema, flags=flags, help=helps)(function)

    helps = {} if callable(help) else help or {}
    return decorate(help) if callable(help) else decorate  # also as @setup, without parentheses


def write_result(path: str, result: dict) -> None:
    """Write *result*, of one host, to the JSON file *path*; that of all hosts at the end."""
    if command_line.running:
        command_line.results.setdefault(path, []).append(result)
    else:
        write_hosts(path, [result])


@contextmanager
def hidden(prefix: str) -> Iterator[None]:
    """Hide the environment variables that begin with *prefix* from Invoke.

    Invoke knows no lists and takes "false" for true; `Schema` reads them itself.
    """
    names = [name for name in os.environ if prefix and name.startswith(prefix)]
    ours = {name: os.environ.pop(name) for name in names}
    try:
        yield
    finally:
        os.environ.update(ours)


def check_writable(flag: str, path: str) -> None:
    """Raise Exit with status 2 if the file *path* of the flag *flag* cannot be written."""
    try:
        open(path, "a").close()
    except OSError as error:
        raise Exit(f"--{flag} {path}: {error.strerror}", BAD_REQUEST) from None


def confirm(c: Connection, question: str, yes: bool = False) -> None:
    """Ask for confirmation on the terminal, unless *yes*; raises Exit if the answer is no."""
    if yes or c.config.run.dry:
        return
    if not has_terminal():
        raise Exit(f"{question}: there is no terminal to ask on; add --yes", BAD_REQUEST)
    if not answered_yes(f"{question}?"):
        raise Exit("Nothing was changed.", 1)

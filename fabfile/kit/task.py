"""`setup` makes a Fabric task of a generator of resources; `Executor` runs a whole command line of them."""

import inspect
import os
import re
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import fabric
from fabric import Connection
from invoke import Exit
from invoke.exceptions import UnknownFileType
from invoke.util import yaml

from .errors import RemoteError
from .plan import Plan, Section
from .report import WOULD, Report, say, write_json
from .secret import given
from .settings import InvalidSetting
from .shell import close_all, shell_of

BAD_REQUEST, PENDING = 2, 3  # exit statuses

_asking = threading.Lock()
_reports = {}  # of one command line, by host, in the order in which the hosts came


class SetupTask(fabric.Task):
    """A task that says what should be true on a host.

    Called, it converges now and returns a `Report`; its ``body`` joins another's plan by ``yield from``.
    """

    def __init__(self, function, schema=None, flags=None, **kwargs):
        self.schema, self.flags = schema, flags or {}
        extra = list(inspect.signature(function).parameters.values())[2:]
        self.extra = [parameter.name for parameter in extra]

        def body(c, settings=None, **given):
            mine = {name: given.pop(name) for name in self.extra if name in given}
            yield Section(self.name.replace("_", "-"))
            yield from function(c, settings or self.settings(c, given), **mine)
            yield Section()

        body.__name__, body.__doc__, body.__module__ = (
            function.__name__,
            function.__doc__,
            function.__module__,
        )
        self._parameters = [
            self._flag("verbose", False),
            *map(self._setting_flag, self.flags),
            *extra,
            self._flag("report", None),
        ]
        helps = {}
        for name, dotted in self.flags.items():
            off = self._flag_name(name) != name
            helps[self._flag_name(name)] = schema.help_off(dotted) if off else schema.help(dotted)
        helps |= {
            "verbose": "Show the difference of each change.",
            "report": "Write what was done to this file, as JSON.",
        }
        lists = [
            name for name, dotted in self.flags.items() if isinstance(schema.default(dotted), list)
        ]
        super().__init__(body, help=helps | kwargs.pop("help", {}), iterable=lists, **kwargs)

    def argspec(self, body):
        """Return the signature that Invoke makes the command line's flags of."""
        return inspect.Signature(self._parameters)

    def _flag(self, name, default):
        return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default)

    def _flag_name(self, name):
        # A switch that is on by default is turned off by --no-NAME: so given and not given can be told apart.
        return f"no_{name}" if self.schema.default(self.flags[name]) is True else name

    def _setting_flag(self, name):
        return self._flag(
            self._flag_name(name),
            False if isinstance(self.schema.default(self.flags[name]), bool) else None,
        )

    def settings(self, c, given):
        """Return the settings for *c* with the flags *given*; raises Exit with status 2 where one is not valid."""
        values = {}
        for name, dotted in self.flags.items():
            value = given.pop(name, None)
            if given.pop(f"no_{name}", False):
                value = False
            if (
                value is not None
                and value != []
                and (value is not False or self.schema.default(dotted) is True)
            ):
                values[dotted] = value
        if given:
            raise TypeError(f"{self.name}() got unexpected flags: {', '.join(given)}")
        try:
            return self.schema.load(c, values)
        except InvalidSetting as error:
            raise Exit(str(error), BAD_REQUEST) from None

    def check(self, c, verbose=False, report=None, **given):
        """Raise Exit with status 2 where a flag or a setting is not valid, or the report could not be written."""
        self.settings(c, {name: value for name, value in given.items() if name not in self.extra})
        if report:
            writable("report", report)

    def __call__(self, c, settings=None, verbose=False, report=None, **given):
        if not isinstance(c, Connection):
            raise Exit(
                f"{self.name.replace('_', '-')} sets up a server: say which with -H [user@]host",
                BAD_REQUEST,
            )
        mine = {name: given.pop(name) for name in self.extra if name in given}
        settings = settings or self.settings(c, given)
        result = report_for(c)
        result.verbose = verbose
        try:
            converge(c, self.body(c, settings, **mine), result)
        finally:
            if report and Executor.running:
                Executor.files.add(report)
            elif report:
                write_json(report, [result])
        if not Executor.running:
            result.recap()
        if not result.ok:
            raise Exit(code=1)
        self.times_called += 1
        return result


def report_for(c):
    """Return the report of the host of *c*; the tasks of one command line share it."""
    report = Report(c.original_host if c.port == 22 else f"{c.original_host}:{c.port}")
    return _reports.setdefault((c.user, c.host, c.port), report) if Executor.running else report


def converge(c, body, report):
    """Make what *body* yields true on the host of *c*, and note in *report* what happened."""
    started, shell, trips = time.monotonic(), None, 0
    try:
        parts = list(body)
        if c.user != "root":
            given("SUDO_PASSWORD")  # only to see whether it can be read
    except ValueError as error:
        raise Exit(str(error), BAD_REQUEST) from None
    try:
        shell = shell_of(c)
        trips = shell.round_trips
        Plan(shell, parts, report).converge(dry=c.config.run.dry)
    except RemoteError as error:
        report.error = str(error)
    except KeyboardInterrupt:
        report.error = "Interrupted. Run the same command again: it takes up where this one ended."
        raise
    finally:
        report.seconds += time.monotonic() - started
        report.round_trips += shell.round_trips - trips if shell else 0


def setup(schema, help=None, **flags):
    """Return a decorator that makes a `SetupTask` of a generator function ``(c, settings, …)``.

    Each of *flags* names a setting (``user="user.name"``): it becomes a flag of the task, with the setting's default,
    type and comment. Further parameters of the function become flags of their own, with *help*.
    """

    def decorate(function):
        return fabric.task(klass=SetupTask, schema=schema, flags=flags, help=help or {})(function)

    return decorate


class Executor(fabric.Executor):
    """Runs the tasks of one command line host by host, the hosts side by side, over one connection a host."""

    running = False
    files = set()  # where the reports of all hosts are written in the end

    def execute(self, *tasks):
        """Run *tasks*; raises Exit with status 1, 2 or 3 where they do not simply hold."""
        self.check()
        calls, chains = self.normalize(tasks), {}
        for call in self.expand_calls(calls):
            if host := getattr(call, "init_kwargs", {}).get("host"):
                chains.setdefault(host, []).append(self.prepared(call))
            elif code := self.run([self.prepared(call)]):
                raise Exit(code=code)
        Executor.running, started = True, time.monotonic()
        try:
            with ThreadPoolExecutor(min(len(chains), 32) or 1) as pool:
                # One host stays in the main thread, where Ctrl-C and prompts work best.
                done = (
                    map(self.run, chains.values())
                    if len(chains) == 1
                    else pool.map(self.run, chains.values())
                )
                try:
                    failures = [code for code in done if code]
                except KeyboardInterrupt:
                    close_all()  # which ends the other hosts' threads
                    raise
        finally:
            Executor.running = False
            for report in filter(lambda report: report.seconds, _reports.values()):
                report.recap()
            for path in self.files:
                write_json(path, _reports.values())
            close_all()
        if len(_reports) > 1:
            say(f"{len(_reports)} hosts, {time.monotonic() - started:.1f} s")
        if failures:
            raise Exit(code=failures[0])
        if any(report.count(WOULD) for report in _reports.values()):
            raise Exit(code=PENDING)
        return {call.task: None for call in calls}

    def check(self):
        """Refuse what is wrong with the request itself, before any connection."""
        hosts = self.core[0].args.hosts.value
        for host in hosts.split(",") if hosts else ():
            check_host(host)
        path = getattr(self.config, "_runtime_path", None)
        if path and not self.config._runtime_found:
            raise Exit(f"-f {path}: there is no such file", BAD_REQUEST)

    def prepared(self, call):
        """Return *call* with its context, after looking at its flags and settings."""
        config = self.config.clone()
        config.load_collection(self.collection.configuration(call.called_as))
        with hidden(
            f"FABRIC_{call.task.schema.key.upper()}_" if isinstance(call.task, SetupTask) else ""
        ):
            try:
                config.load_shell_env()
            except TypeError:
                raise Exit(
                    "a settings file has a key that is no text; put it in quotes", BAD_REQUEST
                ) from None
        context = call.make_context(config)
        if hasattr(call.task, "check") and isinstance(context, Connection):
            call.task.check(context, **call.kwargs)
        return call, context

    @staticmethod
    def run(chain):
        """Run the calls of one host in order and return the exit status of the first that fails, or 0."""
        for call, context in chain:
            try:
                call.task(context, *call.args, **call.kwargs)
            except Exit as error:
                if error.message:
                    say(error.message, sys.stderr)
                return error.code
        return 0


@contextmanager
def hidden(prefix):
    """Hide the environment variables that begin with *prefix*; Invoke reads them its own way, and `Schema` ours."""
    ours = {
        name: os.environ.pop(name)
        for name in list(os.environ)
        if prefix and name.startswith(prefix)
    }
    try:
        yield
    finally:
        os.environ.update(ours)


def writable(flag, path):
    """Raise Exit with status 2 where the file *path*, which *flag* names, cannot be written."""
    try:
        open(path, "a").close()
    except OSError as error:
        raise Exit(f"--{flag} {path}: {error.strerror}", BAD_REQUEST) from None


def adopt(program):
    """Let the Fabric *program* run its command lines by our `Executor`, and say what is wrong with a ``-f FILE``."""
    load = program.update_config

    def update_config(*args, **kwargs):
        try:
            load(*args, **kwargs)
        except (
            UnknownFileType,
            yaml.YAMLError,
            OSError,
            UnicodeError,
            AttributeError,
            TypeError,
        ) as error:
            why = (
                "it holds no mapping of settings"
                if isinstance(error, (AttributeError, TypeError))
                else error
            )
            raise Exit(f"-f {program.args.config.value}: {why}", BAD_REQUEST) from None

    program.executor_class, program.update_config = Executor, update_config


def confirm(c, what, yes=False):
    """Ask on the terminal whether to do *what*, unless *yes*; raises Exit where the answer is no, or nobody can be asked."""
    if yes or c.config.run.dry:
        return
    if not sys.stdin.isatty():
        raise Exit(f"{what}: there is no terminal to ask on; say --yes", BAD_REQUEST)
    with _asking:
        if input(f"{what}? [y/N] ").strip().lower() not in ("y", "yes"):
            raise Exit("Nothing was changed.", 1)


def check_host(text):
    """Raise Exit with status 2 where *text* is not ``[user@]host[:port]``."""
    label = r"\w([\w-]*\w)?"
    host = re.compile(rf"([^@\s]+@)?({label}(\.{label})*\.?(?::(?P<port>\d{{1,5}}))?|[\da-fA-F:]+)")
    match = host.fullmatch(text.strip())
    if not match or not 0 < int(match["port"] or 22) < 65536:
        raise Exit(
            f"-H {text}: this is no host; [user@]host[:port] is expected, as in root@example.org:22",
            BAD_REQUEST,
        )

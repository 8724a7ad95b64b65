"""`Executor` runs a whole command line: host by host, the hosts side by side."""

import re
import sys
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor

import fabric
from fabric import Connection
from invoke import Exit
from invoke.exceptions import UnknownFileType
from invoke.util import yaml

from .host import Host
from .report import WOULD, write_hosts, write_json
from .task import BAD_REQUEST, PENDING, SetupTask, command_line, hidden
from .terminal import say

SIDE_BY_SIDE = 32  # hosts at once


class Executor(fabric.Executor):
    """Runs the tasks of one command line over one connection a host."""

    def execute(self, *tasks):
        """Run *tasks*.

        Raises:
            Exit: with status 1, 2 or 3 unless everything holds.
        """
        self.check()
        calls = self.normalize(tasks)
        local, chains = self.sorted_by_host(calls)
        for call in local:
            if code := run_chain([call]):
                raise Exit(code=code)
        command_line.running, started = True, time.monotonic()
        try:
            failures = run_side_by_side(list(chains.values()))
        finally:
            command_line.running = False
            reports = [host.report for host in Host.all() if host.report.seconds]
            summarize(reports, time.monotonic() - started)
            Host.close_all()
        if failures:
            raise Exit(code=failures[0])
        if any(report.count(WOULD) for report in reports):
            raise Exit(code=PENDING)
        return {call.task: None for call in calls}

    def check(self) -> None:
        """Check the request itself, before any connection."""
        hosts = self.core[0].args.hosts.value
        for host in hosts.split(",") if hosts else ():
            check_host(host)
        path = getattr(self.config, "_runtime_path", None)
        if path and not self.config._runtime_found:
            raise Exit(f"-f {path}: there is no such file", BAD_REQUEST)

    def sorted_by_host(self, calls):
        """Return the prepared calls without a host, and those of each host by its name."""
        local, chains = [], {}
        for call in self.expand_calls(calls):
            host = getattr(call, "init_kwargs", {}).get("host")
            if host:
                chains.setdefault(host, []).append(self.prepared(call))
            else:
                local.append(self.prepared(call))
        return local, chains

    def prepared(self, call):
        """Return *call* with its context, after a check of its flags and settings."""
        config = self.config.clone()
        config.load_collection(self.collection.configuration(call.called_as))
        is_setup = isinstance(call.task, SetupTask)
        with hidden(f"FABRIC_{call.task.schema.key.upper()}_" if is_setup else ""):
            try:
                config.load_shell_env()
            except TypeError:
                raise Exit(
                    "a settings file has a key that is not text; put it in quotes", BAD_REQUEST
                ) from None
        context = call.make_context(config)
        if hasattr(call.task, "check") and isinstance(context, Connection):
            call.task.check(context, **call.kwargs)
        return call, context


def run_side_by_side(chains: list) -> list[int]:
    """Run the calls of each host in its own thread; return the exit statuses that are not 0."""
    with ThreadPoolExecutor(min(len(chains), SIDE_BY_SIDE) or 1) as pool:
        # One host stays in the main thread, where Ctrl-C and prompts work best.
        run_all = map if len(chains) == 1 else pool.map
        try:
            return [code for code in run_all(run_chain, chains) if code]
        except KeyboardInterrupt:
            for host in Host.all():  # their reports are still to be printed
                host.close()  # which ends its thread
            raise


def run_chain(chain) -> int:
    """Run the calls of one host in order; return the exit status of the first that fails, or 0."""
    for call, context in chain:
        try:
            call.task(context, *call.args, **call.kwargs)
        except Exit as error:
            if error.message:
                say(error.message, sys.stderr)
            return error.code
    return 0


def summarize(reports: Collection, seconds: float) -> None:
    """Print the summary of each host and write the JSON reports that were asked for."""
    for report in reports:
        report.recap()
    for path in command_line.report_files:
        write_json(path, reports)
    for path, results in command_line.results.items():
        write_hosts(path, results)
    command_line.report_files.clear()
    command_line.results.clear()
    if len(reports) > 1:
        say(f"{len(reports)} hosts, {seconds:.1f} s")


def adopt(program) -> None:
    """Let the Fabric *program* run its command lines by our `Executor`, with clear errors of -f."""
    load = program.update_config

    def update_config(*args, **kwargs):
        try:
            load(*args, **kwargs)
        except (AttributeError, TypeError):
            why = "it holds no mapping of settings"
        except (UnknownFileType, yaml.YAMLError, OSError, UnicodeError) as error:
            why = str(error)
        else:
            return
        raise Exit(f"-f {program.args.config.value}: {why}", BAD_REQUEST)

    program.executor_class, program.update_config = Executor, update_config


def check_host(text: str) -> None:
    """Raise Exit with status 2 if *text* is not ``[user@]host[:port]``."""
    label = r"\w([\w-]*\w)?"
    name = rf"{label}(\.{label})*\.?(?::(?P<port>\d{{1,5}}))?"
    match = re.fullmatch(rf"([^@\s]+@)?({name}|[\da-fA-F:]+)", text.strip())
    if not match or not 0 < int(match["port"] or 22) < 65536:
        raise Exit(
            f"-H {text}: not a host; [user@]host[:port] is expected, as in root@example.org:22",
            BAD_REQUEST,
        )

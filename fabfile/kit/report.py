"""What a run did: a line as each thing happens, a summary of each host, and JSON."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .terminal import coloured, indented, printable, say, screen

if TYPE_CHECKING:
    from .resources.base import Resource

OK, CHANGED, FAILED = "ok", "changed", "failed"
UNKNOWN, WOULD, WARNING = "unknown", "would change", "warning"
COLOURS = {OK: "32", CHANGED: "33", WOULD: "36", FAILED: "31", UNKNOWN: "35", WARNING: "33"}


@dataclass
class Entry:
    """One resource of one task, and what became of it."""

    task: str
    resource: str
    status: str
    seconds: float = 0.0
    diff: str = ""


@dataclass
class Report:
    """What happened on one *host*; tasks of one command line add to the same one."""

    host: str
    verbose: bool = False
    entries: list[Entry] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    round_trips: int = 0
    seconds: float = 0.0
    error: str = ""

    def count(self, *statuses: str) -> int:
        """Return how many entries have one of *statuses*."""
        return sum(entry.status in statuses for entry in self.entries)

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return not self.error and not self.count(FAILED)

    def add(
        self,
        task: str,
        resource: str,
        status: str,
        seconds: float = 0.0,
        diff: str = "",
        detail: str = "",
    ) -> None:
        """Record the status of *resource*, and print its line."""
        self.entries.append(Entry(task, resource, status, round(seconds, 3), diff))
        self.line(task, status, resource + (f": {detail}" if detail else ""), seconds)
        if diff and (self.verbose or status == WOULD):
            say(indented(printable(diff)))

    def line(self, task: str, status: str, text: str, seconds: float = 0.0) -> None:
        """Print one line that can be grepped by host, task and status."""
        clock = f"  {seconds:.1f} s" if seconds >= 0.05 else ""
        column = coloured(f"{status:<12}", COLOURS.get(status))
        say(f"{self.host}  {task:<22} {column} {printable(text)}{clock}")

    def recap(self) -> None:
        """Print the notices, the error if there is one, and the last line of this host."""
        for notice in self.notices:
            say(f"{self.host}  {notice}")
        self.notices.clear()
        if self.error:
            say(coloured(f"{self.host}  {printable(self.error)}", "31"), sys.stderr)
        counts = {
            "ok": self.count(OK, WARNING),
            "changed": self.count(CHANGED),
            "failed": max(self.count(FAILED), int(not self.ok)),
        }
        if self.count(WOULD):
            counts["would_change"] = self.count(WOULD)
        if self.count(UNKNOWN):
            counts["unknown"] = self.count(UNKNOWN)
        numbers = " ".join(f"{name}={number}" for name, number in counts.items())
        trips = f"{self.round_trips} round trip{'s' if self.round_trips != 1 else ''}"
        say(f"{self.host}  {numbers}  {trips}, {self.seconds:.1f} s")

    def as_dict(self) -> dict[str, Any]:
        """Return the report as the JSON of one host."""
        tasks: dict[str, list] = {}
        for entry in self.entries:
            row = {
                "resource": entry.resource,
                "status": entry.status,
                "seconds": entry.seconds,
                "diff": entry.diff,
            }
            tasks.setdefault(entry.task, []).append(row)
        return {
            "host": self.host,
            "ok": self.count(OK, WARNING),
            "changed": self.count(CHANGED),
            "failed": max(self.count(FAILED), int(not self.ok)),
            "unknown": self.count(UNKNOWN),
            "would_change": self.count(WOULD),
            "round_trips": self.round_trips,
            "seconds": round(self.seconds, 3),
            "error": self.error,
            "tasks": [{"task": task, "resources": rows} for task, rows in tasks.items()],
        }


class Progress:
    """A line on a terminal that shows the running step and overwrites itself."""

    def __init__(self, report: Report, task: str, resource: Resource) -> None:
        self.resource = resource
        self.prefix = f"{report.host}  {task:<22} {'running':<12} {resource.label}"
        self.started = time.monotonic()
        if sys.stdout.isatty():
            self("")
        else:
            say(self.prefix)

    def __call__(self, text: str) -> None:
        """Show *text*, one line that the step printed."""
        text = printable(text)
        if sys.stdout.isatty():
            width = os.get_terminal_size().columns
            seconds = time.monotonic() - self.started
            line = f"{self.prefix}  {seconds:.0f} s  {self.resource.progress(text)}"
            with screen:
                sys.stdout.write("\r\x1b[K" + line[: width - 1])
                sys.stdout.flush()


def write_json(path: str | os.PathLike, reports: Iterable[Report]) -> None:
    """Write the reports of all hosts to *path*."""
    write_hosts(path, [report.as_dict() for report in reports])


def write_hosts(path: str | os.PathLike, results: Sequence[Mapping[str, Any]]) -> None:
    """Write the *results*, one mapping per host, to *path*."""
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"hosts": results}, file, indent=1)
        file.write("\n")

"""What every kind of resource has."""

import difflib
from dataclasses import dataclass, field
from typing import ClassVar

from ..quote import sh, words

CANNOT_KNOW = 69  # the only exit status of a probe that is no error: the program that would tell is not installed
STATE = "/run/remote-jupyter"


def as_owner(user, path, script):
    """Return shell text that runs *script*, which writes *path*, as *user*.

    What is in a user's own folder is written as that user: root would follow a link that the user puts there meanwhile
    (``chown -h`` does not). The script goes in by standard input, so that a secret in it is in no argument list.
    """
    if user == "root":
        return script
    text = "[ ! -e {} ] || chown -h {} {}\nprintf %s {} | runuser -u {} -- /bin/sh -e"
    return sh(text, path, f"{user}:", path, words([script]), user)


def stat_fields(head):
    """Return owner, group and mode of ``stat -c '%U %G %a'``; a group's name may hold spaces."""
    owner, rest = head.split(" ", 1)
    group, mode = rest.rsplit(" ", 1)
    return {"owner": owner, "group": group, "mode": mode.zfill(4)}


@dataclass(frozen=True)
class Handler:
    """Something to do once after the changes, such as a reload; equal ones merge."""

    name: str
    script: str


@dataclass(frozen=True)
class Resource:
    """One thing on the host that should be true.

    `probe` is shell text that asks and never changes anything; it answers on a bare host too. `parse` turns the answer into
    a mapping, `want` says what that mapping should hold, and `apply` is shell text that makes it so, safe to repeat.
    """

    notify: Handler | None = field(default=None, kw_only=True)
    rollback: object = field(
        default=None, kw_only=True
    )  # a `Guard`, where a change could lock everybody out

    needs_reprobe: ClassVar[bool] = False  # whether others must be asked again after it changed
    read_only: ClassVar[bool] = False  # whether it never changes anything
    slow: ClassVar[bool] = False  # whether its progress is worth showing
    undo: ClassVar[
        str
    ]  # what a person does to take it back; {0} is the resource, {1} the names of its packages

    def probe(self):
        """Return read-only shell text; its standard output goes to `parse`."""
        raise NotImplementedError

    def parse(self, output):
        """Return what *output* tells, as a mapping of names to texts."""
        return {"state": output.strip()}

    def desired(self):
        """Return what the mapping should hold; names that are missing here do not matter."""
        raise NotImplementedError

    def apply(self, actual):
        """Return shell text that makes it so; it is run by ``sh`` as root with ``set -e``."""
        raise NotImplementedError

    def conflict(self, actual):
        """Return why this must not be touched (it is somebody else's) and what to do, or None."""
        return None

    def changed(self, actual):
        """Return the names whose values are not as wanted."""
        return [name for name, value in self.desired().items() if actual.get(name) != value]

    def diff(self, actual):
        """Return the difference as a unified diff, without secrets."""
        desired = self.desired()
        names = self.changed(actual)
        old = [f"{name}: {actual[name]}" for name in names if actual.get(name) is not None]
        return unified(self.label, old, [f"{name}: {desired[name]}" for name in names])

    def merge(self, other):
        """Return the resource that stands for this and for *other*, which comes later in the same plan; or None."""
        return self if self == other else None

    def progress(self, line):
        """Return what to show while it is applied, of a *line* that it prints."""
        return line

    def notice(self):
        """Return what the operator must be told once, at the end, after this was changed; or None."""
        return None

    def rollback_for(self, actual):
        """Return the `Guard` of the change that *seen* asks for, or None."""
        return self.rollback

    def shortfall(self, output):
        """Return why `apply`, which printed *output*, left it as it was although the run may go on; or an empty text."""
        return ""

    def undo_hint(self):
        """Return what a person does to take it back, in words that may hold a command or a task."""
        handler = f", then {self.notify.name}" if self.notify else ""
        return (
            self.undo.format(self, " ".join(getattr(self, "packages", getattr(self, "names", ()))))
            + handler
        )

    def supersedes(self, actual):
        """Return the names of the handlers that a change of this makes unnecessary."""
        return ()

    @property
    def label(self):
        """The kind and the name, for reports."""
        return f"{type(self).__name__} {getattr(self, 'path', getattr(self, 'name', ''))}".strip()


def unified(name, old, new):
    """Return a unified diff of two lists of lines, without its time stamps."""
    lines = difflib.unified_diff(old, new, f"{name} (is)", f"{name} (will be)", lineterm="")
    return "\n".join(lines)

"""The base of every resource."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from ..quote import Shell

if TYPE_CHECKING:
    from ..rollback import Rollback

CANNOT_KNOW = 69  # a probe's status if the program that it asks is not installed yet
STATE = "/run/remote-jupyter"


def stat_fields(head: str) -> dict[str, str]:
    """Return owner, group and mode from the output of ``stat -c '%U %G %a'``.

    The name of a group may contain spaces.
    """
    owner, rest = head.split(" ", 1)
    group, mode = rest.rsplit(" ", 1)
    return {"owner": owner, "group": group, "mode": mode.zfill(4)}


@dataclass(frozen=True)
class Handler:
    """An action that runs once after the changes, such as a reload. Equal handlers merge.

    Args:
        name: what reports call it, and its file name among the pending handlers.
        script: shell code, run by ``sh`` as root.
    """

    name: str
    script: str


@dataclass(frozen=True)
class Resource:
    """One thing on the host that should be true.

    A resource compares two mappings of names to values. `parse` makes the actual one from the
    output of `probe`; `desired` returns the other. If they differ, the plan runs `apply` and
    probes again. A whole resource is small::

        @dataclass(frozen=True)
        class Timezone(Resource):
            \"\"\"The host's time zone.\"\"\"

            name: str  # such as Europe/Berlin

            undo = "timedatectl set-timezone ZONE"

            def probe(self):
                return Shell("timedatectl show -P Timezone")

            def parse(self, output):
                return {"zone": output.strip()}

            def desired(self):
                return {"zone": self.name}

            def apply(self, actual):
                return sh("timedatectl set-timezone {}", self.name)

    Args:
        notify: the handler that runs after this resource was changed.
        rollback: how the host undoes the change by itself, for changes that could lock
            everyone out.
    """

    notify: Handler | None = field(default=None, kw_only=True)
    rollback: Rollback | None = field(default=None, kw_only=True)

    needs_reprobe: ClassVar[bool] = False  # a change may change what later resources find
    read_only: ClassVar[bool] = False  # it never changes anything
    slow: ClassVar[bool] = False  # reports show the progress of `apply`
    # Why its state may stay unknown at the end.
    unknown: ClassVar[str] = "the program that would tell is missing"
    # How a person undoes the change; {0} is the resource, {1} the names of its packages.
    undo: ClassVar[str]

    def probe(self) -> Shell:
        """Return read-only shell code whose standard output `parse` understands.

        It exits with 0 on a bare host too, because absence is an answer. `CANNOT_KNOW` is the
        status for "unknown until earlier changes are applied"; any other status is an error.
        """
        raise NotImplementedError

    def parse(self, output: str) -> dict[str, Any]:
        """Return the actual state.

        Args:
            output: what the code of `probe` printed.

        Raises:
            ValueError, LookupError: *output* is not what the probe prints.
        """
        return {"state": output.strip()}

    def desired(self) -> dict[str, Any]:
        """Return the desired state. Names that only the actual state has do not count."""
        raise NotImplementedError

    def apply(self, actual: dict[str, Any]) -> Shell:
        """Return shell code that changes the host from *actual* to the desired state.

        It is run by ``sh`` as root with ``set -e``, and is safe to repeat.
        """
        raise NotImplementedError

    def conflict(self, actual: dict[str, Any]) -> str | None:
        """Return why the host must not be changed and what to do about it, or None.

        For example, *actual* may be a file that someone else wrote.
        """
        return None

    def changed(self, actual: dict[str, Any]) -> list[str]:
        """Return the names of the values that differ between *actual* and the desired state."""
        return [name for name, value in self.desired().items() if actual.get(name) != value]

    def diff(self, actual: dict[str, Any]) -> str:
        """Return the difference as a unified diff, without secrets."""
        desired = self.desired()
        names = self.changed(actual)
        old = [f"{name}: {actual[name]}" for name in names if actual.get(name) is not None]
        return unified(self.label, old, [f"{name}: {desired[name]}" for name in names])

    def merge(self, other: Resource) -> Resource | None:
        """Return one resource that stands for this one and a later one of the same plan.

        Returns:
            None if the two stay apart.
        """
        return self if self == other else None

    def progress(self, line: str) -> str:
        """Return what to show for a *line* that `apply` prints."""
        return line

    def notice(self, output: str = "") -> str | None:
        """Return what to tell the operator once, at the end of a run that changed this; or None.

        Args:
            output: what the code of `apply` printed.
        """
        return None

    def rollback_for(self, actual: dict[str, Any]) -> Rollback | None:
        """Return the rollback to arm before the change from *actual*, or None."""
        return self.rollback

    def shortfall(self, output: str) -> str:
        """Return why nothing changed although the run may go on, or an empty text.

        Args:
            output: what the code of `apply` printed.
        """
        return ""

    def undo_hint(self) -> str:
        """Return how a person undoes the change, as a sentence that may name a command or task."""
        handler = f", then {self.notify.name}" if self.notify else ""
        names = " ".join(getattr(self, "packages", getattr(self, "names", ())))
        return self.undo.format(self, names) + handler

    def supersedes(self, actual: dict[str, Any]) -> tuple[str, ...]:
        """Return the names of the handlers that the change from *actual* makes unnecessary."""
        return ()

    @property
    def label(self) -> str:
        """The kind and the name, for reports."""
        return f"{type(self).__name__} {getattr(self, 'path', getattr(self, 'name', ''))}".strip()


def unified(name: str, old: list[str], new: list[str]) -> str:
    """Return a unified diff of two lists of lines."""
    lines = difflib.unified_diff(old, new, f"{name} (is)", f"{name} (will be)", lineterm="")
    return "\n".join(lines)

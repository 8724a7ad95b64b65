"""What a server remembers about runs: the lock, pending handlers, armed rollbacks."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .quote import Shell, program, script, sh
from .resources.base import Handler

if TYPE_CHECKING:
    from .rollback import Rollback

# A digest of everything that a rollback saved; `complete` holds it, and is written last.
DIGEST = Shell(
    '(cd "$1" && find . -type f ! -name "complete*" ! -name changed -exec sha256sum {} + |'
    " LC_ALL=C sort | sha256sum)"
)
IS_COMPLETE = Shell('[ -s "$1/complete" ] && [ "$(digest "$1")" = "$(cat "$1/complete")" ]')
# Renamed first, so that after a power cut it is complete or absent.
REMOVE = Shell(
    """
    rm -rf "$folder.old"
    mv "$folder" "$folder.old" && rm -f "$at_boot" "$wanted"
    sync -f "$state"
    sync -f /etc/systemd/system
    rm -rf "$folder.old"
    """
)


@dataclass(frozen=True)
class Notes:
    """What `Ledger.list` found.

    Args:
        pending: handlers that an earlier run left, by name.
        armed: names of the rollbacks that an earlier run left armed.
        damaged: names of the rollbacks that were never complete.
        rolled_back: what the server has rolled back by itself, with the time.
    """

    pending: dict[str, Handler] = field(default_factory=dict)
    armed: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()
    rolled_back: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ledger:
    """The notes of one server, as shell text that reads and writes them.

    Args:
        runtime: folder of what is gone after a reboot.
        state: folder of what survives a reboot.
        units: folder of systemd's units.
        patience: seconds to wait for another run.
    """

    runtime: str = "/run/remote-jupyter"
    state: str = "/var/lib/remote-jupyter"
    units: str = "/etc/systemd/system"
    patience: int = 600

    UNIT = "remote-jupyter-rollback"

    # -- the lock

    def lock(self) -> Shell:
        """Return shell text for the root shell itself that takes the lock."""
        return program("ledger-lock", runtime=self.runtime, patience=self.patience)

    @staticmethod
    def unlock() -> Shell:
        """Return shell text for the root shell itself that releases the lock."""
        return Shell("exec 9>&-\n")

    # -- handlers

    def mark_pending(self, handler: Handler) -> Shell:
        """Return shell text that notes *handler* for a later run, or exits if it cannot."""
        return script(
            '{ mkdir -p "$folder" && printf %s "$text" >"$folder/$name"; } || exit',
            folder=f"{self.runtime}/pending",
            name=handler.name,
            text=str(handler.script),
        )

    def run(self, handler: Handler) -> Shell:
        """Return shell text that runs *handler* and forgets it if it succeeds."""
        return script(
            '(eval "$text") && rm -f "$note"',
            text=str(handler.script),
            note=f"{self.runtime}/pending/{handler.name}",
        )

    def forget(self, name: str) -> Shell:
        """Return shell text that forgets the handler *name*."""
        return sh("rm -f {}", f"{self.runtime}/pending/{name}")

    # -- rollbacks

    def arm(self, rollback: Rollback) -> Shell:
        """Return shell text that arms *rollback*; it belongs before the change, in one step."""
        return program(
            "rollback-arm",
            *rollback.paths,
            **self._places,
            mine=f"{self._folder}/{rollback.folder}",
            back=str(rollback.back),
            note=Shell(rollback.note),
            seconds=rollback.seconds,
            restore=str(program("rollback-restore", **self._places)),
            boot_unit=self._boot_unit,
        )

    def roll_back(self) -> Shell:
        """Return shell text that restores now what is armed, and prints what it did."""
        restore = program("rollback-restore", **self._places)
        return program("rollback-now", **self._places, restore=restore)

    def disarm(self) -> Shell:
        """Return shell text that forgets what is armed; it fails if that was restored already."""
        return program("rollback-disarm", **self._places)

    # -- all of it

    def list(self) -> Shell:
        """Return a probe that prints everything; `parse` reads it."""
        return program("ledger-list", **self._places, pending=f"{self.runtime}/pending")

    def parse(self, output: str) -> Notes:
        """Return the notes that the probe printed."""
        head, _, rest = output.partition("\0")
        pending = re.findall(r"\0([^\0]*)\0([^\0]*)", f"\0{rest}") if rest else []
        found: dict[str, list[str]] = {"armed": [], "damaged": [], "rolled-back": []}
        for line in head.splitlines():
            kind, _, text = line.partition(" ")
            found[kind].append(text if kind == "rolled-back" else text.partition(".")[0])
        return Notes(
            {name: Handler(name, text) for name, text in pending},
            tuple(found["armed"]),
            tuple(found["damaged"]),
            tuple(found["rolled-back"]),
        )

    @property
    def _folder(self) -> str:
        return f"{self.state}/rollback"

    @property
    def _places(self) -> dict[str, str]:
        """The variables and functions that all programs about rollbacks share."""
        at_boot = f"{self.UNIT}-at-boot.service"
        return {
            "state": self.state,
            "folder": self._folder,
            "unit": self.UNIT,
            "at_boot": f"{self.units}/{at_boot}",
            "wanted": f"{self.units}/multi-user.target.wants/{at_boot}",
            "digest": DIGEST,
            "is_complete": IS_COMPLETE,
            "remove": REMOVE,
        }

    @property
    def _boot_unit(self) -> str:
        return "\n".join(
            [
                "[Unit]",
                "Description=Roll back a change that no new login has verified",
                f"ConditionPathExists={self._folder}/restore",
                "Before=ssh.service ssh.socket ufw.service",
                "DefaultDependencies=no",
                "After=local-fs.target",
                "",
                "[Service]",
                "Type=oneshot",
                f"ExecStart=/bin/sh {self._folder}/restore",
                "",
            ]
        )

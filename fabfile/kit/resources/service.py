"""A systemd service."""

from dataclasses import dataclass

from ..quote import Shell, sh
from .base import CANNOT_KNOW, Handler, Resource


@dataclass(frozen=True)
class Service(Resource):
    """A service, or another unit with its suffix in the name, that runs now and starts at boot.

    *check* is shell text that must succeed before it is reloaded, *ready* shell text that must succeed soon after it was
    started. *ours* says that the unit file is in the same plan, so that its absence is an answer.
    """

    name: str
    check: str = ":"
    ready: str = ""
    ours: bool = False

    undo = "systemctl disable --now {0.name}"

    def probe(self):
        return sh(
            """
            seen=$(systemctl show -p LoadState -p ActiveState -p UnitFileState {}) || exit
            case "$seen" in *LoadState=not-found*) [ -n {} ] || exit {};; esac
            printf '%s\n' "$seen"
            """,
            self.name if "." in self.name else f"{self.name}.service",
            "ours" if self.ours else "",
            CANNOT_KNOW,
        )

    def parse(self, output):
        actual = dict(line.split("=", 1) for line in output.splitlines())
        return {
            "active": actual.get("ActiveState"),
            "at boot": actual.get("UnitFileState") or "disabled",
        }

    def desired(self):
        return {"active": "active", "at boot": "enabled"}

    def conflict(self, actual):
        return (
            f"the unit is masked; systemctl unmask {self.name}"
            if actual["at boot"] == "masked"
            else None
        )

    def apply(self, actual):
        return (
            "systemctl daemon-reload\n"
            + sh("systemctl enable -q {}\n", self.name)
            + self.started("start")
        )

    def supersedes(self, actual):
        return (self.restart.name,) if actual["active"] != "active" else ()

    @property
    def reload(self):
        """The handler that checks and then reloads, which keeps open connections; what does not run needs none."""
        reload = "if systemctl is-active -q {}; then {} && systemctl reload {}; fi"
        return Handler(f"reload {self.name}", sh(reload, self.name, Shell(self.check), self.name))

    @property
    def restart(self):
        """The handler that checks, restarts, and waits until it is ready; what does not run needs none."""
        restart = "if systemctl is-active -q {}; then { {} && systemctl daemon-reload; } || exit 1\n{}\nfi"
        return Handler(
            f"restart {self.name}",
            sh(restart, self.name, Shell(self.check), self.started("restart")),
        )

    def started(self, verb):
        """Return shell text that starts or restarts it (*verb*) and waits until it is ready; *ready* may give up: s=1 why=…."""
        return sh(
            """
            s='' why='' tries=0
            systemctl reset-failed {} 2>/dev/null || :
            systemctl {} {} || s=$?
            while [ -z "$s" ] && ! { {} && systemctl is-active -q {}; }; do
                tries=$((tries + 1))
                case $(systemctl show -P ActiveState {}) in failed|inactive) s=1;; esac
                case $(systemctl show -P Result {}) in success) ;; *) s=1;; esac
                [ $tries -lt 150 ] || s=1
                sleep 0.2
            done
            [ -z "$s" ] || { systemctl status --no-pager -n 20 {} >&2; printf '%s\n' "$why" >&2; exit 1; }
            """,
            *(self.name, verb, self.name, Shell(self.ready or ":"), *[self.name] * 4),
        )

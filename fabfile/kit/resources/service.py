"""A systemd service."""

from dataclasses import dataclass

from ..quote import Shell, script
from .base import CANNOT_KNOW, Handler, Resource


@dataclass(frozen=True)
class Service(Resource):
    """A service that runs now and starts at boot.

    Args:
        name: the service, or another unit with its suffix.
        check: shell code that must succeed before a reload or restart, such as a syntax check.
        ready: shell code that must succeed soon after a start. It may set ``s=1`` and ``why`` to
            end the wait with an error.
        ours: whether the unit file is part of the same plan. If it is not, the state of a
            missing unit is unknown.
    """

    name: str
    check: str = ":"
    ready: str = ""
    ours: bool = False

    undo = "systemctl disable --now {0.name}"

    def probe(self):
        unit = self.name if "." in self.name else f"{self.name}.service"
        return script(
            """
            seen=$(systemctl show -p LoadState -p ActiveState -p UnitFileState "$unit") || exit
            case "$seen" in *LoadState=not-found*) [ -n "$ours" ] || exit "$unknown";; esac
            printf '%s\\n' "$seen"
            """,
            unit=unit,
            ours=self.ours,
            unknown=CANNOT_KNOW,
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
        if actual["at boot"] == "masked":
            return f"the unit is masked; run: systemctl unmask {self.name}"
        return None

    def apply(self, actual):
        return script(
            """
            systemctl daemon-reload
            systemctl enable -q "$unit"
            start
            """,
            unit=self.name,
            start=self.started("start"),
        )

    def supersedes(self, actual):
        return (self.restart.name,) if actual["active"] != "active" else ()

    @property
    def reload(self) -> Handler:
        """The handler that checks and reloads the service, which keeps connections open.

        It does nothing if the service does not run.
        """
        code = script(
            """
            if systemctl is-active -q "$unit"; then
                check && systemctl reload "$unit"
            fi
            """,
            unit=self.name,
            check=Shell(self.check),
        )
        return Handler(f"reload {self.name}", code)

    @property
    def restart(self) -> Handler:
        """The handler that checks and restarts the service, and waits until it is ready.

        It does nothing if the service does not run.
        """
        started = self.started("restart")
        code = script(
            """
            if systemctl is-active -q "$unit"; then
                check && systemctl daemon-reload || exit 1
                restart
            fi
            """,
            unit=self.name,
            check=Shell(self.check),
            restart=started,
        )
        return Handler(f"restart {self.name}", code)

    def started(self, verb: str) -> Shell:
        """Return shell code that starts the service and waits until it is ready.

        Args:
            verb: ``start`` or ``restart``.
        """
        return script(
            """
            s='' why='' tries=0
            systemctl reset-failed "$unit" 2>/dev/null || :
            systemctl "$verb" "$unit" || s=$?
            while [ -z "$s" ] && ! { ready && systemctl is-active -q "$unit"; }; do
                tries=$((tries + 1))
                case $(systemctl show -P ActiveState "$unit") in failed|inactive) s=1;; esac
                case $(systemctl show -P Result "$unit") in success) ;; *) s=1;; esac
                [ $tries -lt 150 ] || s=1
                sleep 0.2
            done
            if [ -n "$s" ]; then
                systemctl status --no-pager -n 20 "$unit" >&2
                printf '%s\\n' "$why" >&2
                exit 1
            fi
            """,
            unit=self.name,
            verb=verb,
            ready=Shell(self.ready or ":"),
        )

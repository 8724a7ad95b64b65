"""Long steps as named transient units, which outlive a dropped connection."""

from ..quote import sh, words
from .base import STATE


def as_unit(name, script, user="root"):
    """Return shell text that runs *script* as the transient unit *name* of *user* and prints its log as it grows.

    Where a unit of this name still runs, left by a run whose connection broke, that is waited for first. The exit status is
    the script's; after a failure the end of the log is on standard error.
    """
    return sh(
        """
        unit={} log={} user={}
        mkdir -p {}
        follow() { tail -n +1 -s 0.2 -F "$log" 2>/dev/null & tail=$!; }
        case $(systemctl show -P ActiveState "$unit.service") in active|activating|deactivating)
            follow
            while case $(systemctl show -P ActiveState "$unit.service") in active|activating|deactivating) ;; *) false;; esac
            do sleep 0.5; done
            kill $tail
        esac
        systemctl reset-failed "$unit.service" 2>/dev/null || :
        : >"$log"; chmod 0640 "$log"
        follow
        systemd-run --quiet --wait --collect --unit="$unit" --uid="$user" -p UMask=022 -p StandardOutput=append:"$log" \\
            -p StandardError=append:"$log" -p KillMode=mixed /bin/sh -ec {} </dev/null && s=0 || s=$?
        sleep 0.3; kill $tail 2>/dev/null
        [ $s = 0 ] || grep -v '^[dp][lm]status:' "$log" | tail -n 15 >&2
        exit $s
        """,
        name,
        f"{STATE}/{name}.log",
        user,
        STATE,
        words([script]),
    )

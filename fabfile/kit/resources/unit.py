"""Long steps as named transient units, which outlive a dropped connection."""

from ..quote import Shell, sh, words
from .base import STATE

START = Shell("""
        start() {
            systemctl reset-failed "$unit.service" 2>/dev/null || :
            mkdir -p "${log%/*}"; : >"$log"; chmod 0640 "$log"
            # Without a description the whole script would be it, and its lines be read as the settings of a unit.
            systemd-run --quiet --collect --unit="$unit" --description="$unit" --uid="$user" -p UMask=022 \\
                -p StandardOutput=append:"$log" -p StandardError=append:"$log" -p KillMode=mixed "$@" </dev/null
        }
        at_work() { case $(systemctl show -P ActiveState "$unit.service") in active|activating|deactivating) ;; *) false;; esac; }
""")

# What the environment of a unit lacks: the proxies that the server's own logins use.
PROXIES = Shell("""
    for name in http_proxy https_proxy no_proxy all_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY; do
        value=$(sed -n "s/^\\(export  *\\)\\{0,1\\}$name=//p" /etc/environment 2>/dev/null | tail -n 1 | tr -d "\\"'")
        [ -z "$value" ] || export "$name=$value"
    done
""")


def as_unit(name, script, user="root"):
    """Return shell text that runs *script* as the transient unit *name* of *user* and prints its log as it grows.

    Where a unit of this name still runs, left by a run whose connection broke, that is waited for first. The exit status is
    the script's; after a failure the end of the log is on standard error.
    """
    return sh(
        """
        unit={} log={} user={}
        {}
        mkdir -p "${log%/*}"
        follow() { tail -n +1 -s 0.2 -F "$log" 2>/dev/null & tail=$!; }
        if at_work; then
            follow
            while at_work; do sleep 0.5; done
            kill "$tail"
        fi
        : >"$log"
        follow
        start --wait /bin/sh -ec {} && s=0 || s=$?
        sleep 0.3; kill "$tail" 2>/dev/null
        [ "$s" = 0 ] || grep -v '^[dp][lm]status:' "$log" | tail -n 15 >&2
        exit "$s"
        """,
        *(name, f"{STATE}/{name}.log", user, START, as_argument(script)),
    )


def unit_begun(name, script, user="root"):
    """Return shell text that starts *script* as the transient unit *name* of *user* and does not wait; `as_unit` does later."""
    text = "unit={} log={} user={}\n{}\nat_work || start /bin/sh -ec {}"
    return sh(text, name, f"{STATE}/{name}.log", user, START, as_argument(script))


def as_argument(script):
    """Return *script* as one word for systemd-run, which would put variables of its own in the place of ``${...}``."""
    return words([script.replace("$", "$$")])

"""Control Jupyter's service: start, stop, restart, status, logs, open."""

import contextlib
from collections import Counter

from fabric import task
from invoke import Exit

from ..kit.errors import RemoteError
from ..kit.host import Host
from ..kit.quote import script, sh
from ..kit.task import BAD_REQUEST
from ..kit.terminal import printable, say
from ..local.forwarding import show_page
from ..settings import settings_for
from ..settings.derived import jupyter_service, jupyter_url

STATUS = """
systemctl show -p LoadState -p ActiveState -p UnitFileState -p ActiveEnterTimestamp \\
    -p NRestarts -p MemoryCurrent "$unit"
echo "Kernels=$(pgrep -u "$user" -fc ipykernel)"
"""

READY = """
is_ready || { echo "$why" >&2; false; }
"""

# What runs in tmux logs under its own name.
LOG = """
journalctl -a -q --no-pager -o short-iso -n "$lines" ${follow:+-f} \\
    _SYSTEMD_UNIT="$unit" + _PID=1 UNIT="$unit" + SYSLOG_IDENTIFIER="$name"
"""


# The addresses from which logins failed within 24 hours, one a line; the configuration logs them.
FAILED_LOGINS = """
journalctl -a -q --no-pager -o cat --since=-24h _SYSTEMD_UNIT="$unit" + SYSLOG_IDENTIFIER="$name" |
    sed -n 's/.*login failed from \\([0-9a-fA-F:.]*\\)$/\\1/p'
"""


def check_service(c, lines=0, **_):
    """Return the settings of a task in this file.

    Raises:
        Exit: a flag or a setting is invalid (status 2).
    """
    s = settings_for(c)
    if not str(lines).isdigit():
        raise Exit(f"--lines {lines}: a whole number is expected", BAD_REQUEST)
    return s


def service_task(**helps):
    """Return a decorator that makes a Fabric task of a function, with help for its flags."""

    def decorate(function):
        made = task(name=function.__name__.rstrip("_"), help=helps)(function)
        made.check = check_service
        return made

    return decorate


@service_task()
def start(c):
    """Start Jupyter and wait until it responds."""
    change_state(c, "start", lambda service: service.started("start"), "started and responds")


@service_task()
def stop(c):
    """Stop Jupyter until the next boot; kernels end."""
    change_state(c, "stop", lambda service: sh("systemctl stop {}", service.name), "stopped")


@service_task()
def restart(c):
    """Restart Jupyter; kernels end."""
    change_state(c, "restart", lambda service: service.started("restart"), "restarted and responds")


def change_state(c, verb, step, result):
    """Change the state of Jupyter's service and print the result.

    Args:
        verb: what is done, for messages.
        step: takes the `Service` and returns shell text.
        result: what is printed if it succeeds.

    Raises:
        Exit: the step fails (status 1).
    """
    s = check_service(c)
    name = s.jupyter.name
    if c.config.run.dry:
        say(f"{c.original_host}  dry run: would {verb} {name}.service")
        return
    answer = ask_service(c, name, step(jupyter_service(s)))
    if not answer.ok:
        raise Exit(
            f"{c.original_host}  {name}.service: {verb} failed\n{printable(answer.err).strip()}", 1
        )
    say(f"{c.original_host}  {name}.service {result}")


@service_task()
def status(c):
    """Show Jupyter's state and address.

    Also since when it runs, its kernels, its memory and failed logins.
    """
    s = check_service(c)
    unit = f"{s.jupyter.name}.service"
    shown, failed, ready = ask(
        c,
        script(STATUS, unit=unit, user=s.user.name),
        script(FAILED_LOGINS, unit=unit, name=s.jupyter.name),
        script(READY, is_ready=jupyter_service(s).ready),
    )
    facts = dict(line.split("=", 1) for line in shown.out.splitlines() if "=" in line)
    if facts.get("LoadState") != "loaded":
        raise Exit(missing(c, s.jupyter.name), 1)
    rows = status_rows(facts, ready.ok, jupyter_url(c, s), failed.out.split())
    for name, value in rows.items():
        say(f"{c.original_host}  {unit}  {name}: {printable(value)}")
    if facts["ActiveState"] != "active" or not ready.ok:
        fix = f"{c.original_host}  fix it with: start; for the reason see: logs"
        raise Exit("\n".join(filter(None, [printable(ready.err).strip(), fix])), 1)


def status_rows(facts, responds, url, failed=()):
    """Return the rows that `status` prints, by name.

    Args:
        facts: what ``systemctl show`` prints, and the number of kernels.
        responds: whether Jupyter responds.
        url: its address, empty if only a tunnel reaches it.
        failed: the address of each failed login.
    """
    memory = facts["MemoryCurrent"]
    known = memory.isdigit() and len(memory) < 19  # systemd prints 2^64 - 1 for unknown
    return {
        "state": f"{facts['ActiveState']}, {'responds' if responds else 'does not respond'}",
        "since": facts["ActiveEnterTimestamp"] or "-",
        "at boot": facts["UnitFileState"] or "-",
        "restarts after failures": facts["NRestarts"],
        "kernels": facts["Kernels"],
        "memory": f"{int(memory) >> 20} MiB" if known else "-",
        "failed logins": failed_logins(failed),
        "address": url or "through the task tunnel",
    }


def failed_logins(addresses):
    """Return how many logins failed, and from which address the most of them came."""
    if not addresses:
        return "none in 24 hours"
    [(most, number)] = Counter(addresses).most_common(1)
    return f"{len(addresses)} in 24 hours; {number} of them from {most}"


@service_task(follow="Keep printing new lines until Ctrl-C.", lines="Number of past lines.")
def logs(c, follow=False, lines=50):
    """Show the end of Jupyter's log."""
    name = check_service(c, lines).jupyter.name
    step = script(LOG, name=name, unit=f"{name}.service", lines=lines, follow=follow)
    with contextlib.suppress(*[KeyboardInterrupt] * follow):
        ask_service(c, name, step, on_line=lambda line: say(printable(line)))


@service_task(no_browser="Print the address without opening a browser.")
def open_(c, no_browser=False):
    """Open Jupyter's address in your browser."""
    url = jupyter_url(c, check_service(c))
    if not url:
        raise Exit("with jupyter.access tunnel, Jupyter has no public address; use tunnel", 1)
    say(f"{c.original_host}  {url}")
    if not no_browser and not show_page(url):
        say(f"{c.original_host}  no browser found here; open the address yourself")


def ask(c, *steps, **options):
    """Return the answers to shell texts.

    Raises:
        Exit: the host does not answer (status 1).
    """
    try:
        return Host.of(c).shell.batch(list(steps), **options)
    except RemoteError as error:
        raise Exit(f"{c.original_host}  {error}", 1) from None


def ask_service(c, name, step, **options):
    """Return the answer to a shell text about the service *name*.

    Raises:
        Exit: the host has no such service (status 1).
    """
    exists = sh("systemctl cat {} >/dev/null", f"{name}.service")
    found, answer = ask(c, exists, step, stop=True, **options)
    if not found.ok:
        raise Exit(missing(c, name), 1)
    return answer


def missing(c, name):
    """Return the message that the service *name* does not exist."""
    return f"{c.original_host}  {name}.service does not exist; run configure-jupyter first"

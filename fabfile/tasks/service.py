"""Jupyter's service by hand: start, stop, restart, look at it, open it."""

import contextlib

from fabric import task
from invoke import Exit

from ..kit.errors import RemoteError
from ..kit.quote import Shell, sh
from ..kit.report import say
from ..kit.shell import shell_of
from ..kit.task import BAD_REQUEST
from ..local.forwarding import show_page
from ..settings import settings_for
from ..settings.derived import jupyter_service, jupyter_url


def check(c, lines=0, **_):
    """Return the settings; raises Exit with status 2 where they are not valid, or *lines* is no number."""
    s = settings_for(c)
    if not str(lines).isdigit():
        raise Exit(f"--lines {lines}: a whole number is expected", BAD_REQUEST)
    return s


def controls(**helps):
    """Return a decorator that makes a Fabric task of a function (c, …) that is about Jupyter's service."""

    def decorate(function):
        made = task(name=function.__name__.rstrip("_"), help=helps)(function)
        made.check = check
        return made

    return decorate


def ask(c, *steps, **options):
    """Return the answers to shell texts; raises Exit with status 1 where the host does not answer."""
    try:
        return shell_of(c).batch(list(steps), **options)
    except RemoteError as error:
        raise Exit(f"{c.original_host}  {error}", 1) from None


def ask_service(c, name, step, **options):
    """Return the answer to *step*, which is about the service *name*; raises Exit with status 1 where there is none."""
    there, answer = ask(
        c, sh("systemctl cat {} >/dev/null", f"{name}.service"), step, stop=True, **options
    )
    if not there.ok:
        raise Exit(f"{c.original_host}  there is no {name}.service; configure-jupyter makes it", 1)
    return answer


def act(c, verb, script, done):
    """Run *script* on Jupyter's service and say what is so then; raises Exit with status 1 where it fails."""
    s = check(c)
    name = s.jupyter.name
    if c.config.run.dry:
        say(f"{c.original_host}  {verb} would act on {name}.service; it is left out of a dry run")
        return
    answer = ask_service(c, name, script(jupyter_service(s)))
    if not answer.ok:
        raise Exit(f"{c.original_host}  {name}.service: {verb} failed\n{answer.err.strip()}", 1)
    say(f"{c.original_host}  {name}.service {done}")


@controls()
def start(c):
    """Start Jupyter, and wait until it answers."""
    act(c, "start", lambda service: service.started("start"), "runs, and answers")


@controls()
def stop(c):
    """Stop Jupyter until the next boot; kernels end."""
    act(c, "stop", lambda service: sh("systemctl stop {}", service.name), "is stopped")


@controls()
def restart(c):
    """Restart Jupyter; kernels end."""
    act(c, "restart", lambda service: service.started("restart"), "runs anew, and answers")


STATUS = """
    systemctl show -p LoadState -p ActiveState -p UnitFileState -p ActiveEnterTimestamp -p NRestarts -p MemoryCurrent {}
    echo "Kernels=$(pgrep -u {} -fc ipykernel)"
"""


@controls()
def status(c):
    """Show whether Jupyter runs, and where.

    Also since when, and with how many kernels.
    """
    s = check(c)
    unit = f"{s.jupyter.name}.service"
    answering = sh('{} || { echo "$why" >&2; false; }', Shell(jupyter_service(s).ready))
    told, answers = ask(c, sh(STATUS, unit, s.user.name), answering)
    seen = dict(line.split("=", 1) for line in told.out.splitlines() if "=" in line)
    if seen.get("LoadState") != "loaded":
        raise Exit(f"{c.original_host}  there is no {unit}; configure-jupyter makes it", 1)
    memory = seen["MemoryCurrent"]
    rows = {
        "state": f"{seen['ActiveState']}, {'answers' if answers.ok else 'does not answer as it should'}",
        "since": seen["ActiveEnterTimestamp"] or "-",
        "at boot": seen["UnitFileState"] or "-",
        "restarts": f"{seen['NRestarts']}, after failures",
        "kernels": seen["Kernels"],
        "memory": f"{int(memory) >> 20} MiB" if memory.isdigit() and len(memory) < 19 else "-",
        "address": jupyter_url(c, s) or "by the task tunnel",
    }
    for name, value in rows.items():
        say(f"{c.original_host}  {unit}  {name:<9} {value}")
    if seen["ActiveState"] != "active" or not answers.ok:
        why = answers.err.strip()
        raise Exit(
            "\n".join(filter(None, [why, f"{c.original_host}  fix it with: start, or see logs"])),
            1,
        )


@controls(follow="Go on with what comes, until Ctrl-C.", lines="How many lines of what was.")
def logs(c, follow=False, lines=50):
    """Show the end of Jupyter's log."""
    name = check(c, lines).jupyter.name
    # What runs in tmux writes under its own name.
    words = "journalctl -a -q --no-pager -o short-iso -n {} {} _SYSTEMD_UNIT={} + _PID=1 UNIT={} + SYSLOG_IDENTIFIER={}"
    asked = sh(
        words, lines, Shell("-f" if follow else ""), f"{name}.service", f"{name}.service", name
    )
    with contextlib.suppress(*[KeyboardInterrupt] * follow):
        ask_service(c, name, asked, on_line=say)


@controls(no_browser="Do not open a browser, only print the address.")
def open_(c, no_browser=False):
    """Open Jupyter's address in your browser."""
    found = jupyter_url(c, check(c))
    if not found:
        raise Exit(
            "with jupyter.access tunnel there is no address that all can reach; the task tunnel opens one",
            1,
        )
    say(f"{c.original_host}  {found}")
    if not no_browser and not show_page(found):
        say(f"{c.original_host}  no browser found here; open the address yourself")

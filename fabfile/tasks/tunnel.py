"""TODO."""

import contextlib
import threading

from fabric import task
from invoke import Exit

from ..kit.report import say
from ..kit.task import BAD_REQUEST
from ..local.forwarding import Tunnel, ended_by_signals
from ..local.openssh import check_ssh
from ..settings import settings_for


@task(
    help={
        "port": "Port on your machine; where it is taken, the next free one.",
        "no_browser": "Do not open a browser, only print the address.",
    }
)
def tunnel(c, port=8888, no_browser=False):
    """Lead a port of your machine to Jupyter.

    It opens a browser there, and ends with Ctrl-C.
    """
    s = check_tunnel(c, port)
    if threading.current_thread() is not threading.main_thread():
        raise Exit("tunnel leads to one server at a time: name one with -H", BAD_REQUEST)
    if c.config.run.dry:
        say(
            f"{c.original_host}  tunnel would lead to port {s.jupyter.port} of the server; it is left out of a dry run"
        )
        return
    with ended_by_signals(), contextlib.suppress(KeyboardInterrupt):
        Tunnel(c, s, int(port)).keep(browser=not no_browser)
    say(f"{c.original_host}  the tunnel is closed; Jupyter and its kernels go on")


def check_tunnel(c, port=8888, **_):
    """Return the settings of `tunnel`; raises Exit with status 2 where they are not valid."""
    if not str(port).isdigit() or not 0 < int(port) < 65536:
        raise Exit(f"--port {port}: a whole number from 1 to 65535 is expected", BAD_REQUEST)
    s = settings_for(c)
    check_ssh(c)
    return s


tunnel.check = check_tunnel

"""Reach Jupyter through SSH."""

import contextlib
import threading

from fabric import task
from invoke import Exit

from ..kit.task import BAD_REQUEST
from ..kit.terminal import say
from ..local.forwarding import Tunnel, ended_by_signals
from ..local.openssh import check_ssh
from ..settings import settings_for


@task(
    help={
        "port": "Local port; if it is in use, the next free one.",
        "no_browser": "Print the address without opening a browser.",
    }
)
def tunnel(c, port=8888, no_browser=False):
    """Forward a local port to Jupyter.

    Open a browser at its address; end with Ctrl-C.
    """
    s = check_tunnel(c, port)
    if threading.current_thread() is not threading.main_thread():
        raise Exit("tunnel connects to one server at a time; give one host with -H", BAD_REQUEST)
    if c.config.run.dry:
        say(f"{c.original_host}  dry run: tunnel would forward a port to port {s.jupyter.port}")
        return
    with ended_by_signals(), contextlib.suppress(KeyboardInterrupt):
        Tunnel(c, s, int(port)).keep(browser=not no_browser)
    say(f"{c.original_host}  tunnel closed; Jupyter and its kernels keep running")


def check_tunnel(c, port=8888, **_):
    """Return the settings of `tunnel`.

    Raises:
        Exit: a flag or a setting is invalid (status 2).
    """
    if not str(port).isdigit() or not 0 < int(port) < 65536:
        raise Exit(f"--port {port}: a whole number from 1 to 65535 is expected", BAD_REQUEST)
    s = settings_for(c)
    check_ssh(c)
    return s


tunnel.check = check_tunnel

"""A local port that OpenSSH forwards to Jupyter on the server, until it is no longer needed."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any
from urllib import request
from urllib.error import URLError

from fabric import Connection
from invoke import Exit

from ..kit.terminal import say
from .openssh import ssh_environment, ssh_words
from .ports import free_port, holder, is_free

ASK_EVERY = 5  # seconds between two requests to Jupyter
LONGEST_WAIT = 15  # seconds between two attempts to connect
STABLE = 60  # seconds after which a connection counts as good, so that the next wait is short
SLEPT = 10  # a pause of one second that takes longer than this means that this machine slept

ALIVE = "alive"
BROKEN = "no answer; the connection may be broken"

# With these words from ssh, another attempt cannot succeed.
HOPELESS = (
    "Permission denied",
    "HOST IDENTIFICATION HAS CHANGED",
    "Host key verification failed",
    "administratively prohibited",
)


class Lost(Exception):
    """The connection is lost; the text says why."""


class PortTaken(Lost):
    """Another program uses the local port."""

    def __init__(self, port: int) -> None:
        super().__init__(f"local port {port} is in use by {holder(port)}")


class Tunnel:
    """A local port that OpenSSH forwards to Jupyter; it reconnects by itself.

    Args:
        c: The connection to the server; `ssh` logs in as it does.
        s: The settings: access, port and base URL of Jupyter.
        first: The preferred local port; if it is in use, the next free one is taken.
    """

    def __init__(self, c: Connection, s: Any, first: int) -> None:
        self.c = c
        self.remote_port = s.jupyter.port
        self.path = f"{s.jupyter.base_url.rstrip('/')}/"
        self.scheme = "https" if s.jupyter.access == "direct" else "http"
        self.port = free_port(first, c.original_host)
        self.browser = False  # whether a browser has yet to be opened
        self._printed = ""

    @property
    def address(self) -> str:
        """The address of Jupyter on this machine."""
        return f"{self.scheme}://localhost:{self.port}{self.path}"

    def command(self, mark: Path) -> list[str]:
        """Return the `ssh` command, which creates the file *mark* once it has the local port.

        Another program may listen on the port already, so a successful connection proves nothing.
        """
        touch = shlex.join(["touch", str(mark)]).replace("%", "%%")
        return ssh_words(
            self.c,
            "-N",
            "-T",
            "-oExitOnForwardFailure=yes",
            "-oPermitLocalCommand=yes",
            f"-oLocalCommand={touch}",
            "-L",
            f"localhost:{self.port}:127.0.0.1:{self.remote_port}",
            self.c.original_host,
        )

    def keep(self, browser: bool) -> None:
        """Keep the tunnel open until the program is interrupted.

        Args:
            browser: Whether to open the address in a browser once Jupyter answers.

        Raises:
            Exit: With status 1 if the tunnel cannot be opened, or the server refuses it later.
        """
        self.browser = browser
        wait, was_open = 1, False
        with ssh_environment(self.c) as environment:
            while True:
                began = time.monotonic()
                try:
                    with self.opened(environment) as process:
                        self.tell(
                            f"forwarding {self.address} to Jupyter on the server; stop with Ctrl-C"
                        )
                        was_open = True
                        self.watch(process)
                except Lost as lost:
                    if isinstance(lost, PortTaken) and not was_open:
                        # Later the port has to stay, as the browser uses it.
                        self.port = free_port(self.port, self.c.original_host)
                        continue
                    if not was_open or any(words in str(lost) for words in HOPELESS):
                        name = self.c.original_host
                        raise Exit(f"{name}  cannot open the tunnel: {lost}", 1) from None
                    stable = time.monotonic() - began > STABLE
                    wait = 1 if stable else min(2 * wait, LONGEST_WAIT)
                    self.tell(
                        f"the connection is lost ({lost}); reconnecting, kernels keep running"
                    )
                    time.sleep(wait)

    @contextlib.contextmanager
    def opened(self, environment: dict[str, str]) -> Iterator[subprocess.Popen]:
        """Run `ssh` until the block ends.

        Args:
            environment: The environment of `ssh`, from `ssh_environment`.

        Yields:
            The process, once it forwards the port.

        Raises:
            Lost: `ssh` ended before the tunnel was open, or before the block ended.
        """
        if not is_free(self.port):
            # ssh is content with one of localhost's addresses if only the other is in use.
            raise PortTaken(self.port)
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as errors:
            mark = Path(folder, "open")
            process = subprocess.Popen(
                self.command(mark), env=environment, stdin=subprocess.DEVNULL, stderr=errors
            )
            try:
                while not mark.exists():
                    if process.poll() is not None:
                        raise self._ended(errors)
                    time.sleep(0.05)
                yield process
                raise self._ended(errors)
            finally:
                process.terminate()
                process.wait()

    def _ended(self, errors: IO[bytes]) -> Lost:
        errors.seek(0)
        lines = errors.read().decode(errors="replace").split("\n")
        text = " ".join(line.strip() for line in lines if line.strip().strip("@"))
        if "Address already in use" in text:
            return PortTaken(self.port)
        return Lost(text or "the server no longer answers")

    def watch(self, process: subprocess.Popen) -> None:
        """Show the state of Jupyter until *process* ends.

        Raises:
            Lost: This machine was asleep, so the connection is dead although `ssh` still waits.
        """
        since, asked, state = time.monotonic(), float("-inf"), ""
        while True:
            before = time.time()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1)
                return
            if time.time() - before > SLEPT:
                raise Lost("this machine was asleep")
            if time.monotonic() - asked > ASK_EVERY:
                state = self.ask()
                self.tell(state)
                if self.browser and state.startswith(ALIVE):
                    self.show()
                asked = time.monotonic()
            self.show_alive(state, time.monotonic() - since)

    def ask(self) -> str:
        """Return what answers through the tunnel, as a phrase for the operator."""
        anything = ssl.create_default_context()
        anything.check_hostname, anything.verify_mode = False, ssl.CERT_NONE
        opener = request.build_opener(
            request.ProxyHandler({}), request.HTTPSHandler(context=anything)
        )
        try:
            with opener.open(f"{self.address}api", timeout=ASK_EVERY) as answer:
                return f"{ALIVE}: Jupyter {json.load(answer)['version']}"
        except TimeoutError:
            return BROKEN
        except (URLError, OSError, EOFError) as error:
            if isinstance(getattr(error, "reason", None), TimeoutError):
                return BROKEN
            if getattr(error, "code", None) is None:
                return (
                    f"nothing answers on port {self.remote_port} of the server; "
                    "is Jupyter running? Try: fab status, fab start"
                )
        except (ValueError, LookupError, TypeError):
            pass
        return (
            f"port {self.remote_port} of the server does not serve Jupyter at {self.path}; "
            "check jupyter.port and jupyter.base_url"
        )

    def tell(self, text: str) -> None:
        """Print *text* unless it was the last line printed."""
        if text != self._printed:
            self._printed = text
            say(f"{self.c.original_host}  {text}")

    def show_alive(self, state: str, seconds: float) -> None:
        """On a terminal, show *state* and the time since the start, in place."""
        if sys.stdout.isatty():
            clock = f"{seconds // 3600:.0f}:{seconds % 3600 // 60:02.0f}:{seconds % 60:02.0f}"
            line = f"{self.address}  {state}, for {clock}"
            sys.stdout.write(f"\r\x1b[K{line[: shutil.get_terminal_size().columns - 1]}")
            sys.stdout.flush()

    def show(self) -> None:
        """Open the address in a browser, once."""
        self.browser = False
        if not show_page(self.address):
            say(f"{self.c.original_host}  no browser found here; open the address yourself")


def show_page(address: str) -> bool:
    """Open *address* in the operator's browser.

    Returns:
        Whether it was opened. A browser that would take over the terminal is not used.
    """
    screen = sys.platform in ("darwin", "win32") or any(
        name in os.environ for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    )
    return screen and webbrowser.open(address)


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Treat the signals that end a program as Ctrl-C, so that child processes are ended too."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {name: signal.signal(getattr(signal, name), interrupt) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)

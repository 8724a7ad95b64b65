"""A tunnel from here to Jupyter on the server, for as long as it is wanted."""

import contextlib
import errno
import json
import os
import re
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import webbrowser
from pathlib import Path
from urllib import request
from urllib.error import URLError

from invoke import Exit

from ..kit.report import say
from ..settings.derived import base_url
from .openssh import ssh_environment, ssh_words

ASK_EVERY = 5  # seconds between two questions to Jupyter


ALIVE = "alive"


LONGEST_WAIT = 15  # seconds between two tries to connect


SLEPT = 10  # seconds that a pause of one second took, when this machine was asleep


HOPELESS = (
    "Permission denied",
    "HOST IDENTIFICATION HAS CHANGED",
    "Host key verification failed",
    "administratively prohibited",
)


class Lost(Exception):
    """The connection is gone, and why."""


class Taken(Lost):
    """Another program holds the port of this machine."""

    def __init__(self, port):
        super().__init__(f"port {port} here is taken by {holder(port)}")


class Tunnel:
    """A port of this machine that OpenSSH leads to Jupyter's, again and again."""

    def __init__(self, c, s, first):
        self.c, self.to, self.path = c, s.jupyter.port, f"{base_url(s)}/"
        self.scheme = "https" if s.jupyter.access == "direct" else "http"
        self.said, self.browser = "", False
        self.port = free_port(first, c.original_host)

    @property
    def address(self):
        """The address on this machine."""
        return f"{self.scheme}://localhost:{self.port}{self.path}"

    def words(self, mark):
        """The command line of ssh, which makes the file *mark* as soon as the port is its own."""
        lead = f"localhost:{self.port}:127.0.0.1:{self.to}"
        # Whoever listens on the port may be another program; ssh runs this once it holds the port itself.
        made = [
            "-oPermitLocalCommand=yes",
            "-oLocalCommand=" + shlex.join(["touch", str(mark)]).replace("%", "%%"),
        ]
        return ssh_words(
            self.c,
            "-N",
            "-T",
            "-oExitOnForwardFailure=yes",
            *made,
            "-L",
            lead,
            self.c.original_host,
        )

    def keep(self, browser):
        """Keep it open for ever; raises Exit with status 1 where it cannot be opened at all."""
        wait, opened, self.browser = 1, False, browser
        with ssh_environment(self.c) as environment:
            while True:
                began = time.monotonic()
                try:
                    with self.opened(environment) as process:
                        self.tell(f"{self.address} leads to Jupyter on the server; Ctrl-C ends it")
                        opened = True
                        self.watch(process)
                except Lost as lost:
                    if not opened and isinstance(lost, Taken):
                        # Somebody was faster; once it is open, the browser counts on the port.
                        self.port = free_port(self.port, self.c.original_host)
                        continue
                    if not opened or any(word in str(lost) for word in HOPELESS):
                        raise Exit(f"{self.c.original_host}  no tunnel: {lost}", 1) from None
                    wait = 1 if time.monotonic() - began > 60 else min(2 * wait, LONGEST_WAIT)
                    self.tell(
                        f"the connection is gone ({lost}); trying again, the kernels go on meanwhile"
                    )
                    time.sleep(wait)

    @contextlib.contextmanager
    def opened(self, environment):
        """Run ssh until the block ends; raises Lost where it does not get there."""
        if not is_free(self.port):
            # Where only one of localhost's addresses is taken, ssh would be content with the other.
            raise Taken(self.port)
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as errors:
            mark = Path(folder, "open")
            process = subprocess.Popen(
                self.words(mark), env=environment, stdin=subprocess.DEVNULL, stderr=errors
            )

            def ended():
                errors.seek(0)
                lines = errors.read().decode(errors="replace").split("\n")
                said = " ".join(line.strip() for line in lines if line.strip().strip("@"))
                return (
                    Taken(self.port)
                    if "Address already in use" in said
                    else Lost(said or "no answer any more")
                )

            try:
                while not mark.exists():
                    if process.poll() is not None:
                        raise ended()
                    time.sleep(0.05)
                yield process
                raise ended()
            finally:
                process.terminate()
                process.wait()

    def watch(self, process):
        """Look after a running *process* until it ends, or until this machine has slept."""
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

    def ask(self):
        """Return, in words, what answers at the other end."""
        anything = ssl.create_default_context()
        anything.check_hostname, anything.verify_mode = False, ssl.CERT_NONE
        opener = request.build_opener(
            request.ProxyHandler({}), request.HTTPSHandler(context=anything)
        )
        try:
            with opener.open(f"{self.address}api", timeout=ASK_EVERY) as answer:
                return f"{ALIVE}: Jupyter {json.load(answer)['version']}"
        except TimeoutError:
            return "no answer; the connection may be broken"
        except (URLError, OSError, EOFError) as error:
            if isinstance(getattr(error, "reason", None), TimeoutError):
                return "no answer; the connection may be broken"
            if getattr(error, "code", None) is None:
                return f"nobody answers on port {self.to} of the server; does Jupyter run there? See: fab status, fab start"
        except (ValueError, LookupError, TypeError):
            pass
        return f"what answers on port {self.to} of the server is no Jupyter at {self.path}; see jupyter.port and jupyter.base_url"

    def tell(self, text):
        """Print *text* where it is not what was printed last."""
        if text != self.said:
            self.said = text
            say(f"{self.c.original_host}  {text}")

    def show_alive(self, state, seconds):
        """Show on a terminal, in a line that overwrites itself, that this goes on."""
        if sys.stdout.isatty():
            clock = f"{seconds // 3600:.0f}:{seconds % 3600 // 60:02.0f}:{seconds % 60:02.0f}"
            line = f"{self.address}  {state}, for {clock}"
            sys.stdout.write(f"\r\x1b[K{line[: shutil.get_terminal_size().columns - 1]}")
            sys.stdout.flush()

    def show(self):
        """Open a browser, where this machine has a screen for one."""
        self.browser = False
        if not show_page(self.address):
            say(
                f"{self.c.original_host}  there is no browser to open here; open the address yourself"
            )


def show_page(address):
    """Open *address* in the user's browser and return whether there is one that does not take over the terminal."""
    screen = sys.platform in ("darwin", "win32") or {"DISPLAY", "WAYLAND_DISPLAY", "BROWSER"} & set(
        os.environ
    )
    return bool(screen) and webbrowser.open(address)


@contextlib.contextmanager
def ended_by_signals():
    """Let the signals that end a program be as Ctrl-C is, so that what was started is ended too."""

    def interrupt(*_):
        raise KeyboardInterrupt

    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {name: signal.signal(getattr(signal, name), interrupt) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


def free_port(first, host):
    """Return the first port of this machine from *first* on that nobody holds, and tell who holds the others."""
    for port in range(first, min(first + 100, 65536)):
        if is_free(port):
            return port
        say(f"{host}  port {port} here is taken by {holder(port)}")
    raise Exit(f"no port from {first} to {port} is free here; name another with --port", 1)


def is_free(port):
    """Return whether nobody holds *port* on either loopback address of this machine."""
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        try:
            with socket.socket(family) as one:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                one.bind((address, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
    return True


def holder(port):
    """Return who listens on *port* of this machine, in words, as far as this user may know it."""
    for words, pattern in (
        (["ss", "-Hltnp", f"sport = :{port}"], r'\("(?P<name>[^"]+)",pid=(?P<pid>\d+)'),
        (["lsof", "-nP", f"-iTCP:{port}", "-sTCP:LISTEN", "-Fpc"], r"p(?P<pid>\d+)\nc(?P<name>.+)"),
    ):
        with contextlib.suppress(OSError):
            found = subprocess.run(words, capture_output=True, text=True).stdout
            if match := re.search(pattern, found):
                return f"{match['name']} (process {match['pid']})"
    return "another program"

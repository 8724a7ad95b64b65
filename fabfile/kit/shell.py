"""The root shell: one channel per host, opened once, which runs every step in batches."""

import secrets
import select
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from fabric import Connection
from invoke import Result, UnexpectedExit
from paramiko import SSHException

from .connect import connect
from .errors import ConnectionLost, PasswordMissing, RemoteError, Unreachable
from .quote import sh, words
from .secret import Secret, given, prompt
from .terminal import asking, printable

PREAMBLE = """
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
SSH_SERVER_PORT=${SSH_CONNECTION##* }; export SSH_SERVER_PORT
umask 022; unset HISTFILE TMPDIR; cd /
"""

# A batch and each step begin and end with a mark on both streams. Every batch has a mark of its
# own, so that neither what is left of an earlier batch nor what a login shell printed counts.
START = """
mark={}; go=1
tell() { printf '\\n%s %s\\n' "$mark" "$1"; printf '\\n%s %s\\n' "$mark" "$1" >&2; }
tell start
"""
STEP = """
if [ "$go" = 1 ] || [ -z {} ]; then
    (eval {}) </dev/null; status=$?
    [ $status = 0 ] || go=0
else
    status=-
fi
tell $status
"""
# SSH_CONNECTION names the port that the firewall must keep open.
SUDO = 'exec sudo -S -p {} env "SSH_CONNECTION=$SSH_CONNECTION" /bin/sh -c {}'
SUDO_TIMEOUT = 60  # seconds until a silent sudo counts as hanging
POLL = 0.05  # seconds


@dataclass(frozen=True)
class Answer:
    """The answer to one step of a batch.

    Args:
        status: the exit status; None if the step was not reached.
        out: its standard output; bytes that are not UTF-8 are surrogates.
        err: its standard error.
    """

    status: int | None
    out: str
    err: str

    @property
    def ok(self) -> bool:
        """Whether the step succeeded."""
        return self.status == 0


class Frames:
    """One stream of the channel, split at the marks."""

    def __init__(self) -> None:
        self.data = b""
        self.reported = 0  # how much of the running frame went to on_line

    def next(self, mark: bytes) -> tuple[str, str] | None:
        """Take the next frame off, as (status, text), or return None while it is not whole."""
        at = self.data.find(mark)
        end = self.data.find(b"\n", at + len(mark)) if at >= 0 else -1
        if end < 0:
            return None
        status, text = self.data[at + len(mark) : end], self.data[:at]
        self.data, self.reported = self.data[end + 1 :], 0
        return status.decode().strip(), text.decode("utf-8", "surrogateescape")

    def new_lines(self, mark: bytes) -> list[str]:
        """Return the whole lines of the running frame that were not returned before."""
        at = self.data.find(mark)
        end = self.data.rfind(b"\n", self.reported, at if at >= 0 else len(self.data))
        if end <= self.reported:
            return []
        text = self.data[self.reported : end].decode(errors="replace")
        self.reported = end
        return [line for line in text.splitlines() if line]


class Shell:
    """A root ``sh`` on a server: root's own login, or sudo with or without a password.

    Each step runs in a subshell of its own with no standard input. Script and secrets travel
    only on the shell's standard input, so they appear in no argument list, environment or log.

    Args:
        c: the Fabric connection.
        password: for sudo, if it asks.
        may_ask: take the password from `sudo_password` if none is given. Never true for another
            account than the operator's own: its login shell could keep what it is sent.

    Raises:
        Unreachable: no connection, no login, or no way to become root.
    """

    def __init__(self, c: Connection, password: Secret | None = None, may_ask: bool = True):
        self.round_trips = 0
        self.connection = c
        self._out, self._err = Frames(), Frames()
        self._answered = False
        try:
            self._channel = connect(c).open_session(timeout=30)
            if c.user == "root":
                self._channel.exec_command("exec /bin/sh")
            else:
                self._become_root(password, may_ask)
        except (EOFError, OSError, SSHException) as error:
            why = error or "it closed the connection"
            raise Unreachable(f"{c.host} opens no shell: {why}") from None

    def _become_root(self, password: Secret | None, may_ask: bool) -> None:
        c = self.connection
        # These stand in sudo's arguments, and so in its log: no frame may rely on them.
        question = f"sudo-{secrets.token_hex(8)}:"
        ready = f"root-{secrets.token_hex(8)}"
        self._channel.exec_command(sh(SUDO, question, f"echo {ready}; exec /bin/sh"))
        sent, deadline = False, time.monotonic() + SUDO_TIMEOUT
        while ready.encode() not in self._out.data:
            said = self._err.data.decode(errors="replace")
            if question in said:
                if sent:
                    raise Unreachable(
                        f"sudo does not accept this password for {c.user}; SUDO_PASSWORD is the "
                        f"password that {c.user} has on {c.host}"
                    )
                sent, self._err.data = True, b""
                if not password and not may_ask:
                    raise PasswordMissing(f"sudo asks for the password of {c.user}")
                secret = password or sudo_password(c)
                self._channel.sendall(secret.reveal().encode() + b"\n")
                deadline = time.monotonic() + SUDO_TIMEOUT
            elif time.monotonic() > deadline:
                raise Unreachable(
                    f"sudo neither lets {c.user} in nor asks for a password; it says: "
                    f"{printable(said).strip() or 'nothing'}"
                )
            elif not self._read():
                why = printable(said.replace(question, "")).strip() or "sudo said nothing"
                raise Unreachable(
                    f"{c.user} cannot become root: {why}; log in as root or as a user with sudo"
                )
        self._out, self._err = Frames(), Frames()

    @property
    def closed(self) -> bool:
        """Whether this shell has ended."""
        return self._channel.closed or self._channel.exit_status_ready()

    def close(self) -> None:
        """Close the channel and the connection below it."""
        self._channel.close()
        self.connection.close()

    def batch(
        self,
        steps: Sequence[str],
        stop: bool = False,
        on_answer: Callable[[int, Answer], object] | None = None,
        on_line: Callable[[str], object] | None = None,
        first: str = "",
        last: str = "",
    ) -> list[Answer]:
        """Run the shell texts *steps* in one round trip and return an Answer for each::

            uptime, kernel = shell.batch(["uptime", "uname -r"])

        Args:
            steps: each runs in a subshell of its own.
            stop: end at the first step that fails.
            on_answer: called with (number, answer) as each step ends.
            on_line: called with each whole line that a running step prints.
            first: run by the shell itself before the steps, so that what it opens stays open.
            last: run by the shell itself after the steps.

        Raises:
            ConnectionLost: the connection ended in the middle.
        """
        preamble = "" if self.round_trips else PREAMBLE
        self.round_trips += 1
        token = f"rj-{secrets.token_hex(16)}"
        flag = "1" if stop else ""
        script = "\n".join(
            [preamble, sh(START, token), first, *(sh(STEP, flag, words([step])) for step in steps)]
        )
        try:
            self._channel.sendall(f"{script}{last}\n".encode("utf-8", "surrogateescape"))
        except OSError:
            self._lost()
        mark = f"\n{token} ".encode()
        self._frame(self._out, mark)
        self._answered = True
        self._frame(self._err, mark)
        answers = []
        for number, _ in enumerate(steps):
            status, out = self._frame(self._out, mark, on_line)
            _, err = self._frame(self._err, mark)
            answers.append(Answer(None if status == "-" else int(status), out, err))
            if on_answer:
                on_answer(number, answers[-1])
        return answers

    def run(self, command: str, hide: object = None, warn: bool = False, **_: object) -> Result:
        """Run one *command* as root, with the interface of Context.run that patchwork needs.

        Raises:
            UnexpectedExit: it fails and *warn* is false.
        """
        [answer] = self.batch([command])
        result = Result(
            stdout=answer.out,
            stderr=answer.err,
            exited=answer.status or 0,
            command=command,
            hide=("stdout", "stderr"),
        )
        if hide is None:
            sys.stdout.write(answer.out)
            sys.stderr.write(answer.err)
        if not answer.ok and not warn:
            raise UnexpectedExit(result)
        return result

    def _frame(
        self, stream: Frames, mark: bytes, on_line: Callable[[str], object] | None = None
    ) -> tuple[str, str]:
        """Return (status, text) of the next frame of *stream*, as soon as it is whole."""
        while True:
            if on_line:
                for line in stream.new_lines(mark):
                    on_line(line)
            if frame := stream.next(mark):
                return frame
            if not self._read():
                self._lost()

    def _read(self) -> bool:
        """Wait for output and take it in; return whether the channel still lives."""
        channel = self._channel
        # paramiko may lose the wake-up when both streams fill at once: look first, wait briefly.
        if not (channel.recv_ready() or channel.recv_stderr_ready()):
            select.select([channel], [], [], POLL)
        # Asked before reading, as data may come together with the end.
        ended = channel.closed or channel.eof_received
        out = channel.recv(1 << 16) if channel.recv_ready() else b""
        err = channel.recv_stderr(1 << 16) if channel.recv_stderr_ready() else b""
        self._out.data += out
        self._err.data += err
        return bool(out or err) or not ended

    def _lost(self) -> NoReturn:
        # Only before the first answer: later output may be what a probe read, such as a hash.
        said = "" if self._answered else (self._out.data + self._err.data).decode(errors="replace")
        last_words = printable(said).strip()[-500:]
        self.close()
        hint = f"; the last words were: {last_words}" if last_words else ""
        raise ConnectionLost(
            f"The connection ended in the middle{hint}. "
            "Run the same command again; it continues from here."
        )


def sudo_password(c: Connection) -> Secret:
    """Return the password that the user of *c* has for sudo.

    It comes from SUDO_PASSWORD or its file, from Fabric's ``sudo.password``, or from a prompt.

    Raises:
        PasswordMissing: none of these gives one.
    """
    try:
        secret = given("SUDO_PASSWORD")
    except ValueError as error:
        raise RemoteError(str(error)) from None
    if secret:
        return secret
    if configured := c.config.sudo.password:
        return Secret(configured)
    if sys.stdin.isatty():
        with asking():
            return prompt(f"sudo password of {c.user} on {c.host}: ")
    raise PasswordMissing(
        f"sudo asks for the password of {c.user}; give it in SUDO_PASSWORD, or log in as root"
    )

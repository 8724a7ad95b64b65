"""The root shell: one channel a host, opened once, through which every step goes in framed batches."""

import getpass
import secrets
import select
import sys
import threading
from dataclasses import dataclass

from invoke import Result, UnexpectedExit
from paramiko import SSHException

from .connect import connect
from .errors import ConnectionLost, NoPassword, RemoteError, Unreachable
from .quote import sh, words

PREAMBLE = """
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
SSH_SERVER_PORT=${SSH_CONNECTION##* }; export SSH_SERVER_PORT
umask 022; unset HISTFILE TMPDIR; cd /
"""

# A batch and a step begin and end with a mark on both streams; the batch's own, so that what is left of an earlier batch,
# or what the login shell printed, is nobody's answer.
START = """
mark={}; go=1; tell() { printf '\\n%s %s\\n' "$mark" "$1"; printf '\\n%s %s\\n' "$mark" "$1" >&2; }; tell start
"""
STEP = """
if [ "$go" = 1 ] || [ -z {} ]; then (eval {}) </dev/null; status=$?; [ $status = 0 ] || go=0; else status=-; fi; tell $status
"""

_shells = {}
_lock = threading.Lock()


@dataclass(frozen=True)
class Answer:
    """What one step of a batch answered; *status* is None where the step was not reached."""

    status: int | None
    out: str
    err: str

    @property
    def ok(self):
        """Whether the step went well."""
        return self.status == 0


def shell_of(c):
    """Return the root shell of the host of *c*; every task of one process shares it. Raises Unreachable."""
    place = (c.user, c.host, c.port)
    with _lock:
        shell = _shells.get(place)
    if shell is None or shell.closed:
        shell = Shell(c)
        with _lock:
            _shells[place] = shell
    return shell


def close_all():
    """Close every root shell and its connection."""
    with _lock:
        for shell in _shells.values():
            shell.close()
        _shells.clear()


class Shell:
    """A root ``sh`` on the host of the connection *c*: root's own login, or sudo with or without a password.

    Each step runs in a subshell of its own with no standard input. Script and secrets travel on the shell's standard
    input only, so nothing of them shows in argv, the environment or a log. sudo's *password* is looked for where it is not given.
    """

    def __init__(self, c, password=None):
        self.host = c.original_host
        self.round_trips = 0
        self.connection = c
        self._mark = f"rj-{secrets.token_hex(16)}"
        self._prompt = f"sudo-{secrets.token_hex(8)}:"
        self._out = self._err = b""
        self._begun = False  # whether root's shell has answered
        try:
            self._channel = connect(c).open_session(timeout=30)
            if c.user == "root":
                self._channel.exec_command("exec /bin/sh")
            else:
                self._become_root(c, password)
        except (EOFError, OSError, SSHException) as error:
            raise Unreachable(
                f"{c.host} gives no shell: {error or 'it closed the connection'}"
            ) from None

    def _become_root(self, c, password):
        self._channel.exec_command(
            sh(
                'exec sudo -S -p {} env "SSH_CONNECTION=$SSH_CONNECTION" /bin/sh -c {}',
                self._prompt,
                f"echo {self._mark}; exec /bin/sh",
            )
        )
        asked = False
        while self._mark.encode() not in self._out:
            if self._prompt.encode() in self._err:
                if asked:
                    raise Unreachable(
                        f"sudo does not accept this password for {c.user}; SUDO_PASSWORD is the one that {c.user} has there"
                    )
                asked, self._err = True, b""
                self._channel.sendall(
                    (password.reveal() if password else sudo_password(c)).encode() + b"\n"
                )
            elif not self._read():
                said = self._err.decode(errors="replace").replace(self._prompt, "").strip()
                raise Unreachable(
                    f"{c.user} cannot become root: {said or 'sudo said nothing'}; log in as root or as one who may use sudo"
                )
        self._out = self._err = b""

    @property
    def closed(self):
        """Whether this shell can be used no more."""
        return self._channel.closed or self._channel.exit_status_ready()

    def close(self):
        """Close the channel and the connection below it."""
        self._channel.close()
        self.connection.close()

    def batch(self, steps, stop=False, on_answer=None, on_line=None, first=""):
        """Run the shell texts *steps* in one round trip and return an Answer for each.

        With *stop* the first step that fails is the last that runs. *on_answer(number, answer)* is called as each step
        ends, *on_line(text)* for each whole line that a running step prints. The shell text *first* is run by the shell
        itself, so that what it opens stays open. Raises ConnectionLost.
        """
        script = "" if self.round_trips else PREAMBLE
        self.round_trips += 1
        mark = f"{self._mark}.{self.round_trips}"
        script += (
            sh(START, mark)
            + first
            + "\n"
            + "".join(sh(STEP, "1" if stop else "", words([step])) for step in steps)
        )
        try:
            self._channel.sendall(script.encode("utf-8", "surrogateescape"))
        except OSError:
            self._lost()
        self._frame(mark, "_out")
        self._begun = True
        self._frame(mark, "_err")
        answers = []
        for number, _ in enumerate(steps):
            status, out = self._frame(mark, "_out", on_line)
            _, err = self._frame(mark, "_err")
            answers.append(Answer(None if status == "-" else int(status), out, err))
            if on_answer:
                on_answer(number, answers[-1])
        return answers

    def run(self, command, hide=None, warn=False, **_):
        """Run one *command* as root and return an `invoke.Result`, in the manner of Context.run, which patchwork asks for.

        Raises UnexpectedExit where it fails and *warn* is false.
        """
        [answer] = self.batch([command])
        result = Result(
            stdout=answer.out,
            stderr=answer.err,
            exited=answer.status,
            command=command,
            hide=("stdout", "stderr"),
        )
        if hide is None:
            sys.stdout.write(answer.out)
            sys.stderr.write(answer.err)
        if not answer.ok and not warn:
            raise UnexpectedExit(result)
        return result

    def _frame(self, mark, stream, on_line=None):
        """Return the status and the text of *stream* up to the next *mark*."""
        mark = f"\n{mark} ".encode()
        told = 0
        while True:
            text = getattr(self, stream)
            at = text.find(mark)
            end = text.find(b"\n", at + len(mark)) if at >= 0 else -1
            if on_line and (upto := text.rfind(b"\n", told, at if at >= 0 else len(text))) > told:
                for line in filter(None, text[told:upto].decode(errors="replace").splitlines()):
                    on_line(line)
                told = upto
            if end >= 0:
                setattr(self, stream, text[end + 1 :])
                return text[at + len(mark) : end].decode().strip(), text[:at].decode(
                    "utf-8", "surrogateescape"
                )
            if not self._read():
                self._lost()

    def _read(self):
        """Wait for output and take it in; return whether there was any, that is whether the channel lives."""
        # paramiko may lose the wake-up when both streams fill at once, so look first, and never wait without a limit.
        if not (self._channel.recv_ready() or self._channel.recv_stderr_ready()):
            select.select([self._channel], [], [], 0.05)
        ended = (
            self._channel.closed or self._channel.eof_received
        )  # asked first: data may come together with the end
        out = self._channel.recv(1 << 16) if self._channel.recv_ready() else b""
        err = self._channel.recv_stderr(1 << 16) if self._channel.recv_stderr_ready() else b""
        self._out += out
        self._err += err
        return bool(out or err) or not ended

    def _lost(self):
        # Only before the first answer: what comes later may be what a probe read, such as a hash.
        said = (
            "" if self._begun else (self._out + self._err).decode(errors="replace").strip()[-500:]
        )
        self.close()
        words = f"; the last words were: {said}" if said else ""
        raise ConnectionLost(
            f"The connection ended in the middle{words}. Run the same command again: it takes up where this ended."
        )


def sudo_password(c):
    """Return the password for sudo: SUDO_PASSWORD, its file, Fabric's ``sudo.password``, or by prompt on a terminal."""
    from .secret import given

    try:
        secret = given("SUDO_PASSWORD")
    except ValueError as error:
        raise RemoteError(str(error)) from None
    if secret:
        return secret.reveal()
    if password := c.config.sudo.password:
        return password
    if sys.stdin.isatty():
        with _lock:
            return getpass.getpass(f"sudo password of {c.user} on {c.host}: ")
    raise NoPassword(
        f"sudo asks for the password of {c.user}; give it in SUDO_PASSWORD, or log in as root"
    )

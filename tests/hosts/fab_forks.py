"""Runs `fab` in forks of a process that has imported everything: `python -m ... SOCKET`.

Starting Python and importing Fabric takes half a second of CPU time, and the host tests run `fab`
about a thousand times. Each connection to the socket sends one line of JSON, `{"argv", "env",
"cwd", "streams"}`. It gets the process id of the fork, and its exit status at its end.
"""

import contextlib
import gc
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LONGEST_START = 30  # seconds


class Forks:
    """The client of a running server."""

    def __init__(self, folder, repository):
        self.socket = Path(folder) / "fab.socket"
        argv = [sys.executable, "-m", __name__, str(self.socket)]
        # Its end of the pipe tells the server when this process ends, however it ends.
        self.server = subprocess.Popen(argv, cwd=repository, stdin=subprocess.PIPE)
        deadline = time.monotonic() + LONGEST_START
        while not self.socket.exists():
            if self.server.poll() is not None or time.monotonic() > deadline:
                self.end()
                raise RuntimeError("the server of fab did not start")
            time.sleep(0.05)

    def end(self):
        """Kill the server."""
        self.server.stdin.close()
        self.server.kill()
        self.server.wait()

    def run(self, argv, env, cwd, timeout, input=None):
        """Run a command line as `subprocess.run` does, with captured text."""
        with tempfile.TemporaryDirectory() as folder:
            return self._run(argv, env, cwd, timeout, input, folder)

    def _run(self, argv, env, cwd, timeout, input, folder):
        files = {name: Path(folder) / f"fab.{name}" for name in ("in", "out", "err")}
        files["in"].write_text(input or "")
        texts = {name: str(value) for name, value in env.items()}
        request = {"argv": argv, "env": texts, "cwd": str(cwd)}
        request["streams"] = [str(file) for file in files.values()]
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as line:
            line.connect(str(self.socket))
            line.sendall(json.dumps(request).encode() + b"\n")
            answers = line.makefile()
            pid = int(answers.readline())
            line.settimeout(timeout)
            try:
                status = int(answers.readline())
            except TimeoutError:
                os.kill(pid, 9)
                raise subprocess.TimeoutExpired(argv, timeout) from None
        out, err = (files[name].read_text() for name in ("out", "err"))
        return subprocess.CompletedProcess(argv, status, out, err)


def serve(path):
    """Answer requests, each in a process of its own, until standard input is closed."""
    part = f"{path}.part"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(part)
        listening.listen(100)
        os.rename(part, path)
        while 0 not in select.select([0, listening], [], [])[0]:
            line, _ = listening.accept()
            if not os.fork():
                listening.close()
                return answer(line)
            line.close()
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
    sys.exit()


def answer(line):
    """Fork for one request; return it in the fork, and tell the client of its end otherwise."""
    request = json.loads(line.makefile().readline())
    child = os.fork()
    if not child:
        line.close()
        return request
    line.sendall(f"{child}\n".encode())
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with contextlib.suppress(BrokenPipeError):  # the client waits no longer
        line.sendall(f"{status}\n".encode())
    os._exit(0)


def main():
    """Import everything once and serve; each fork returns from `serve` with its request."""
    import jinja2  # noqa: F401
    from fabric.main import program

    import fabfile  # noqa: F401

    gc.freeze()
    request = serve(sys.argv[1])
    modes = (os.O_RDONLY, *[os.O_WRONLY | os.O_CREAT | os.O_TRUNC] * 2)
    for number, (file, mode) in enumerate(zip(request["streams"], modes, strict=True)):
        opened = os.open(file, mode)
        os.dup2(opened, number)
        os.close(opened)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv = request["argv"]
    sys.path[0] = os.path.dirname(sys.argv[0])
    sys.exit(program.run())


if __name__ == "__main__":
    main()

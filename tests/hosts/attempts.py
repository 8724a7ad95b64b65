"""A program that attempts attacks on the host where it runs, and undoes those that succeed.

Its argument is a file of JSON: {"attacks": {name: code}, "VICTIM": pid, ...}. It prints
JSON between two marks: for each name "succeeded", or the error.
"""

import ctypes
import errno
import fcntl
import json
import os
import pwd
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

HOME = pwd.getpwuid(os.getuid()).pw_dir
RUNTIME = "/home/jupyter/.local/share/jupyter/runtime"
os.environ["HOME"] = HOME
os.environ["XDG_RUNTIME_DIR"] = f"/run/user/{os.getuid()}"
libc = ctypes.CDLL(None, use_errno=True)


class Stopped(Exception):
    """Something other than an error of the system stops the attack."""


def append(path):
    """Open a file for writing at its end."""
    os.close(os.open(Path(HOME, path), os.O_WRONLY | os.O_APPEND))


def create(path):
    """Create a file."""
    path = Path(HOME, path)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    path.unlink()


def swap(name):
    """Move something away, so that something else can take its place."""
    path, away = Path(HOME, name), Path(HOME, f"{name}.away")
    path.rename(away)
    away.rename(path)


def read_at_login(name):
    """Create a start-up file that a login shell reads."""
    path = Path(HOME, name)
    path.write_text("echo was-read\n")
    try:
        out = subprocess.run(["bash", "-lc", "true"], capture_output=True, text=True).stdout
    finally:
        path.unlink()
    if "was-read" not in out:
        raise Stopped("not read")


def succeeds(*words):
    """Run a program that must succeed."""
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    done = subprocess.run(words, text=True, timeout=20, **streams)
    if done.returncode:
        raise Stopped(done.stdout[-300:])


def connect(path):
    """Connect to a socket."""
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(path)


def listen(address):
    """Connect to what a kernel publishes: a socket, or a TCP port."""
    if isinstance(address, str):
        connect(address)
    else:
        socket.create_connection(("127.0.0.1", address)).close()


def checked(result):
    """Raise the error of a system call that failed."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def syscall(*arguments):
    """Make a system call by its number."""
    return checked(libc.syscall(*arguments))


def trace(pid):
    """Attach to a process as a debugger does."""
    checked(libc.ptrace(16, int(pid), 0, 0))
    os.waitpid(int(pid), 0x40000000)
    checked(libc.ptrace(17, int(pid), 0, 0))


def unshare(flags):
    """Make namespaces, in a child."""
    child = os.fork()
    if not child:
        os._exit(ctypes.get_errno() if libc.unshare(flags) else 0)
    if code := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise OSError(code, os.strerror(code))


def mount():
    """Mount a file system in a directory of the user's."""
    folder = Path(HOME, "mounted")
    folder.mkdir()
    try:
        checked(libc.mount(b"x", bytes(folder), b"tmpfs", 0, None))
        libc.umount(bytes(folder))
    finally:
        folder.rmdir()


def setuid_file():
    """Make a file that runs as its owner."""
    path = Path(HOME, "setuid")
    path.touch()
    try:
        path.chmod(0o4755)
    finally:
        path.unlink()


def lock(path):
    """Hold a lock."""
    with open(path) as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def status(name, wanted):
    """Require a value in /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    [value] = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
    if value != wanted:
        raise Stopped(f"{name} is {value}")


def keyring(name):
    """Find a key that another process of the user has put into the user's keyring."""
    # KEYCTL_SEARCH in KEY_SPEC_USER_KEYRING
    syscall(250, 10, -4, b"user", name.encode(), 0)


def fetch(path, body=None):
    """Ask Jupyter on loopback."""
    try:
        urllib.request.urlopen(f"http://127.0.0.1:8888/jupyter{path}", body, timeout=20)
    except urllib.error.HTTPError as error:
        raise Stopped(str(error.code)) from None


def token(text):
    """Find a token in a text."""
    if "token" not in text:
        raise Stopped("no token")


def attempt(code, values):
    """Return "succeeded", or the error."""
    try:
        exec(code, globals() | values)
    except Stopped as error:
        return f"Stopped: {error}"
    except OSError as error:
        return f"OSError: {errno.errorcode.get(error.errno)}: {error}"
    except Exception as error:
        return f"broken: {error!r}"
    return "succeeded"


def main(values):
    """Attempt each attack."""
    return {name: attempt(code, values) for name, code in values["attacks"].items()}


if __name__ == "__main__":
    print("\nBEGIN", json.dumps(main(json.loads(Path(sys.argv[1]).read_text()))), "END", sep="\n")

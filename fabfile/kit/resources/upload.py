"""A file that the operator's machine downloads, for a server that cannot."""

import hashlib
import os
import sys
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from fabric import Connection
from paramiko import SSHException

from ..errors import ConnectionLost, RemoteError
from ..quote import Shell, program, script, sh, words
from .download import CACHE, Download, Source, chosen, size
from .home import as_owner

_lock = threading.Lock()  # several hosts share one download


@dataclass(frozen=True)
class Upload(Download):
    """The file for the server's architecture, downloaded here and uploaded to the server.

    Both ways resume where they stopped.

    Args:
        connection: the connection that uploads the file.
    """

    connection: Connection = field(kw_only=True, compare=False, repr=False)

    def probe(self):
        return script('probe\necho "sum $sum"', probe=super().probe())

    def conflict(self, actual):
        if actual["url"]:
            return None
        return "this architecture is not supported; set python.version or python.url"

    def diff(self, actual):
        return super().diff(actual) + ("" if actual["file"] else " (by way of this machine)")

    def apply(self, actual):
        if actual["file"]:
            return super().apply(actual)
        [source] = [one for one in self.sources if one.sha256 == actual["sum"]]
        with _lock:
            local = fetched(source)
        place = sent(self.connection, local, f"{source.path.rpartition('/')[2]}.part")
        total = local.stat().st_size
        user = self.connection.user
        read = script(
            """
            cd "$(getent passwd "$user" | cut -d: -f6)"
            [ -f "$place" ] && [ ! -L "$place" ]
            head -c "$total" "$place"
            """,
            user=user,
            place=place,
            total=total,
        )
        remove = script(
            """
            cd "$(getent passwd "$user" | cut -d: -f6)"
            rm -f "$place"
            rmdir "${place%/*}" 2>/dev/null || :
            """,
            user=user,
            place=place,
        )
        return program(
            "take-upload",
            choose=chosen([source]),
            cache=CACHE,
            read_upload=as_owner(user, read, seconds=1800, size=total + 1),
            remove_upload=as_owner(user, remove),
        )


def fetched(source: Source) -> Path:
    """Return the path of *source* in this machine's cache, and download it if it is missing.

    Raises:
        RemoteError: the download failed, or the checksum is wrong.
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "remote-jupyter"
    path = folder / source.path.rpartition("/")[2]
    part = path.with_name(f"{path.name}.part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if path.exists() and digest(path) == source.sha256:
            return path
        for attempt in range(4):
            try:
                fetch(source.url, part)
                break
            except urllib.error.HTTPError as error:
                if error.code != 416:
                    raise
                break  # the file is complete
            except (OSError, EOFError):
                if attempt == 3:
                    raise
        if digest(part) != source.sha256:
            part.unlink()
            raise RemoteError(
                f"{source.url} gave another file than the one with SHA-256 {source.sha256}; "
                "it was removed"
            )
        part.replace(path)
        return path
    except (OSError, EOFError) as error:
        raise RemoteError(
            f"{source.url} cannot be downloaded to {folder} on this machine: {error}"
        ) from None


def fetch(url: str, part: Path) -> None:
    """Append the rest of *url* to the file *part*.

    Raises:
        OSError, EOFError: the server did not answer, or not with all of the file.
    """
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=30) as answer:
        resumed = answer.status == 206
        total = int(answer.headers.get("Content-Length") or 0) + (have if resumed else 0)
        with open(part, "ab" if resumed else "wb") as file:
            while block := answer.read(1 << 20):
                file.write(block)
                show("downloading here", file.tell(), total)
        if part.stat().st_size < total:
            raise EOFError("the server closed the connection early")


def sent(c: Connection, local: Path, name: str) -> str:
    """Upload a file to the login user's own cache, and resume an earlier upload.

    Args:
        c: the connection that uploads.
        local: the file on this machine.
        name: its name on the server.

    Returns:
        The path of the uploaded file, below the user's home.

    Raises:
        RemoteError: the server has no room for it.
        ConnectionLost: the connection ended during the upload.
    """
    place = f".cache/remote-jupyter/{name}"
    begin = script(
        """
        mkdir -p "$folder"
        chmod 700 "$folder"
        stat -c %s "$place" 2>/dev/null || echo 0
        """,
        folder=place.rpartition("/")[0],
        place=place,
    )
    try:
        have = int(told(c, begin))
        total = local.stat().st_size
        have = have if have <= total else 0
        channel = c.transport.open_session(timeout=30)
        channel.settimeout(60)
        append = script(
            'truncate -s "$have" "$place" && exec cat >>"$place"', have=have, place=place
        )
        channel.exec_command(in_sh(append))
        with open(local, "rb") as file:
            file.seek(have)
            while block := file.read(1 << 18):
                channel.sendall(block)
                show("uploading", file.tell(), total)
        channel.shutdown_write()
        if channel.recv_exit_status():
            raise RemoteError(
                f"the home of {c.user} on {c.host} has no room for {size(total)}; make room there"
            )
    except (EOFError, OSError, SSHException) as error:
        raise ConnectionLost(
            f"The connection ended during the upload ({error}). "
            "Run the same command again; the upload continues from there."
        ) from None
    return place


def told(c: Connection, command: str) -> str:
    """Return what *command* prints, run by the login user in a channel of its own."""
    channel = c.transport.open_session(timeout=30)
    channel.exec_command(in_sh(command))
    return channel.makefile("rb").read().decode()


def in_sh(command: str) -> Shell:
    """Return *command* in a form that any login shell can run."""
    return sh("exec /bin/sh -c {}", words([command]))


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    total = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            total.update(block)
    return total.hexdigest()


def show(what: str, have: int, total: int) -> None:
    """Show the progress of *what*, in bytes, if the output is a terminal."""
    if sys.stdout.isatty():
        end = "\r\x1b[K" if have >= total else ""
        print(f"\r\x1b[K{what}: {size(have)} of {size(total)}{end}", end="", flush=True)

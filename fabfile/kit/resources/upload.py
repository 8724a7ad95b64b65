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
from ..quote import sh, words
from .download import CACHE, Download, chosen, size

_lock = threading.Lock()  # several hosts need one download


@dataclass(frozen=True)
class Upload(Download):
    """Like `Download`, but by way of the operator's machine and the *connection*; both ways are taken up where they stopped."""

    connection: Connection = field(kw_only=True, compare=False, repr=False)

    def probe(self):
        return super().probe() + '\necho "sum $sum"\n'

    def conflict(self, actual):
        return (
            None
            if actual["url"]
            else "this processor is not supported; see python.version and python.url"
        )

    def diff(self, actual):
        return super().diff(actual) + ("" if actual["file"] else " (by way of this machine)")

    def apply(self, actual):
        if actual["file"]:
            return super().apply(actual)
        [source] = [one for one in self.sources if one.sha256 == actual["sum"]]
        with _lock:
            local = fetched(source)
        place = sent(self.connection, local, f"{source.path.rpartition('/')[2]}.part")
        return sh(
            """
            {}
            from=$(getent passwd {} | cut -d: -f6)/{}
            mkdir -p {}; rm -f "$file.part"
            cat "$from" >"$file.part" || { rm -f "$file.part"; echo 'the disk is full; make room there' >&2; exit 1; }
            rm -f "$from"; rmdir "${from%/*}" 2>/dev/null || :
            printf '%s  %s\\n' "$sum" "$file.part" | sha256sum --check --quiet - ||
                { rm -f "$file.part"; echo 'what arrived is not what was sent; run this again' >&2; exit 1; }
            chmod 0644 "$file.part"; mv "$file.part" "$file"
            """,
            *(chosen([source]), self.connection.user, place, CACHE),
        )


def fetched(source):
    """Return the path of *source* on this machine, downloaded to a cache where it is not there; raises Problem."""
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
                break  # the whole of it is there
            except (OSError, EOFError):
                if attempt == 3:
                    raise
        if digest(part) != source.sha256:
            part.unlink()
            raise RemoteError(
                f"{source.url} gave something else than the file with SHA-256 {source.sha256}; it was removed"
            )
        part.replace(path)
        return path
    except (OSError, EOFError) as error:
        raise RemoteError(f"{source.url} cannot be downloaded to {folder} here: {error}") from None


def fetch(url, part):
    """Append the rest of *url* to the file *part*; raises OSError or EOFError."""
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
            raise EOFError("the server broke off")


def sent(c, local, name):
    """Send the file *local* to the login's own cache over the connection *c*; return its path below the home."""
    place = f".cache/remote-jupyter/{name}"
    folder = place.rpartition("/")[0]
    try:
        have = int(
            told(
                c,
                sh(
                    "mkdir -p {}; chmod 700 {}; stat -c %s {} 2>/dev/null || echo 0",
                    folder,
                    folder,
                    place,
                ),
            )
        )
        total = local.stat().st_size
        have = have if have <= total else 0
        channel = c.transport.open_session(timeout=30)
        channel.settimeout(60)
        channel.exec_command(in_sh(sh("truncate -s {} {} && exec cat >>{}", have, place, place)))
        with open(local, "rb") as file:
            file.seek(have)
            while block := file.read(1 << 18):
                channel.sendall(block)
                show("uploading", file.tell(), total)
        channel.shutdown_write()
        if channel.recv_exit_status():
            raise RemoteError(
                f"{c.user} has no room for {size(total)} at home on {c.host}; make room there"
            )
    except (EOFError, OSError, SSHException) as error:
        raise ConnectionLost(
            f"The upload was cut off ({error}). Run the same command again: it goes on there."
        ) from None
    return place


def told(c, command):
    """Return what *command* of the login user prints, over a channel of its own."""
    channel = c.transport.open_session(timeout=30)
    channel.exec_command(in_sh(command))
    return channel.makefile("rb").read().decode()


def in_sh(command):
    """Return *command* as any login shell can run it."""
    return sh("exec /bin/sh -c {}", words([command]))


def digest(path):
    """Return the SHA-256 of a file."""
    total = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            total.update(block)
    return total.hexdigest()


def show(what, have, total):
    """Show how far it is, on a terminal."""
    if sys.stdout.isatty():
        end = "\r\x1b[K" if have >= total else ""
        print(f"\r\x1b[K{what}: {size(have)} of {size(total)}{end}", end="", flush=True)

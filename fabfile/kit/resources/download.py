"""A file that the server downloads and checks by its SHA-256."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..quote import Shell, program, script, sh
from .base import Resource
from .package import Package
from .unit import PROXIES, as_unit, unit_begun

CACHE = "/var/cache/remote-jupyter"
UNIT = "remote-jupyter-download"
UNDO = f"none needed: the installer is removed after it ran, or rm {CACHE}/{{0.name}}*"


@dataclass(frozen=True)
class Source:
    """Where to get a file.

    Args:
        url: its address.
        sha256: the checksum that it must have, in hexadecimal.
        machine: the architecture that it is for, as ``uname -m`` prints it; empty means any.
    """

    url: str
    sha256: str
    machine: str = ""

    @property
    def path(self) -> str:
        """Where the server keeps the file once its checksum was right."""
        return f"{CACHE}/{self.sha256[:12]}-{self.name}"

    @property
    def name(self) -> str:
        """The name of the file."""
        return re.sub(r"[?#].*", "", self.url).rpartition("/")[2]


def chosen(sources: Sequence[Source]) -> Shell:
    """Return shell code that sets ``url``, ``sum`` and ``file`` for the machine that it runs on.

    All three are empty if none of *sources* is for that machine.
    """
    cases = [
        sh(
            "{}) url={} sum={} file={};;\n",
            Shell(one.machine or "*"),
            one.url,
            one.sha256,
            one.path,
        )
        for one in sources
    ]
    return sh("url='' sum='' file=''\ncase $(uname -m) in {} esac\n", Shell("".join(cases)))


@dataclass(frozen=True)
class Download(Resource):
    """The file for the server's architecture, downloaded to the server.

    A transient unit downloads it. It resumes where it stopped, tries again after errors, and
    gives the file its name only if the checksum is right.

    Args:
        name: what reports call it.
        sources: one for each architecture.
        unless: shell code that succeeds if the file is not needed (any more); a file that is
            left over is then removed.
    """

    name: str
    sources: tuple[Source, ...]
    unless: Shell

    needs_reprobe = slow = True

    undo = UNDO

    def probe(self):
        return script(
            """
            choose
            echo "url $url"
            if unless; then
                if [ -e "$file" ]; then echo 'state left over'; else echo 'state not needed'; fi
            elif [ -f "$file" ]; then echo 'state there'
            else
                echo 'state absent'
                # A download that goes on may rename it at any moment.
                stat -c 'part %s' "$file.part" 2>/dev/null || :
            fi
            """,
            choose=chosen(self.sources),
            unless=self.unless,
        )

    def parse(self, output):
        actual = dict(line.split(" ", 1) for line in output.splitlines())
        file = {"there": "as needed", "not needed": "as needed", "left over": "left over"}
        return actual | {"file": file.get(actual["state"])}

    def desired(self):
        return {"file": "as needed"}

    def diff(self, actual):
        diff = super().diff(actual)
        if actual["file"]:
            return diff
        part = f", {size(actual['part'])} of it are there" if "part" in actual else ""
        return diff.replace("+file: as needed", f"+file: {actual['url']}{part}")

    def progress(self, line):
        # dlstatus:BYTES:TOTAL BYTES (or nothing):BYTES PER SECOND
        if not (status := re.fullmatch(r"dlstatus:(\d+):(\d*):(\d+)", line)):
            return line
        have, of, rate = (int(number or 0) for number in status.groups())
        left = f", {(of - have) // rate} s left" if of > have and rate else ""
        return f"{size(have)}{f' of {size(of)}' if of else ''}, {size(rate)}/s{left}"

    def apply(self, actual):
        if actual["file"]:
            return script('choose\nrm -f "$file" "$file.part"', choose=chosen(self.sources))
        return as_unit(UNIT, fetching(self.sources))


@dataclass(frozen=True)
class DownloadBegun(Resource):
    """The same download as `Download`, under way while other resources are applied.

    Args:
        name: what reports call it.
        sources: one for each architecture.
        unless: shell code that succeeds if the file is not needed (any more).
        needs: the packages that the download takes.
    """

    name: str
    sources: tuple[Source, ...]
    unless: Shell
    needs: Package = Package("ca-certificates", "curl")

    slow = True

    FINE: ClassVar[tuple[str, ...]] = ("under way", "there", "not needed")

    undo = UNDO

    def probe(self):
        return program(
            "probe-download",
            cache=CACHE,
            unit=UNIT,
            choose=chosen(self.sources),
            unless=self.unless,
            set_proxies=PROXIES,
        )

    def parse(self, output):
        actual = dict(line.split(" ", 1) for line in output.splitlines())
        return actual | {"download": "under way" if actual["state"] in self.FINE else None}

    def desired(self):
        return {"download": "under way"}

    def conflict(self, actual):
        if actual["state"] == "unsupported":
            known = " and ".join(one.machine for one in self.sources)
            return f"{actual['machine']} is not supported; {self.name} exists for {known}"
        free = int(actual.get("free", 0)) * 1024
        if int(actual.get("size", 0)) > free:
            return (
                f"{size(free)} are free below {CACHE}, and the file has {size(actual['size'])}; "
                "make room"
            )
        return None

    def diff(self, actual):
        if "size" in actual:
            more = f" ({size(actual['size'])})"
        else:
            missing = actual["state"] == "without curl"
            more = " (the size is unknown until curl is installed)" if missing else ""
        diff = super().diff(actual)
        return diff.replace("+download: under way", f"+download: {actual.get('url')}{more}")

    def apply(self, actual):
        begun = unit_begun(UNIT, fetching(self.sources))
        if actual["state"] != "without curl":
            return begun
        # Install curl separately, because the download would wait for all other packages.
        install = self.needs.apply(self.needs.parse(""))
        return script(
            "( install_curl ) || exit\nbegin_download", install_curl=install, begin_download=begun
        )


def size(count: int | str) -> str:
    """Return a number of bytes as people read it, such as ``1.5 MiB``."""
    number = float(count)
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:
            digits = 1 if unit == "MiB" and number < 100 else 0
            return f"{number:.{digits}f} {unit}"
        number /= 1024
    return f"{number:.2f} GiB"


def fetching(sources: Sequence[Source]) -> Shell:
    """Return shell code that downloads the one of *sources* for this machine; a unit runs it."""
    return program("download", cache=CACHE, choose=chosen(sources), set_proxies=PROXIES)

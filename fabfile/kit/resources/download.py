"""A file that the server downloads, checked by its SHA-256."""

import re
from dataclasses import dataclass
from typing import ClassVar

from ..quote import Shell, sh
from .base import Resource
from .package import Package
from .unit import PROXIES, as_unit, unit_begun

CACHE = "/var/cache/remote-jupyter"
UNIT = "remote-jupyter-download"


@dataclass(frozen=True)
class Source:
    """Where a file is for one *machine* (as ``uname -m`` has it; empty for any), and its SHA-256."""

    url: str
    sha256: str
    machine: str = ""

    @property
    def path(self):
        """Where the file is on the server, once it is there and was found right."""
        return f"{CACHE}/{self.sha256[:12]}-{self.name}"

    @property
    def name(self):
        """The file's name."""
        return re.sub(r"[?#].*", "", self.url).rpartition("/")[2]


def chosen(sources):
    """Return shell text that sets ``url``, ``sum`` and ``file`` to those of the *sources* that fit the machine, or to nothing."""
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
    """The one of *sources* that fits the machine is on the server; it is removed where *unless* succeeds.

    It is fetched by a transient unit that resumes where it stopped and tries again after a pause, and has its name only
    once its SHA-256 was right.
    """

    name: str
    sources: tuple[Source, ...]
    unless: Shell

    needs_reprobe = slow = True

    undo = "nothing is left: the installer goes when it has run, or rm /var/cache/remote-jupyter/{0.name}*"

    def probe(self):
        return sh(
            """
            {}
            echo "url $url"
            if {}; then [ -e "$file" ] && echo 'state left over' || echo 'state not needed'
            elif [ -f "$file" ]; then echo state there
            else echo state absent; [ ! -f "$file.part" ] || stat -c 'part %s' "$file.part"; fi
            """,
            *(chosen(self.sources), self.unless),
        )

    def parse(self, output):
        actual = dict(line.split(" ", 1) for line in output.splitlines())
        fine = actual["state"] in ("there", "not needed")
        return actual | {
            "file": "as needed"
            if fine
            else actual["state"]
            if actual["state"] == "left over"
            else None
        }

    def desired(self):
        return {"file": "as needed"}

    def diff(self, actual):
        if actual["file"]:
            return super().diff(actual)
        part = f", of which {size(actual['part'])} are there" if "part" in actual else ""
        return super().diff(actual).replace("+file: as needed", f"+file: {actual['url']}{part}")

    def progress(self, line):
        # dlstatus:<bytes>:<of bytes, or nothing>:<bytes a second>
        if not (status := re.fullmatch(r"dlstatus:(\d+):(\d*):(\d+)", line)):
            return line
        have, of, rate = (int(number or 0) for number in status.groups())
        left = f", {(of - have) // rate} s left" if of > have and rate else ""
        return f"{size(have)}{f' of {size(of)}' if of else ''}, {size(rate)}/s{left}"

    def apply(self, actual):
        if actual["file"]:
            return sh('{}\nrm -f "$file" "$file.part"', chosen(self.sources))
        return as_unit(UNIT, fetching(self.sources))


@dataclass(frozen=True)
class DownloadBegun(Resource):
    """`Download` of the same is under way, so that it goes on while other things are done; *needs* has what it takes: curl."""

    name: str
    sources: tuple[Source, ...]
    unless: Shell
    needs: Package = Package("ca-certificates", "curl")

    slow = True

    FINE: ClassVar[tuple[str, ...]] = ("under way", "there", "not needed")

    undo = "nothing is left: the installer goes when it has run, or rm /var/cache/remote-jupyter/{0.name}*"

    def probe(self):
        # The server of the file is only asked where it is needed.
        return sh(
            """
            {}
            echo "machine $(uname -m)"
            if {}; then echo 'state not needed'
            elif [ -z "$url" ]; then echo 'state unsupported'
            elif [ -f "$file" ]; then echo 'state there'
            elif systemctl is-active -q {}; then echo 'state under way'
            else
                echo "url $url"
                folder={}; until [ -d "$folder" ]; do folder=${folder%/*}; folder=${folder:-/}; done
                df -Pk "$folder" | awk 'END { print "free", $4 }'
                if command -v curl >/dev/null; then
                    {}
                    curl -sIL --retry 1 --retry-all-errors --connect-timeout 4 --max-time 8 "$url" 2>/dev/null | tr -d '\\r' |
                        awk 'tolower($1) ~ /^http/ { size = "" } tolower($1) == "content-length:" { size = $2 }
                            END { if (size) print "size", size }'
                    echo 'state absent'
                else echo 'state without curl'; fi
            fi
            """,
            *(chosen(self.sources), self.unless, UNIT, CACHE, PROXIES),
        )

    def parse(self, output):
        actual = dict(line.split(" ", 1) for line in output.splitlines())
        return actual | {"download": "under way" if actual["state"] in self.FINE else None}

    def desired(self):
        return {"download": "under way"}

    def conflict(self, actual):
        if actual["state"] == "unsupported":
            known = " and ".join(one.machine for one in self.sources)
            return f"{actual['machine']} is not supported; {self.name} is known for {known}"
        free = int(actual.get("free", 0)) * 1024
        if int(actual.get("size", 0)) > free:
            return f"{size(free)} are free below {CACHE}, and the file has {size(actual['size'])}: make room"
        return None

    def diff(self, actual):
        unknown = (
            " (how large, is asked as soon as curl is there)"
            if actual["state"] == "without curl"
            else ""
        )
        more = f" ({size(actual['size'])})" if "size" in actual else unknown
        return (
            super()
            .diff(actual)
            .replace("+download: under way", f"+download: {actual.get('url')}{more}")
        )

    def apply(self, actual):
        begun = unit_begun(UNIT, fetching(self.sources))
        if actual["state"] != "without curl":
            return begun
        # By a run of apt of its own, as all the other packages would have to be waited for.
        return sh("( {} ) || exit\n{}", self.needs.apply(self.needs.parse("")), begun)


def size(count):
    """Return a number of bytes in a unit that people read."""
    count = int(count)
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit != "MiB" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.2f} GiB"


def fetching(sources):
    """Return shell text that downloads the one of *sources* that fits the machine; it is run as a unit."""
    return sh(
        """
        umask 022; mkdir -p {}; cd {}
        {}
        {}
        [ ! -f "$file" ] || exit 0
        for other in *; do [ "$PWD/$other" = "$file.part" ] || rm -f "$other"; done
        part=$file.part said=$(mktemp -d); trap 'rm -rf "$said"' EXIT
        : >>"$part"
        have() { stat -c %s "$part"; }
        fail() { rm -f "$part"; echo "$*" >&2; exit 1; }
        size=$(curl -sIL --connect-timeout 15 --max-time 30 "$url" 2>/dev/null | tr -d '\\r' |
            awk 'tolower($1) ~ /^http/ { n = "" } tolower($1) == "content-length:" { n = $2 } END { print n }')
        tries=0 again=''
        while :; do
            from=$(have) began=$(date +%s)
            curl -fsSL --proto =http,https --connect-timeout 15 --speed-limit 1000 --speed-time 30 -C - -w '%{http_code}' \\
                -o "$part" "$url" >"$said/code" 2>"$said/why" & curl=$!
            while kill -0 $curl 2>/dev/null; do
                sleep 0.5
                now=$(have) took=$(($(date +%s) - began))
                echo "dlstatus:$now:$size:$(((now - from) / (took > 0 ? took : 1)))"
            done
            s=0; wait $curl || s=$?
            code=$(cat "$said/code") why=$(tail -n 1 "$said/why")
            if [ $s = 0 ] || [ "$code" = 416 ]; then
                got=$(sha256sum "$part" | cut -d' ' -f1)
                if [ "$got" = "$sum" ]; then sync "$part"; mv "$part" "$file"; exit 0; fi
                if [ "$from" -gt 0 ] && [ -z "$again" ]; then
                    echo 'what was there of it does not fit; it begins anew'; again=1; rm -f "$part"; : >"$part"; continue
                fi
                what="another file ($(have) bytes, SHA-256 $got)"
                if [ ! -s "$part" ]; then what='an empty file'
                elif head -c 1000 "$part" | grep -aqi '<html\\|<!doctype'; then what='an HTML page'; fi
                fail "$url gave $what, and not the one with SHA-256 $sum; nothing of it was run, and it was removed"
            fi
            case $s,$code in
                22,408|22,425|22,429|22,5??) ;;
                22,*) fail "$url: the server answered $code; is the address right?";;
                23,*) fail "the disk is full: $from of ${size:-?} bytes fit into $PWD; make room there";;
                33,*|36,*) echo 'the server cannot resume; it begins anew'; rm -f "$part"; : >"$part";;
                1,*|3,*|60,*) fail "$url: $why";;
            esac
            [ "$(have)" -le "$from" ] || tries=0
            tries=$((tries + 1))
            if [ $tries -gt 5 ]; then
                echo "$url: $why; tried again and again; $(have) bytes of it are kept for the next run" >&2
                exit 1
            fi
            echo "$why; again in $((1 << (tries - 1))) s"
            sleep $((1 << (tries - 1)))
        done
        """,
        *(CACHE, CACHE, PROXIES, chosen(sources)),
    )

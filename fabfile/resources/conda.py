"""A conda installation, made by the installers of Anaconda, Miniconda and Miniforge."""

import re
from dataclasses import dataclass

from ..kit.quote import Shell, sh
from ..kit.resources.base import Resource
from ..kit.resources.directory import Directory
from ..kit.resources.download import CACHE, Source, chosen
from ..kit.resources.unit import as_unit

UNIT = "remote-jupyter-conda"


# What we began to install: a file of the user's for each prefix, with / as %. It says `begun`, and at the end the inode.
RECORDS = "/var/lib/remote-jupyter/conda"


# An installer that was killed leaves a bin/conda that answers, so nothing less than all of this is a whole installation.
# The first line of bin/conda says for which place it was made.
COMPLETE = Shell("""is_whole() (
        cd "$1" 2>/dev/null && [ -s conda-meta/history ] || exit 1
        for left in install_tmp preconda.tar.bz2 postconda.tar.bz2 .messages.txt; do [ ! -e $left ] || exit 1; done
        for name in conda python; do
            set -- conda-meta/$name-[0-9]*.json; [ -s "$1" ] && [ -x bin/$name ] || exit 1
        done
        read -r line <bin/conda || exit 1
        made=${line#??}
        case $made in */env\\ *) ;; *) [ "${made%% *}" -ef bin/python ];; esac
    )
""")


# Only what never was whole is half made: what was whole once may hold environments of the user's own.
HALF = Shell("""half() (
        [ "$(cat "$record" 2>/dev/null)" = begun ] && cd "$1" 2>/dev/null && [ "$(stat -c %U .)" = "$user" ] || exit 1
        [ -n "$(ls -A)" ] || exit 0
        [ ! -s conda-meta/history ] || [ -e install_tmp ] || [ -e postconda.tar.bz2 ] || [ -e .messages.txt ] || exit 1
        set -- _conda* .nonadmin install_tmp pkgs conda-meta preconda.tar.bz2 postconda.tar.bz2
        for mark; do [ ! -e "$mark" ] || exit 0; done
        exit 1
    )
""")


def is_complete(path):
    """Return a shell command that succeeds where a whole conda is at *path*."""
    return sh("{ {} is_whole {}; }", COMPLETE, path)


def record(path):
    """Return the file that says that we began to install at *path*."""
    return f"{RECORDS}/{path.replace('/', '%')}"


@dataclass(frozen=True)
class CondaPrefix(Resource):
    """A whole conda at *path* that belongs to *user*, made by the installer that is the fitting one of *sources*.

    *disk* and *memory* (MiB) and *glibc* are what it needs at least; what its header says counts more. One that is there and
    whole stays as it is. A half-made one that we began is removed and made anew; whatever else is there is refused.
    """

    path: str
    user: str
    name: str
    sources: tuple[Source, ...]
    disk: int = 0
    memory: int = 0
    glibc: str = ""

    needs_reprobe = slow = True

    undo = "remove-anaconda"

    def probe(self):
        return sh(
            """
            p={} user={} record={}
            {} {} {}
            if [ -L "$p" ]; then echo 'state a symbolic link'; exit 0
            elif [ ! -e "$p" ]; then echo state absent
            elif [ ! -d "$p" ]; then echo 'state a file'; exit 0
            elif is_whole "$p"; then echo "state $(stat -c %U "$p")"; exit 0
            elif half "$p"; then echo state unfinished
            elif [ -z "$(ls -A "$p")" ] && [ "$(stat -c %U "$p")" = "$user" ]; then echo state empty
            elif [ -d "$p/conda-meta" ]; then echo 'state a conda that is not whole'; exit 0
            else echo 'state a folder that is no conda'; exit 0; fi
            folder=$p; until [ -d "$folder" ]; do folder=${folder%/*}; folder=${folder:-/}; done
            ! systemctl is-active -q {} || echo running now
            df -Pk "$folder" | awk 'END { print "free", $4 }'
            case $(findmnt -no OPTIONS -T "$folder" 2>/dev/null) in *noexec*) echo noexec "$folder";; esac
            awk '/^(MemTotal|SwapTotal):/ { n += $2 } END { printf "memory %.0f\\n", n }' /proc/meminfo
            getconf GNU_LIBC_VERSION 2>/dev/null
            echo "machine $(uname -m)"
            [ ! -f "$file" ] || head -c 65536 "$file" | grep -a -o -e '^# PLAT: *[a-z0-9_-]*' \\
                -e '^total_installation_size_kb="*[0-9]*' -e 'requires GLIBC >=[0-9.]*' || :
            """,
            *(self.path, self.user, record(self.path), COMPLETE, HALF, chosen(self.sources), UNIT),
        )

    def parse(self, output):
        lines = output.splitlines()
        actual = dict(
            line.split(" ", 1)
            for line in lines
            if re.match("(state|running|free|noexec|memory|glibc|machine) ", line)
        )
        state = actual.pop("state")
        for name, pattern in (
            ("disk", r'size_kb="*(\d+)'),
            ("needs glibc", r">=([\d.]+)"),
            ("platform", r"PLAT: *(\S+)"),
        ):
            if found := re.search(pattern, output):
                actual[name] = found[1].rstrip(".")
        return actual | {
            "owner": None if state in ("absent", "unfinished", "empty") else state,
            "state": state,
        }

    def desired(self):
        return {"owner": self.user}

    def diff(self, actual):
        how = f"{self.name}, {'made anew' if actual['state'] == 'unfinished' else 'new'}"
        if need := self.needed(actual):
            how += f", for which {need} MiB must be free"
        return super().diff(actual).replace("+owner: ", f"+installation: {how}\n+owner: ")

    def conflict(self, actual):
        if actual["owner"] == self.user:
            return None
        if actual["owner"]:
            of = "" if " " in actual["owner"] else "a conda of "
            return f"there is {of}{actual['owner']}, which is left alone; move it away, or set python.prefix"
        return None if "running" in actual else self.unfit(actual)

    def needed(self, actual):
        """Return how much disk it needs, in MiB; 0 where nobody has said so."""
        return int(actual["disk"]) // 1024 + 100 if "disk" in actual else self.disk

    def unfit(self, actual):
        """Return why it would not fit on this server, and what to do; or None."""
        free, need = int(actual["free"]) // 1024, self.needed(actual)
        if free < need:
            return f"{free} MiB are free for {self.path}, and {need} MiB are needed: make room, or set python.prefix"
        if "noexec" in actual:
            return f"nothing can be run below {actual['noexec']}, which is mounted noexec; set python.prefix"
        if (memory := int(actual["memory"]) // 1024) < self.memory:
            return f"{memory} MiB of memory and swap, and {self.memory} MiB are needed: take a larger server or add swap"
        glibc = actual.get("needs glibc") or self.glibc
        if glibc and "glibc" in actual and numbers(actual["glibc"]) < numbers(glibc):
            return f"glibc {actual['glibc']} is too old for {self.name}, which needs {glibc}; use a newer release, or miniforge"
        machine = {"linux-64": "x86_64", "linux-aarch64": "aarch64"}.get(
            actual.get("platform", ""), actual.get("platform")
        )
        if machine and machine != actual["machine"]:
            return f"this installer is for {machine}, and the server is {actual['machine']}; see python.url"
        return None

    def apply(self, actual):
        # A unit that a run before this one started may be at work: what is there is looked at only when that has ended.
        # The installer takes no folder that is there, not even an empty one.
        script = sh(
            """
            p={} user={} record={}
            {} {} {}
            made() { stat -c %i "$p" >"$record"; }
            if is_whole "$p"; then made; exit 0; fi
            unset TMPDIR; umask 022; cd "$HOME"
            if [ -e "$p" ] && [ -n "$(ls -A "$p")" ]; then
                half "$p" || { echo "there is something else at $p now; it is left alone" >&2; exit 1; }
                echo "what was half made at $p is removed"
                # What tells that it is half made goes last, as this may be broken off too.
                [ ! -d "$p/conda-meta" ] || : >"$p/conda-meta/history"
                for one in "$p"/* "$p"/.[!.]*; do case $one in */conda-meta|*/install_tmp) ;; *) rm -rf "$one";; esac; done
                rm -rf "$p" 2>/dev/null || [ -z "$(ls -A "$p")" ]
            fi
            update=''
            [ ! -e "$p" ] || rmdir "$p" 2>/dev/null || update=-u
            printf '%s  %s\\n' "$sum" "$file" | sha256sum --check --quiet - >&2 ||
                { echo "the installer $file is not what it was; remove it, and run this again" >&2; exit 1; }
            bash "$file" -b $update -p "$p"
            is_whole "$p" || { echo "the installer ended well, and $p is not whole" >&2; exit 1; }
            root=$("$p/bin/conda" info --json | sed -n 's/.*"root_prefix": *"\\([^"]*\\)".*/\\1/p')
            [ "$root" -ef "$p" ] || { echo "the conda at $p says that it is at ${root:-no place}" >&2; exit 1; }
            made
            """,
            *(self.path, self.user, record(self.path), COMPLETE, HALF, chosen(self.sources)),
        )
        # Below a folder of root's, only root can make one: the user then gets an empty one.
        return sh(
            """
            mkdir -p {}; echo begun >{}; chown {}: {}
            {}
            ( {} ) || exit
            rm -rf {}
            """,
            *(
                RECORDS,
                record(self.path),
                self.user,
                record(self.path),
                Directory(self.path, self.user).apply({}),
            ),
            *(as_unit(UNIT, script, self.user), CACHE),
        )


def numbers(version):
    """Return the numbers of a version, to compare it."""
    return [int(part) for part in re.findall(r"\d+", version)]


@dataclass(frozen=True)
class CondaRemoved(Resource):
    """Nothing is left of the conda at *path* that we installed for *user*, and *service* does not run from it."""

    path: str
    user: str
    service: str = ""

    slow = True

    undo = "install-anaconda"

    def probe(self):
        return sh(
            """
            p={} user={} record={} home=$(getent passwd {} | cut -d: -f6)
            if [ -L "$p" ]; then echo 'there a symbolic link'
            elif [ -e "$p" ]; then echo "there $(stat -c %U "$p")"; fi
            {}
            if [ ! -e "$record" ]; then :
            elif [ ! -e "$p" ] || [ "$(cat "$record")" = "$(stat -c %i "$p")" ] || half "$p"; then echo 'record of it'; fi
            [ -n "$home" ] || exit 0
            {}
            for file in "$home/.bashrc" "$home/.zshrc"; do [ -z "$(block "$file")" ] || echo "block $file"; done
            [ ! -f "$home/.conda/environments.txt" ] || grep -Fx -e "$p" "$home/.conda/environments.txt" | sed 's/^/listed /'
            """,
            *(self.path, self.user, record(self.path), self.user, HALF, BLOCK),
        )

    def parse(self, output):
        actual = dict(line.split(" ", 1) for line in output.splitlines())
        what = [name for name in ("there", "record", "block", "listed") if name in actual]
        return actual | {"left": ", ".join(what) if "record" in actual else None}

    def desired(self):
        return {"left": None}

    def conflict(self, actual):
        if "there" in actual and "record" not in actual:
            return "this was not installed by us, and is left alone; remove it yourself"
        if actual.get("there", self.user) != self.user:
            return f"there is {actual['there']} now, which is left alone"
        return None

    def diff(self, actual):
        if not actual["left"]:
            return ""
        return f"-{self.path}" + (
            f"\n-the block of conda init in {actual['block']}" if "block" in actual else ""
        )

    def apply(self, actual):
        script = sh(
            """
            p={}
            {}
            cd "$HOME"
            for file in .bashrc .zshrc; do
                [ -n "$(block "$file")" ] || continue
                rest=$(mktemp); without_block "$file" >"$rest"
                cat "$rest" >"$file"; rm -f "$rest"
            done
            list=.conda/environments.txt
            if [ -f "$list" ]; then
                rest=$(grep -Fxv -e "$p" "$list" | grep -v -e "^$p/envs/") || :
                if [ -n "$rest" ]; then printf '%s\\n' "$rest" >"$list"; else rm -f "$list"; rmdir .conda 2>/dev/null || :; fi
            fi
            rm -rf .cache/conda
            rm -rf "$p" 2>/dev/null || [ ! -e "$p" ] || [ -z "$(ls -A "$p")" ]
            """,
            *(self.path, BLOCK),
        )
        stop = sh(
            """
            [ -z {} ] || case $(systemctl show -P ExecStart {} 2>/dev/null) in
                *[=\\ ]{}/bin/*) systemctl disable -q --now {};;
            esac
            """,
            *(self.service, self.service, self.path, self.service),
        )
        return sh(
            "{}\n( {} ) || exit\nrm -rf {} {}; rmdir -p {} 2>/dev/null || :\n[ ! -d {} ] || rmdir {}",
            *(
                stop,
                as_unit(UNIT, script, self.user),
                CACHE,
                record(self.path),
                RECORDS,
                self.path,
                self.path,
            ),
        )


# What `conda init` put into a shell's start-up file for the conda at $p, with an empty line before and after it.
BLOCK = Shell("""
    split() {
        awk -v p="$p" -v what="$1" '
            function rest(more) { if (what == "rest") printf "%s%s", blank, more; blank = "" }
            /^# >>> conda initialize >>>/ { inside = 1; text = "" }
            inside { text = text $0 "\\n" }
            inside && /^# <<< conda initialize <<</ {
                inside = after = 0
                if (!index(text, p "/bin/conda\\047")) { rest(text); next }
                if (what == "block") printf "%s", text
                blank = ""; after = 1; next
            }
            inside || (after && $0 == "") { after = 0; next }
            $0 == "" { rest(""); blank = "\\n"; next }
            { after = 0; rest($0 "\\n") }
            END { rest(inside ? text : "") }' "$2" 2>/dev/null
    }
    block() { split block "$1"; }
    without_block() { split rest "$1"; }
""")

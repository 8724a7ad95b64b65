"""A conda installation made by the installers of Anaconda, Miniconda or Miniforge."""

import re
from dataclasses import dataclass

from ..kit.quote import Shell, program, script, sh
from ..kit.resources.base import Resource
from ..kit.resources.directory import Directory
from ..kit.resources.download import CACHE, Source, chosen
from ..kit.resources.home import as_owner
from ..kit.resources.unit import as_unit
from .pip import print_inode, stamp, stamped

UNIT = "remote-jupyter-conda"

# One file per prefix, named after the path with % for /. It holds "begun" until the installation
# is on the disk, and then the inode of the prefix.
RECORDS = "/var/lib/remote-jupyter/conda"

# A killed installer leaves a bin/conda that works, so check everything that it writes last.
# The first line of bin/conda names the prefix that it was made for.
IS_WHOLE = Shell("""
(
    cd "$1" 2>/dev/null && [ -s conda-meta/history ] || exit 1
    for left in install_tmp preconda.tar.bz2 postconda.tar.bz2 .messages.txt; do
        [ ! -e $left ] || exit 1
    done
    for name in conda python; do
        set -- conda-meta/$name-[0-9]*.json
        [ -s "$1" ] && [ -x bin/$name ] || exit 1
    done
    # Whatever a user puts there, read one line of a regular file.
    [ -f bin/conda ] && line=$(timeout 5 head -c 4096 bin/conda | tr -d '\\000' | head -n 1)
    made=${line#??}
    case $made in
        */env\\ *) ;;
        *) [ "${made%% *}" -ef bin/python ] ;;
    esac
)
""")

# A conda that was complete once may hold environments of the user, so it is never "unfinished".
IS_UNFINISHED = Shell("""
(
    [ "$(cat "$record" 2>/dev/null)" = begun ] && cd "$1" 2>/dev/null || exit 1
    [ "$(stat -c %U .)" = "$user" ] || exit 1
    [ -n "$(ls -A)" ] || exit 0
    [ ! -s conda-meta/history ] || [ -e install_tmp ] || [ -e postconda.tar.bz2 ] ||
        [ -e .messages.txt ] || exit 1
    set -- _conda* .nonadmin install_tmp pkgs conda-meta preconda.tar.bz2 postconda.tar.bz2
    for mark; do [ ! -e "$mark" ] || exit 0; done
    exit 1
)
""")

# `conda_init block FILE` prints what `conda init` wrote to a start-up file for the conda at $path;
# `conda_init rest FILE` prints the other lines, without the empty lines around the block.
CONDA_INIT = Shell("""
awk -v p="$path" -v what="$1" '
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
""")


def is_complete(path, user):
    """Return a shell command that succeeds if there is a complete conda of *user* at *path*.

    A conda whose installation by us was not confirmed is not complete yet.
    """
    whole = script('is_whole "$path" || exit 1', path=path, is_whole=IS_WHOLE)
    complete = script(
        'is_whole && [ "$(cat "$record" 2>/dev/null)" != begun ]',
        record=record(path),
        is_whole=as_owner(user, whole, seconds=20, no_user="exit 1"),
    )
    return sh("( {} )", complete)


def record(path):
    """Return the path of the file that records our installation at *path*."""
    return f"{RECORDS}/{path.replace('/', '%')}"


@dataclass(frozen=True)
class CondaPrefix(Resource):
    """A complete conda at this path that belongs to this user.

    An existing complete conda of the user is kept. An unfinished installation of ours is removed
    and installed again. Anything else at the path is a conflict.

    Args:
        path: the prefix.
        user: the owner, who also runs the installer.
        name: the installer's name without machine and suffix, such as ``Miniforge3-26.7.2-0``.
        sources: the installer for each machine; it must be on the server already.
        disk: free space needed, in MiB; the installer's own header takes precedence.
        memory: memory and swap needed, in MiB.
        glibc: oldest glibc that works; the installer's own header takes precedence.
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
        look = program(
            "conda-prefix-state",
            path=self.path,
            user=self.user,
            record=record(self.path),
            is_whole=IS_WHOLE,
            is_unfinished=IS_UNFINISHED,
        )
        return program(
            "conda-prefix-probe",
            path=self.path,
            unit=UNIT,
            print_state=as_owner(self.user, look, no_user="echo a folder of another user"),
            choose_source=chosen(self.sources),
        )

    def parse(self, output):
        actual = facts(output) | installer_needs(output)
        missing = actual["state"] in ("absent", "unfinished", "unconfirmed", "empty")
        return actual | {"owner": None if missing else actual["state"]}

    def desired(self):
        return {"owner": self.user}

    def diff(self, actual):
        if actual["state"] == "unconfirmed":
            return super().diff(actual).replace("+owner: ", "+installation: checked\n+owner: ")
        how = f"{self.name}, {'made anew' if actual['state'] == 'unfinished' else 'new'}"
        if need := self.disk_needed(actual):
            how += f", for which {need} MiB must be free"
        return super().diff(actual).replace("+owner: ", f"+installation: {how}\n+owner: ")

    def conflict(self, actual):
        if actual["owner"] == self.user:
            return None
        if actual["owner"]:
            what = actual["owner"] if " " in actual["owner"] else f"a conda of {actual['owner']}"
            return f"there is {what}, which is left alone; move it away, or set python.prefix"
        installed = "running" in actual or actual["state"] == "unconfirmed"
        return None if installed else self.unfit(actual)

    def disk_needed(self, actual):
        """Return the free space that the installation needs, in MiB; 0 if unknown."""
        return int(actual["disk"]) // 1024 + 100 if "disk" in actual else self.disk

    def unfit(self, actual):
        """Return why the installation would fail on this server and what to do, or None."""
        free, need = int(actual["free"]) // 1024, self.disk_needed(actual)
        if free < need:
            return (
                f"{free} MiB are free for {self.path}, and {need} MiB are needed: "
                "make room, or set python.prefix"
            )
        if folder := actual.get("noexec"):
            return f"programs cannot run below {folder}, which is mounted noexec; set python.prefix"
        if (memory := int(actual["memory"]) // 1024) < self.memory:
            return (
                f"{memory} MiB of memory and swap are available, and {self.memory} MiB are needed: "
                "use a larger server, or add swap"
            )
        glibc = actual.get("needs glibc") or self.glibc
        if glibc and "glibc" in actual and numbers(actual["glibc"]) < numbers(glibc):
            return (
                f"glibc {actual['glibc']} is too old for {self.name}, which needs {glibc}; "
                "use a newer release, or miniforge"
            )
        platform = actual.get("platform", "")
        machine = {"linux-64": "x86_64", "linux-aarch64": "aarch64"}.get(platform, platform)
        if machine and machine != actual["machine"]:
            return (
                f"this installer is for {machine}, and the server is {actual['machine']}; "
                "see python.url"
            )
        return None

    def apply(self, actual):
        install = program(
            "conda-install",
            path=self.path,
            user=self.user,
            record=record(self.path),
            is_whole=IS_WHOLE,
            is_unfinished=IS_UNFINISHED,
            choose_source=chosen(self.sources),
        )
        # Only root can create a folder below one of root's, so the user gets an empty one.
        return script(
            """
            mkdir -p "${record%/*}"
            rm -f "$record"
            echo begun >"$record"
            sync -f "$record"
            make_folder
            ( run_installer ) || exit
            inode=$(print_inode)
            echo "$inode" >"$record"
            sync -f "$record"
            rm -rf "$cache"
            """,
            path=self.path,
            record=record(self.path),
            cache=CACHE,
            make_folder=Directory(self.path, self.user).apply({}),
            print_inode=print_inode(self.path, self.user),
            run_installer=stamped(
                self.path, self.user, as_unit(UNIT, install, self.user), [self.name]
            ),
        )


def facts(output):
    """Return the facts about the server that the probe of `CondaPrefix` printed by name.

    Raises:
        ValueError: the output has no state.
    """
    names = "state|running|free|noexec|memory|glibc|machine"
    found = dict(re.findall(rf"^({names}) (.*)$", output, re.MULTILINE))
    if "state" not in found:
        raise ValueError("the probe printed no state")
    return found


def installer_needs(output):
    """Return what the header of the installer says that it needs, by name."""
    patterns = {
        "disk": r'size_kb="*(\d+)',
        "needs glibc": r">=([\d.]+)",
        "platform": r"PLAT: *(\S+)",
    }
    found = {name: re.search(pattern, output) for name, pattern in patterns.items()}
    return {name: match[1].rstrip(".") for name, match in found.items() if match}


def numbers(version):
    """Return the numbers in *version*, for comparing it with another."""
    return [int(part) for part in re.findall(r"\d+", version)]


@dataclass(frozen=True)
class CondaAbsent(Resource):
    """No conda of ours at this path, and no trace of it in the user's home.

    A conda that we did not install is a conflict.

    Args:
        path: the prefix.
        user: its owner.
        service: a systemd service that is stopped and disabled first if it runs from the prefix.
    """

    path: str
    user: str
    service: str = ""

    slow = True

    undo = "install-anaconda"

    def probe(self):
        read = script(
            """
            for file in "$HOME/.bashrc" "$HOME/.zshrc"; do
                [ ! -f "$file" ] || [ -z "$(conda_init block "$file")" ] || echo "block $file"
            done
            list=$HOME/.conda/environments.txt
            [ ! -f "$list" ] || grep -Fx -e "$path" "$list" | sed 's/^/listed /'
            """,
            path=self.path,
            conda_init=CONDA_INIT,
        )
        unfinished = script(
            'is_unfinished "$path" || exit 1',
            path=self.path,
            user=self.user,
            record=record(self.path),
            is_unfinished=IS_UNFINISHED,
        )
        owner = script('stat -c %U "$path" 2>/dev/null || echo another user', path=self.path)
        return program(
            "conda-absent-probe",
            path=self.path,
            record=record(self.path),
            print_owner=as_owner(self.user, owner, no_user="echo another user"),
            print_inode=print_inode(self.path, self.user),
            is_unfinished=as_owner(self.user, unfinished, no_user="exit 1"),
            read_home=as_owner(self.user, read, seconds=20, no_user=":"),
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
            return f"there is {actual['there']} now, which is left alone; remove it yourself"
        return None

    def diff(self, actual):
        if not actual["left"]:
            return ""
        lines = [f"-{self.path}"]
        if "block" in actual:
            lines.append(f"-the block of conda init in {actual['block']}")
        return "\n".join(lines)

    def apply(self, actual):
        remove = program("conda-remove", path=self.path, conda_init=CONDA_INIT)
        return script(
            """
            if [ -n "$service" ]; then
                case $(systemctl show -P ExecStart "$service" 2>/dev/null) in
                    *[=\\ ]"$path"/bin/*) systemctl disable -q --now "$service" ;;
                esac
            fi
            ( remove ) || exit
            rm -rf "$cache" "$record" "$stamp"
            rmdir -p "${record%/*}" "${stamp%/*}" 2>/dev/null || :
            [ ! -d "$path" ] || rmdir "$path"
            """,
            path=self.path,
            service=self.service,
            cache=CACHE,
            record=record(self.path),
            stamp=stamp(self.path),
            remove=as_unit(UNIT, remove, self.user),
        )

"""A file with a content of ours."""

from dataclasses import dataclass, field
from typing import ClassVar

from ..quote import Shell, sh, words
from .base import Resource, as_owner, stat_fields, unified

MARK = "Made by remote-jupyter"  # in the head of each file that is wholly ours


@dataclass(frozen=True)
class File(Resource):
    """A regular file with this *content*, owner, mode, and group (the owner's own where it is empty).

    It is written beside the old one and moved over it, so that there is always a whole one. *check* is a shell command that
    must like it: with ``{}`` in it, it is asked about the new file before that is in place, otherwise afterwards; where it
    fails, the old file is back. A file that is there without `MARK`, while *content* has it, is somebody else's.
    """

    path: str
    content: str = field(repr=False)  # it may be a private key
    owner: str = "root"
    group: str = ""
    mode: str = "0644"
    check: str = ""
    secret: bool = False

    PROBE: ClassVar[str] = """
        p={}
        if [ -L "$p" ]; then echo 'a symbolic link'
        elif [ -f "$p" ]; then stat -c '%U %G %a' "$p" && head -c 1000000 "$p"
        elif [ -e "$p" ]; then stat -c 'a %F' "$p"
        else echo absent; fi
    """

    undo = "rm {0.path}"

    def probe(self):
        return sh(self.PROBE, self.path)

    def parse(self, output):
        head, _, content = output.partition("\n")
        if head == "absent":
            return {"content": None}
        if head.startswith("a ") and not head[-1].isdigit():
            return {"content": None, "foreign": head}
        return {"content": content, **stat_fields(head)}

    def desired(self):
        desired = {"content": self.content, "owner": self.owner, "mode": self.mode}
        return desired | ({"group": self.group} if self.group else {})

    def conflict(self, actual):
        if "foreign" in actual:
            return f"there is {actual['foreign']} where a file of ours should be; move it away, then run this again"
        if actual["content"] is not None and MARK in self.content and MARK not in actual["content"]:
            return (
                "this file is not ours, and would be overwritten; move it away, then run this again"
            )
        return None

    def apply(self, actual):
        folder, _, name = self.path.rpartition("/")
        before = self.check.replace("{}", '"$new"') if "{}" in self.check else ":"
        after = ":" if "{}" in self.check else self.check or ":"
        script = sh(
            """
            p={} new=$(mktemp {}) old={}; trap 'rm -f "$new"' EXIT
            printf %s {} 2>/dev/null >"$new" || :
            size=$(wc -c <"$new")
            [ "$size" = {} ] || { echo "the disk is full: $size of {} bytes fit into ${p%/*}; make room there" >&2; exit 1; }
            chown {} "$new"; chmod {} "$new"
            {}
            if [ -e "$p" ]; then ln -f "$p" "$old"; else rm -f "$old"; fi
            mv -fT "$new" "$p"
            if ! { {}; }; then
                if [ -e "$old" ]; then mv -fT "$old" "$p"; else rm -f "$p"; fi
                echo 'the file as it was is back' >&2
                exit 1
            fi
            rm -f "$old"
            """,
            self.path,
            f"{folder}/.{name}.XXXXXX",
            f"{folder}/.{name}.old",
            self.content,
            *[len(self.content.encode("utf-8", "surrogateescape"))] * 2,
            f"{self.owner}:{self.group}",
            self.mode,
            Shell(before),
            Shell(after.strip()),
        )
        return as_owner(self.owner, self.path, script)

    def diff(self, actual):
        if self.secret:
            return (
                super()
                .diff(
                    {**actual, "content": "<secret>"} if actual["content"] is not None else actual
                )
                .replace(self.content, "<secret>")
            )
        old = actual["content"]
        lines = unified(self.path, lines_of(old or ""), lines_of(self.content))
        rest = [name for name in self.changed(actual) if name != "content" and old is not None]
        return "\n".join(
            filter(
                None,
                [lines, *(f"{name}: {actual[name]} -> {self.desired()[name]}" for name in rest)],
            )
        )


@dataclass(frozen=True)
class FileAbsent(Resource):
    """There is no file *path*; one that `MARK` does not show to be ours is not removed."""

    path: str

    undo = "the task that wrote {0.path} writes it again"

    def probe(self):
        return sh(File.PROBE, self.path)

    def parse(self, output):
        head, _, content = output.partition("\n")
        return {"state": "absent" if head == "absent" else "there", "ours": MARK in content}

    def desired(self):
        return {"state": "absent"}

    def conflict(self, actual):
        if actual["state"] == "there" and not actual["ours"]:
            return (
                "this file is not ours, and should not be there; move it away, then run this again"
            )
        return None

    def apply(self, actual):
        return sh("rm -f {}", self.path)


def lines_of(text):
    """Return the lines of *text*, and a note where the last one does not end, as diff has it."""
    return text.splitlines() + (
        ["\\ No newline at end of file"] if text and not text.endswith("\n") else []
    )


@dataclass(frozen=True)
class MovedAside(Resource):
    """What *owner* has at *path* is at *to* instead; where something is there already, that is refused."""

    path: str
    to: str
    owner: str = "root"

    undo = "mv {0.to} {0.path}"

    def probe(self):
        return sh(
            'for p in {} {}; do [ -e "$p" ] || [ -L "$p" ] && echo there || echo absent; done',
            self.path,
            self.to,
        )

    def parse(self, output):
        state, other = output.split()
        return {"state": state, "other": other}

    def desired(self):
        return {"state": "absent"}

    def conflict(self, actual):
        if actual["state"] == actual["other"] == "there":
            return f"it should be moved to {self.to}, and something is there already; move one of them away"
        return None

    def apply(self, actual):
        return as_owner(self.owner, self.path, sh("mv -T {} {}", self.path, self.to))


@dataclass(frozen=True)
class Withdrawn(Resource):
    """No file of ours is at *path*, and none of *links* leads to it; what is there without `MARK` is not ours, and stays."""

    path: str
    links: tuple[str, ...] = ()

    undo = "the task that wrote {0.path} writes it again"

    def probe(self):
        return sh(
            """
            p={}
            if [ -f "$p" ] && [ ! -L "$p" ] && grep -qF {} "$p"; then echo there
            elif [ -e "$p" ]; then echo 'not ours'
            else for link in {}; do [ "$(readlink -m "$link")" != "$p" ] || echo there; done; fi
            """,
            self.path,
            MARK,
            words(self.links or [""]),
        )

    def parse(self, output):
        return {"state": "there" if "there" in output.split() else "absent"}

    def desired(self):
        return {"state": "absent"}

    def apply(self, actual):
        return sh(
            """
            for link in {}; do [ "$(readlink -m "$link")" != {} ] || rm -f "$link"; done
            rm -f {}
            """,
            words(self.links or [""]),
            self.path,
            self.path,
        )

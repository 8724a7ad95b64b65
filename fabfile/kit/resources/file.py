"""Files: with a content, absent, or moved."""

from dataclasses import dataclass, field
from typing import Literal

from ..quote import Shell, program, script
from .base import Resource, stat_fields, unified
from .home import as_owner

MARK = "Made by remote-jupyter"  # in the first lines of every file that is wholly ours


@dataclass(frozen=True)
class File(Resource):
    """A regular file with this content, owner and mode.

    The new file is written beside the old one and moved over it, so that the path always holds a
    complete file. If *content* contains `MARK`, a file without it is a conflict, also if it
    appears after the probe.

    Args:
        path: where the file is. Its directory must exist.
        content: the whole text; bytes that are not UTF-8 are surrogate escapes.
        owner: the name of a user.
        group: the name of a group; empty means the owner's own group.
        mode: four octal digits.
        check: a shell command that must succeed. If it contains ``{}``, that becomes the new
            file, which is checked before it is moved into place; otherwise the command runs
            afterwards. If it fails, the old file is restored.
        secret: whether reports hide the content.
    """

    path: str
    content: str = field(repr=False)  # may be a private key
    owner: str = "root"
    group: str = ""
    mode: str = "0644"
    check: str = ""
    secret: bool = False

    undo = "rm {0.path}"

    def probe(self):
        code = script(
            """
            if [ -L "$path" ]; then echo 'a symbolic link'
            elif [ -f "$path" ] && [ ! -r "$path" ]; then echo "a file that $owner cannot read"
            elif [ -f "$path" ]; then stat -c '%U %G %a' "$path" && head -c 1000000 "$path"
            elif [ -e "$path" ]; then stat -c 'a %F' "$path"
            else echo absent; fi
            """,
            path=self.path,
            owner=self.owner,
        )
        return as_owner(self.owner, code, no_user="echo absent")

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
            return (
                f"{actual['foreign']} is in the place of the file; move it away and run this again"
            )
        if actual["content"] is not None and MARK in self.content and MARK not in actual["content"]:
            return "this file is not ours and would be overwritten; move it away and run this again"
        return None

    def apply(self, actual):
        folder, _, name = self.path.rpartition("/")
        before = "{}" in self.check
        is_theirs = script(
            '[ -L "$path" ] || ! head -c 1000000 "$path" | grep -qF "$mark"', mark=MARK
        )
        # Without a mark, only a file that the probe has not seen tells of others.
        appeared = Shell('[ -L "$path" ] || ! cmp -s "$new" "$path"')
        if MARK not in self.content:
            is_theirs = appeared if actual.get("content", "") is None else Shell("false")
        code = program(
            "write-file",
            path=self.path,
            folder=folder,
            template=f"{folder}/.{name}.XXXXXX",
            old=f"{folder}/.{name}.old",
            content=self.content,
            size=len(self.content.encode("utf-8", "surrogateescape")),
            owner=f"{self.owner}:{self.group}",
            mode=self.mode,
            is_theirs=is_theirs,
            check_new=Shell(self.check.replace("{}", '"$new"') if before else ":"),
            check_in_place=Shell(":" if before else self.check),
        )
        return as_owner(self.owner, code)

    def diff(self, actual):
        if self.secret:
            there = actual["content"] is not None
            hidden = super().diff({**actual, "content": "<secret>"} if there else actual)
            return hidden.replace(self.content, "<secret>")
        old = actual["content"]
        parts = [unified(self.path, lines_of(old or ""), lines_of(self.content))]
        if old is not None:
            names = [name for name in self.changed(actual) if name != "content"]
            parts += [f"{name}: {actual[name]} -> {self.desired()[name]}" for name in names]
        return "\n".join(filter(None, parts))


def lines_of(text):
    """Return the lines of *text*, with diff's note if the last one has no newline."""
    note = ["\\ No newline at end of file"] if text and not text.endswith("\n") else []
    return text.splitlines() + note


@dataclass(frozen=True)
class FileAbsent(Resource):
    """No file of ours is at a path.

    Args:
        path: where the file would be.
        foreign: what happens to a file without `MARK`. ``refuse`` makes it a conflict, ``keep``
            leaves it where it is.
        links: symbolic links that are removed too if they lead to *path*.
        owner: the user below whose home it is; root elsewhere.
    """

    path: str
    foreign: Literal["refuse", "keep"] = "refuse"
    links: tuple[str, ...] = ()
    owner: str = "root"

    undo = "run the task that wrote {0.path}"

    def probe(self):
        code = script(
            """
            ours() {
                [ -f "$path" ] && [ ! -L "$path" ] &&
                    head -c 1000000 "$path" | grep -qF "$mark"
            }
            if ours; then echo ours
            elif [ -e "$path" ] || [ -L "$path" ]; then echo foreign
            else echo absent; fi
            for link in "$@"; do [ "$(readlink -m "$link")" != "$path" ] || echo link; done
            """,
            *self.links,
            path=self.path,
            mark=MARK,
        )
        return as_owner(self.owner, code, no_user="echo absent")

    def parse(self, output):
        file, *links = output.split()
        if file == "foreign":
            return {"state": "absent" if self.foreign == "keep" else "foreign"}
        return {"state": "there" if file == "ours" or links else "absent"}

    def desired(self):
        return {"state": "absent"}

    def conflict(self, actual):
        if actual["state"] == "foreign":
            return "this file is not ours and must not be there; move it away and run this again"
        return None

    def apply(self, actual):
        code = script(
            """
            if [ -f "$path" ] && [ ! -L "$path" ] &&
                head -c 1000000 "$path" | grep -qF "$mark"; then
                rm -f "$path"
            elif [ "$foreign" = refuse ] && { [ -e "$path" ] || [ -L "$path" ]; }; then
                echo "$path has been written by someone else during this run; move it away" >&2
                exit 1
            fi
            for link in "$@"; do
                [ "$(readlink -m "$link")" != "$path" ] || rm -f "$link"
            done
            """,
            *self.links,
            path=self.path,
            mark=MARK,
            foreign=self.foreign,
        )
        return as_owner(self.owner, code)


@dataclass(frozen=True)
class MovedAside(Resource):
    """Whatever was at a path is at another one.

    It is a conflict if both paths exist.

    Args:
        path: the old place.
        to: the new place.
        owner: the user who moves it.
    """

    path: str
    to: str
    owner: str = "root"

    undo = "mv {0.to} {0.path}"

    def probe(self):
        code = script(
            """
            for path in "$@"; do
                if [ -e "$path" ] || [ -L "$path" ]; then echo there; else echo absent; fi
            done
            """,
            self.path,
            self.to,
        )
        return as_owner(self.owner, code, no_user="echo absent; echo absent")

    def parse(self, output):
        state, other = output.split()
        return {"state": state, "other": other}

    def desired(self):
        return {"state": "absent"}

    def conflict(self, actual):
        if actual["state"] == actual["other"] == "there":
            return f"{self.to} is in the way; move one of the two away and run this again"
        return None

    def apply(self, actual):
        code = script('mv -T "$path" "$to"', path=self.path, to=self.to)
        return as_owner(self.owner, code)

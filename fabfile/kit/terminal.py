"""The operator's terminal: whole lines, also when several hosts print at once, and questions."""

import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

# Held while something is printed, and while a person is asked something.
screen = threading.RLock()
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def say(text: str, stream: TextIO | None = None) -> None:
    """Print one text, without mixing it with those of other hosts."""
    stream = stream or sys.stdout
    with screen:
        clear = "\r\x1b[K" if sys.stdout.isatty() else ""
        # A host's answer may hold bytes that are no text.
        try:
            stream.write(clear + text.encode(errors="replace").decode() + "\n")
            stream.flush()
        except BrokenPipeError:
            # The reader has gone (| head); the run goes on, as it would be half done otherwise.
            sys.stdout = open(os.devnull, "w", encoding="utf-8")


def coloured(text: str, colour: str | None) -> str:
    """Return *text* in an ANSI colour if standard output is a terminal and NO_COLOR is not set."""
    return (
        f"\x1b[{colour}m{text}\x1b[0m"
        if colour and sys.stdout.isatty() and "NO_COLOR" not in os.environ
        else text
    )


def indented(text: str) -> str:
    """Return *text* with each line moved to the right."""
    return "\n".join(f"    {line}" for line in text.splitlines())


def printable(text: str) -> str:
    """Return *text* without control characters, so that a server cannot write to the terminal."""
    return _CONTROL.sub("?", text.replace("\r\n", "\n"))


@contextmanager
def asking() -> Iterator[None]:
    """Stop the display of all hosts while the operator is asked something."""
    with screen:
        if sys.stdout.isatty():
            sys.stdout.write("\r\x1b[K")
            sys.stdout.flush()
        yield


def has_terminal() -> bool:
    """Whether there is a person to ask."""
    return sys.stdin.isatty()


def answered_yes(question: str) -> bool:
    """Ask on the terminal; return whether the answer is yes."""
    with asking():
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")

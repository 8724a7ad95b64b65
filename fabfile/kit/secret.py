"""Passwords and hashes that never show."""

import getpass
import os
import secrets
import sys
from pathlib import Path
from typing import Any, NoReturn


class Secret:
    """A text that repr, str, format and pickle do not show; `reveal` returns it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text, for the root shell's standard input or for the operator's eyes."""
        return self._text

    def __repr__(self) -> str:
        return "<secret>"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "<secret>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")

    def hashed(self, scheme: str) -> str:
        """Return the hash of the text by *scheme*: ``argon2`` (argon2id) or ``sha512_crypt``."""
        return _scheme(scheme).hash(self._text)

    def matches(self, scheme: str, stored: str) -> bool:
        """Return whether *stored* is a hash of this text by *scheme*."""
        try:
            return _scheme(scheme).verify(self._text, stored)
        except ValueError:
            return False


def _scheme(name: str) -> Any:
    import passlib.hash

    return getattr(passlib.hash, name)


def generated() -> Secret:
    """Return a new random password of 20 characters that are easy to tell apart."""
    alphabet = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
    return Secret("".join(secrets.choice(alphabet) for _ in range(20)))


def given(name: str, ask: bool = False) -> Secret | None:
    """Return the password that the operator has given as *name*, or None.

    It comes from the environment variable *name*, from the file that ``<name>_FILE`` names, or
    with *ask* from a prompt on the terminal.

    Raises:
        ValueError: it cannot be read, or has characters that no one can type.
    """
    text = os.environ.get(name)
    if text is None and (path := os.environ.get(f"{name}_FILE")):
        try:
            text = Path(path).expanduser().read_text(encoding="utf-8").removesuffix("\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "is not UTF-8 text"
            raise ValueError(f"{name}_FILE={path}: {reason}") from None
    if text is None and ask:
        text = prompt_twice(name)
    if text is None:
        return None
    if not text or not text.isprintable():
        raise ValueError(f"{name}: is empty or has a control character; use printable characters")
    return Secret(text)


def prompt(question: str) -> Secret:
    """Return what the operator types at a prompt, which does not show it."""
    return Secret(getpass.getpass(question))


def prompt_twice(name: str) -> str:
    """Return what the operator types twice; raises ValueError without a terminal."""
    if not sys.stdin.isatty():
        raise ValueError(f"{name}: there is no terminal to ask on; set it in the environment")
    while True:
        text = getpass.getpass(f"{name}: ")
        if text == getpass.getpass("again: "):
            return text
        print("These differ; try again.", file=sys.stderr)

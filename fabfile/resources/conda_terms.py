"""Terms of service that the operator must accept before something is downloaded."""

import json
import sys
import threading
from dataclasses import dataclass

from ..kit.quote import Shell, script, sh
from ..kit.resources.base import CANNOT_KNOW, Resource
from ..kit.resources.home import as_owner
from ..kit.resources.unit import PROXIES, as_unit
from .conda import UNIT

_answers = {}  # by question: what the operator answered in this process, for all hosts
_lock = threading.Lock()


@dataclass(frozen=True)
class Agreement:
    """The operator's answer to a yes-or-no question.

    Args:
        question: the question.
        given: whether the settings say yes already.
        asks: whether the operator may be asked on the terminal.
    """

    question: str
    given: bool = False
    asks: bool = False

    def holds(self):
        """Return whether the answer is yes, without asking."""
        return self.given or _answers.get(self.question, False)

    def ask(self):
        """Return whether the answer is yes; ask once for all hosts, and only on a terminal."""
        with _lock:
            known = self.given or self.question in _answers
            if self.asks and not known and sys.stdin.isatty():
                answer = input(f"{self.question} [yes/no] ")
                _answers[self.question] = answer.strip().lower() in ("y", "yes")
        return self.holds()


@dataclass(frozen=True)
class Terms(Resource):
    """Terms of service that the operator has accepted, or does not need to accept.

    Args:
        name: what the terms are for.
        url: where to read them.
        agreement: the operator's acceptance.
        unless: a shell command that succeeds if nothing needs to be downloaded.
        advice: what else the operator can do.
        foretells: warn about missing acceptance instead of refusing, as in a dry run.
    """

    name: str
    url: str
    agreement: Agreement
    unless: Shell
    advice: str
    foretells: bool = False

    read_only = True

    def probe(self):
        return script("if needless; then echo needless; else echo needed; fi", needless=self.unless)

    def parse(self, output):
        needed = output.strip() == "needed" and not self.agreement.holds()
        return {"needed": needed, "warning": self.why if needed and self.foretells else ""}

    @property
    def why(self):
        """What is missing, and what to do."""
        return f"nothing is downloaded before you accept {self.url}: {self.advice}"

    def desired(self):
        return {}

    def conflict(self, actual):
        if not actual["needed"] or self.foretells or self.agreement.ask():
            return None
        return self.why


@dataclass(frozen=True)
class ChannelTerms(Resource):
    """The terms of these conda channels, accepted for a user if the operator agreed.

    Args:
        path: the conda's prefix.
        user: the user.
        channels: URLs of channels.
        agreement: the operator's acceptance; without it, nothing is changed.
    """

    path: str
    user: str
    channels: tuple[str, ...]
    agreement: Agreement

    undo = "{0.path}/bin/conda tos reject"

    def probe(self):
        read = script(
            """
            [ -s "$path/conda-meta/history" ] || exit "$cannot_know"
            ls -d "$path"/conda-meta/conda-anaconda-tos-[0-9]*.json 2>/dev/null || :
            for file in "$HOME"/.conda/tos/*/*.json "$path"/conda-meta/tos/*/*.json \\
                /etc/conda/tos/*/*.json; do
                [ ! -f "$file" ] || head -c 100000 "$file" 2>/dev/null || :
            done
            """,
            path=self.path,
            cannot_know=CANNOT_KNOW,
        )
        return as_owner(self.user, read, seconds=20, no_user=sh("exit {}", CANNOT_KNOW))

    def parse(self, output):
        # Only a conda with the package conda-anaconda-tos asks for acceptance.
        if "/conda-anaconda-tos-" not in output:
            return dict.fromkeys(self.channels, "accepted")
        accepted = {
            entry.get("base_url") for entry in json_objects(output) if entry.get("tos_accepted")
        }
        return {one: "accepted" if one in accepted else None for one in self.channels}

    def desired(self):
        return dict.fromkeys(self.channels, "accepted") if self.agreement.holds() else {}

    def apply(self, actual):
        accept = script(
            """
            use_proxies
            for channel; do
                "$path/bin/conda" tos accept --override-channels --channel "$channel"
            done
            """,
            *self.changed(actual),
            path=self.path,
            use_proxies=PROXIES,
        )
        return as_unit(UNIT, accept, self.user)


def json_objects(output):
    """Yield each JSON object in *output*.

    Raises:
        ValueError: what begins like an object is none, or the output was cut off.
    """
    decoder, at = json.JSONDecoder(), output.find("{")
    while at >= 0:
        entry, at = decoder.raw_decode(output, at)
        yield entry
        at = output.find("{", at)

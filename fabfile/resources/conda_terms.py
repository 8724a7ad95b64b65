"""Terms that the operator must accept before something is fetched."""

import json
import sys
import threading
from dataclasses import dataclass

from ..kit.quote import Shell, sh
from ..kit.resources.base import CANNOT_KNOW, Resource
from ..kit.resources.unit import PROXIES, as_unit
from .conda import UNIT

_answers = {}  # of one command line, by question


_lock = threading.Lock()


@dataclass(frozen=True)
class Agreement:
    """The operator's yes to *question*: *given* beforehand, or by prompt where *asks* says that there may be one."""

    question: str
    given: bool = False
    asks: bool = False

    def holds(self):
        """Return whether the answer was yes."""
        return self.given or _answers.get(self.question, False)

    def ask(self):
        """Return the answer; it is asked for once, also for many hosts, and only on a terminal."""
        with _lock:
            if (
                self.asks
                and not self.given
                and self.question not in _answers
                and sys.stdin.isatty()
            ):
                _answers[self.question] = input(f"{self.question} [yes/no] ").strip().lower() in (
                    "y",
                    "yes",
                )
        return self.holds()


@dataclass(frozen=True)
class Terms(Resource):
    """The terms of *name* at *url*, which must be accepted before it is fetched, and so not where *unless* succeeds.

    *advice* says what else the operator can do. What only *foretells* warns and does not refuse.
    """

    name: str
    url: str
    agreement: Agreement
    unless: Shell
    advice: str
    foretells: bool = False

    read_only = True

    def probe(self):
        return sh("if {}; then echo needless; else echo needed; fi", self.unless)

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
        return (
            self.why
            if actual["needed"] and not self.foretells and not self.agreement.ask()
            else None
        )


@dataclass(frozen=True)
class ChannelTerms(Resource):
    """The terms of conda's *channels*, accepted for *user* in the conda at *path* where the operator agreed, and never else."""

    path: str
    user: str
    channels: tuple[str, ...]
    agreement: Agreement

    undo = "{0.path}/bin/conda tos reject"

    def probe(self):
        return sh(
            """
            p={} home=$(getent passwd {} | cut -d: -f6)
            [ -s "$p/conda-meta/history" ] || exit {}
            ls -d "$p"/conda-meta/conda-anaconda-tos-[0-9]*.json 2>/dev/null
            cat "$home"/.conda/tos/*/*.json "$p"/conda-meta/tos/*/*.json /etc/conda/tos/*/*.json 2>/dev/null; :
            """,
            *(self.path, self.user, CANNOT_KNOW),
        )

    def parse(self, output):
        if "/conda-anaconda-tos-" not in output:
            return dict.fromkeys(self.channels, "accepted")  # this conda asks for none
        accepted, decoder, at = set(), json.JSONDecoder(), output.find("{")
        while at >= 0:
            entry, at = decoder.raw_decode(output, at)
            accepted |= {entry.get("base_url")} if entry.get("tos_accepted") else set()
            at = output.find("{", at)
        return {one: "accepted" if one in accepted else None for one in self.channels}

    def desired(self):
        return dict.fromkeys(self.channels, "accepted") if self.agreement.holds() else {}

    def apply(self, actual):
        accept = "{} tos accept --override-channels --channel {}\n"
        steps = [sh(accept, f"{self.path}/bin/conda", one) for one in self.changed(actual)]
        return as_unit(UNIT, PROXIES + "".join(steps), self.user)

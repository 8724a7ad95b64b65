"""A file that holds the hash of a password."""

import json
from dataclasses import dataclass, field

from ..kit.quote import sh
from ..kit.resources import Service
from ..kit.resources.base import Resource
from ..kit.resources.file import File
from ..kit.secret import Secret, generated


@dataclass(frozen=True)
class PasswordFile(Resource):
    """A file at *path*, for *owner* only, with *prefix* and the argon2id hash of *password*.

    A hash that is there stays while it fits. Without a *password*, any hash will do; where there is none, a password is
    generated and told once.
    """

    path: str
    owner: str
    password: Secret | None = None
    prefix: str = ""
    purpose: str = "password"
    told: list = field(default_factory=list, compare=False, repr=False)

    undo = "set-password, or rm {0.path}"

    def probe(self):
        return sh(File.PROBE, self.path)

    def parse(self, output):
        actual = File(self.path, "").parse(output)
        stored = (actual.pop("content") or "").strip()
        if not stored.startswith(f"{self.prefix}$argon2"):
            actual["password"] = None if not stored else "no argon2 hash"
        elif self.password and not self.password.matches(
            "argon2", stored.removeprefix(self.prefix)
        ):
            actual["password"] = "another"
        else:
            actual |= {"password": "set", "stored": Secret(stored)}
        return actual

    def desired(self):
        return {"password": "set", "owner": self.owner, "mode": "0600"}

    def conflict(self, actual):
        return (
            f"there is {actual['foreign']} where a file of ours should be; move it away"
            if "foreign" in actual
            else None
        )

    def apply(self, actual):
        content = (
            actual["stored"].reveal()
            if "stored" in actual
            else self.prefix + self.chosen().hashed("argon2")
        )
        return File(self.path, f"{content}\n", self.owner, mode="0600", secret=True).apply(
            {"content": None}
        )

    def chosen(self):
        """Return the password, a new one where none was given."""
        if not self.password:
            self.told.append(generated())
        return self.password or self.told[-1]

    def notice(self):
        return (
            f"The {self.purpose} is now: {self.told[-1].reveal()}   It is shown only this once."
            if self.told
            else None
        )


RUNTIME = ".local/share/jupyter/runtime"


# Asks until the server answers; by then its note is there. Status 3: it runs with other settings than these.
READY = """
import glob, json, os, ssl, sys, urllib.request
url, runtime, wanted = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
try:
    # Only whether it answers: a certificate is not for this address.
    urllib.request.urlopen(url, timeout=5, context=ssl._create_unverified_context())
except OSError:
    sys.exit(1)
notes = []
for name in glob.glob(runtime + "/jpserver-*.json"):
    if os.path.exists("/proc/" + name.rpartition("-")[2].partition(".")[0]):
        with open(name) as file:
            notes.append(json.load(file))
if not any(all(note.get(key) == value for key, value in wanted.items()) for note in notes):
    for note in notes:
        wrong = ["%s is %r and not %r" % (key, note.get(key), wanted[key]) for key in wanted if note.get(key) != wanted[key]]
        print("Jupyter runs with other settings than those that were written:", ", ".join(wrong), file=sys.stderr)
    sys.exit(3)
"""


def ready(name, user, url, home, wanted):
    """Return shell text that succeeds when Jupyter answers with the settings *wanted*; others end the waiting (s=1, and why)."""
    # Whoever has Jupyter's password can change its Python, so that is never root's; which one it is, the unit *name* says.
    ask = sh(
        """runuser -u {} -- env "$(systemctl show -P Environment {} | grep -o 'PATH=[^ ]*')" python3 -I -c {} {} {} {}""",
        *(
            user,
            f"{name}.service",
            READY,
            url,
            f"{home}/{RUNTIME}",
            json.dumps(wanted, sort_keys=True),
        ),
    )
    return sh("{ why=$({} 2>&1); r=$?; [ $r != 3 ] || s=1; [ $r = 0 ]; }", ask)


@dataclass(frozen=True)
class LoadedSettings(Resource):
    """The service, while it runs, has loaded the settings *wanted* (as JSON), and not those that it found elsewhere or before."""

    service: Service
    home: str
    wanted: str

    undo = "nothing is left: it restarts what runs with older settings"

    @property
    def label(self):
        return f"LoadedSettings {self.service.name}"

    def probe(self):
        return sh(
            """
            systemctl is-active -q {} && cd {} 2>/dev/null || exit 0
            for f in jpserver-*.json; do
                pid=${f#jpserver-}
                [ ! -d "/proc/${pid%.json}" ] || { cat "$f"; printf '\\000'; }
            done
            """,
            self.service.name,
            f"{self.home}/{RUNTIME}",
        )

    def parse(self, output):
        notes = [json.loads(text) for text in output.split("\0") if text.strip()]
        keys = self.desired()
        actual = [{key: note.get(key) for key in keys} for note in notes]
        # One that does not run yet is the service's affair, and is asked when it starts.
        return keys if not actual or keys in actual else actual[0]

    def desired(self):
        return json.loads(self.wanted)

    def apply(self, actual):
        return self.service.restart.script

    def supersedes(self, actual):
        return (self.service.restart.name,)

"""Jupyter's password file, and the settings that a running Jupyter has loaded."""

import json
from dataclasses import dataclass, field

from ..kit.quote import script, sh
from ..kit.resources import Service
from ..kit.resources.base import Resource
from ..kit.resources.file import File
from ..kit.resources.home import as_owner
from ..kit.secret import Secret, generated


@dataclass(frozen=True)
class PasswordFile(Resource):
    """A file, readable by its owner only, that holds the argon2id hash of a password.

    A stored hash that matches the password stays. Without a password any hash is accepted; if
    there is none, a password is generated and shown once.

    Args:
        path: the file.
        owner: its owner.
        password: the password, or None.
        prefix: text before the hash.
        purpose: what to call the password when a generated one is shown.
        told: receives the generated password.
    """

    path: str
    owner: str
    password: Secret | None = None
    prefix: str = ""
    purpose: str = "password"
    told: list = field(default_factory=list, compare=False, repr=False)

    undo = "set-password, or rm {0.path}"

    @property
    def _file(self):
        return File(self.path, "", self.owner)

    def probe(self):
        return self._file.probe()

    def parse(self, output):
        actual = self._file.parse(output)
        stored = (actual.pop("content") or "").strip()
        if not stored.startswith(f"{self.prefix}$argon2"):
            actual["password"] = "no argon2 hash" if stored else None
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
        if "foreign" not in actual:
            return None
        return f"there is {actual['foreign']} where a file of ours should be; move it away"

    def apply(self, actual):
        if "stored" in actual:
            content = actual["stored"].reveal()
        else:
            content = self.prefix + self.chosen().hashed("argon2")
        file = File(self.path, f"{content}\n", self.owner, mode="0600", secret=True)
        return file.apply({})

    def chosen(self):
        """Return the password; generate one if none was given."""
        if not self.password:
            self.told.append(generated())
        return self.password or self.told[-1]

    def notice(self, output=""):
        if not self.told:
            return None
        return f"The {self.purpose} is now: {self.told[-1].reveal()}   It is shown only this once."


# Where Jupyter writes a JSON file about each running server, below the home.
RUNTIME = ".local/share/jupyter/runtime"

# Ask the server once. Exit status 1: it does not answer; 3: it runs with other settings.
# Once it answers, its file is written.
READY = """
import glob, json, os, ssl, sys, urllib.request
url, runtime, wanted = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
try:
    # The certificate is for another name than this address.
    urllib.request.urlopen(url, timeout=5, context=ssl._create_unverified_context())
except OSError:
    sys.exit(1)
notes = []
for name in glob.glob(runtime + "/jpserver-*.json"):
    if os.path.exists("/proc/" + name.rpartition("-")[2].partition(".")[0]):
        with open(name) as file:
            note = json.load(file)
            notes.append(note if isinstance(note, dict) else {})
if not any(all(note.get(key) == value for key, value in wanted.items()) for note in notes):
    for note in notes:
        wrong = ["%s is %r and not %r" % (key, note.get(key), wanted[key])
                 for key in wanted if note.get(key) != wanted[key]]
        print("Jupyter runs with other settings than the configured ones:", ", ".join(wrong),
              file=sys.stderr)
    sys.exit(3)
"""


def ready(user, url, home, prefix, wanted):
    """Return a shell command for `Service` that succeeds when Jupyter answers with its settings.

    Args:
        user: the user that it runs as.
        url: where it answers without a password.
        home: the user's home.
        prefix: the environment that it runs in, whose Python asks.
        wanted: settings that it must have loaded, by Jupyter's own names.

    Returns:
        Shell code that sets ``why``, and ``s=1`` to end the waiting if it runs with others.
    """
    # A process of Jupyter can change its Python, so only the user runs that.
    ask = script(
        """
        PATH=$prefix/bin:/usr/local/bin:/usr/bin:/bin
        python3 -I -c "$program" "$url" "$runtime" "$wanted"
        """,
        prefix=prefix,
        program=READY,
        url=url,
        runtime=f"{home}/{RUNTIME}",
        wanted=json.dumps(wanted, sort_keys=True),
    )
    judge = script(
        """
        why=$(ask 2>&1) && r=0 || r=$?
        [ "$r" != 3 ] || s=1
        [ "$r" = 0 ]
        """,
        ask=as_owner(user, ask, seconds=20),
    )
    return sh("{ {}\n}", judge)


@dataclass(frozen=True)
class LoadedSettings(Resource):
    """A running Jupyter has loaded its present settings, and not older or other ones.

    Args:
        service: Jupyter's service.
        user: the user that it runs as.
        wanted: the settings by Jupyter's own names, as JSON.
    """

    service: Service
    user: str
    wanted: str

    undo = "nothing to undo: it only restarts what runs with older settings"

    @property
    def label(self):
        return f"LoadedSettings {self.service.name}"

    def probe(self):
        read = script(
            """
            cd "$HOME/$runtime" 2>/dev/null || exit 0
            for f in jpserver-*.json; do
                pid=${f#jpserver-}
                [ -d "/proc/${pid%.json}" ] && [ -f "$f" ] || continue
                head -c 100000 "$f" 2>/dev/null || continue
                printf '\\000'
            done
            """,
            runtime=RUNTIME,
        )
        return script(
            """
            systemctl is-active -q "$service" || exit 0
            read_notes
            """,
            service=self.service.name,
            read_notes=as_owner(self.user, read, seconds=20, no_user=":"),
        )

    def parse(self, output):
        notes = [json.loads(text) for text in output.split("\0") if text.strip()]
        if not all(isinstance(note, dict) for note in notes):
            raise ValueError("a file of Jupyter holds no JSON object")
        desired = self.desired()
        actual = [{key: note.get(key) for key in desired} for note in notes]
        # A server that does not run yet is asked by its service when it starts.
        return desired if not actual or desired in actual else actual[0]

    def desired(self):
        return json.loads(self.wanted)

    def apply(self, actual):
        return self.service.restart.script

    def supersedes(self, actual):
        return (self.service.restart.name,)

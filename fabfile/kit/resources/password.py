"""A file that holds the hash of a password."""

from dataclasses import dataclass, field

from ..quote import sh
from ..secret import Secret, generated
from .base import Resource
from .file import File


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
        seen = File(self.path, "").parse(output)
        stored = (seen.pop("content") or "").strip()
        if not stored.startswith(f"{self.prefix}$argon2"):
            seen["password"] = None if not stored else "no argon2 hash"
        elif self.password and not self.password.matches("argon2", stored.removeprefix(self.prefix)):
            seen["password"] = "another"
        else:
            seen |= {"password": "set", "stored": Secret(stored)}
        return seen

    def want(self):
        return {"password": "set", "owner": self.owner, "mode": "0600"}

    def refuse(self, seen):
        return f"there is {seen['foreign']} where a file of ours should be; move it away" if "foreign" in seen else None

    def apply(self, seen):
        content = seen["stored"].reveal() if "stored" in seen else self.prefix + self.chosen().hashed("argon2")
        return File(self.path, f"{content}\n", self.owner, mode="0600", secret=True).apply({"content": None})

    def chosen(self):
        """Return the password, a new one where none was given."""
        if not self.password:
            self.told.append(generated())
        return self.password or self.told[-1]

    def notice(self):
        return f"The {self.purpose} is now: {self.told[-1].reveal()}   It is shown only this once." if self.told else None

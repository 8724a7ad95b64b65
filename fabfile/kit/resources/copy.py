"""A certificate and its key, copied to where a server reads them."""

from dataclasses import dataclass

from ..quote import sh
from .base import Resource


@dataclass(frozen=True)
class CertificateCopy(Resource):
    """The *certificate* and its *key* as cert.pem and key.pem in the folder *path*; the key is for root and *group* only.

    Where there is no such certificate there is nothing to copy, which is fine unless the copy is *needed*.
    """

    path: str
    certificate: str
    key: str
    group: str = "root"
    mode: str = "0600"  # of the key
    needed: bool = True

    undo = "rm -r {0.path}"

    def probe(self):
        return sh(
            """
            from={} key={} to={}
            if [ -L "$to/cert.pem" ] || [ -L "$to/key.pem" ]; then echo foreign
            elif [ ! -s "$from" ]; then echo nothing to copy
            elif cmp -s "$from" "$to/cert.pem" && cmp -s "$key" "$to/key.pem"; then echo same
            else echo another; fi
            stat -c '%U %G %a' "$to/key.pem" 2>/dev/null; :
            """,
            self.certificate,
            self.key,
            self.path,
        )

    def parse(self, output):
        state, _, head = output.strip().partition("\n")
        return {"copy": state, "key": head or None}

    def want(self):
        return {"copy": "same", "key": f"root {self.group} {self.mode.lstrip('0')}"}

    def differs(self, seen):
        # What is to be copied may be made in the same run, and its handler copies it where a copy is there already.
        fine = seen["copy"] == "nothing to copy" and (seen["key"] or not self.needed)
        return [] if fine else super().differs(seen)

    def refuse(self, seen):
        if seen["copy"] == "foreign":
            return f"there is a symbolic link in {self.path} where a file of ours should be; move it away, then run this again"
        return None

    def apply(self, seen):
        # The two are renamed by one program, as a server may read them at any time.
        return sh(
            """
            if [ -s {} ]; then
                new=$(mktemp -d {})
                if ! { install -g {} -m {} {} "$new/key.pem" && install -m 0644 {} "$new/cert.pem" &&
                    mv -f "$new/key.pem" "$new/cert.pem" {}; }; then rm -rf "$new"; exit 1; fi
                rm -rf "$new"
            fi
            """,
            self.certificate,
            f"{self.path}/.new.XXXXXX",
            self.group,
            self.mode,
            self.key,
            self.certificate,
            f"{self.path}/",
        )


@dataclass(frozen=True)
class NoCopy(Resource):
    """There is no copy of a certificate and its key in the folder *path*, nor the folder, unless it holds something else."""

    path: str

    undo = "the certificate itself is still there; issue-cert copies it again"

    def probe(self):
        return sh("cd {} 2>/dev/null && ls -d cert.pem key.pem .new.* 2>/dev/null; :", self.path)

    def parse(self, output):
        return {"copy": "there" if output.strip() else "none"}

    def want(self):
        return {"copy": "none"}

    def apply(self, seen):
        return sh("cd {}\nrm -rf cert.pem key.pem .new.*\ncd /\nrmdir --ignore-fail-on-non-empty {}", self.path, self.path)

"""What is in a conda's base environment, and what a user's shell knows of it."""

import json
import re
from dataclasses import dataclass

from ..kit.quote import sh, words
from ..kit.resources.base import CANNOT_KNOW, Resource
from ..kit.resources.unit import PROXIES, as_unit
from .conda import BLOCK, UNIT
from .conda_terms import Agreement
from .pip import RECORD, installed


@dataclass(frozen=True)
class CondaPackages(Resource):
    """Packages in the base environment of the conda at *path*, such as ``jupyterlab`` or ``notebook==7.5.*``.

    Those that are missing are installed by conda, which itself stays at its version. What pip installed counts too.
    """

    path: str
    user: str
    packages: tuple[str, ...]

    needs_reprobe = slow = True

    undo = "{0.path}/bin/conda remove {1}"

    @property
    def label(self):
        """The kind and the packages."""
        return f"CondaPackages {' '.join(self.packages)}"

    def probe(self):
        return sh(
            """
            cd {} 2>/dev/null && [ -s conda-meta/history ] || exit {}
            ls -d conda-meta/*-*-*.json lib/python3*/site-packages/*.dist-info/RECORD 2>/dev/null; :
            """,
            *(self.path, CANNOT_KNOW),
        )

    def parse(self, output):
        return installed(
            self.packages,
            RECORD.findall(output) + re.findall(r"conda-meta/(.+)-([^-/]+)-[^-/]+\.json", output),
        )

    def desired(self):
        return dict.fromkeys(self.packages, "installed")

    def apply(self, actual):
        script = sh(
            """
            p={} said=$(mktemp); trap 'rm -f "$said"' EXIT
            export CONDA_AUTO_UPDATE_CONDA=false
            {}
            s=0; "$p/bin/conda" install --yes --prefix "$p" {} </dev/null 2>"$said" || s=$?
            cat "$said" >&2
            ! grep -q CondaToS "$said" || echo 'accept them for conda by python.accept_terms: true, or use miniforge' >&2
            exit $s
            """,
            *(self.path, PROXIES, words(map(specification, self.changed(actual)))),
        )
        return as_unit(UNIT, script, self.user)


def specification(package):
    """Return *package*, as pip names it with a version, in conda's own way: there, ``==4.*`` is ``=4``."""
    from packaging.requirements import Requirement

    requirement = Requirement(package)
    versions = []
    for one in requirement.specifier:
        text = f"{one.operator}{one.version}"
        versions.append(re.sub(r"^==(.*)\.\*$", r"=\1", text.replace("===", "==")))
    return requirement.name + ",".join(sorted(versions))


@dataclass(frozen=True)
class CondaUpdates(Resource):
    """The newest *packages*, ``conda`` among them, that conda finds for the base environment of the conda at *path*."""

    path: str
    user: str
    packages: tuple[str, ...]
    agreement: Agreement | None = None

    needs_reprobe = slow = True

    undo = "{0.path}/bin/conda install --revision N, which conda list --revisions names"

    @property
    def label(self):
        """The kind and the packages."""
        return f"CondaUpdates {' '.join(self.packages)}"

    def probe(self):
        # Its caches go elsewhere, as a question changes nothing.
        return sh(
            """
            p={} user={}
            [ -s "$p/conda-meta/history" ] || exit {}
            home=$(getent passwd "$user" | cut -d: -f6)
            {}
            cache=$(mktemp -d); trap 'rm -rf "$cache"' EXIT; chown "$user": "$cache"
            said=$(runuser -u "$user" -- env HOME="$home" CONDA_PKGS_DIRS="$cache" XDG_CACHE_HOME="$cache" \\
                timeout 300 "$p/bin/conda" update -n base {} --dry-run --json 2>&1 </dev/null) || :
            # What the operator agreed to is accepted before the updates: conda answers then.
            case {}$said in yes*CondaToS*) exit {};; esac
            printf '%s\\n' "$said"
            """,
            *(self.path, self.user, CANNOT_KNOW, PROXIES, words(self.packages)),
            *("yes" if self.agreement and self.agreement.holds() else "", CANNOT_KNOW),
        )

    def parse(self, output):
        # Warnings may stand before it and after it.
        begin = re.search("^{", output, re.MULTILINE)
        answer, _ = json.JSONDecoder().raw_decode(output, begin.start() if begin else 0)
        if "error" in answer or not answer.get("success", True):
            return {
                "updates": None,
                "error": str(answer.get("error", "it did not say why")).strip(),
            }
        actions = answer.get("actions") or {}
        old = {one["name"]: one["version"] for one in actions.get("UNLINK", ())}
        moves = [
            f"{one['name']} {old.get(one['name'], 'new')} -> {one['version']}"
            for one in actions.get("LINK", ())
        ]
        return {"updates": ", ".join(moves)}

    def desired(self):
        return {"updates": ""}

    def conflict(self, actual):
        return f"conda cannot tell what is new: {actual['error']}" if "error" in actual else None

    def diff(self, actual):
        moves = (
            actual["updates"].split(", ")
            if actual["updates"]
            else ["what conda cannot tell"]
            if "error" in actual
            else []
        )
        return "\n".join(f"+{move}" for move in moves)

    def apply(self, actual):
        update = sh(
            "{} update --yes -n base {} </dev/null", f"{self.path}/bin/conda", words(self.packages)
        )
        return as_unit(UNIT, PROXIES + update, self.user)


@dataclass(frozen=True)
class CondaInit(Resource):
    """The login shell of *user* knows the conda at *path*, as ``conda init`` does it; another conda that it knows stays."""

    path: str
    user: str

    undo = "{0.path}/bin/conda init --reverse"

    def probe(self):
        return sh(
            """
            p={} user={}
            entry=$(getent passwd "$user") || { echo 'shell bash'; echo state absent; exit 0; }
            home=$(echo "$entry" | cut -d: -f6); shell=${entry##*/}
            case $shell in zsh) file=.zshrc;; *) shell=bash file=.bashrc;; esac
            echo "shell $shell"
            {}
            other=$(sed -n "s/^__conda_setup=.*'\\(\\/[^']*\\)\\/bin\\/conda'.*/\\1/p" "$home/$file" 2>/dev/null | head -n 1)
            if [ -n "$(block "$home/$file")" ]; then echo state known
            elif [ -n "$other" ] && [ -x "$other/bin/conda" ]; then echo "state $other"
            else echo state absent; fi
            """,
            *(self.path, self.user, BLOCK),
        )

    def parse(self, output):
        actual = dict(line.split(" ", 1) for line in output.splitlines())
        other = actual["state"] if actual["state"].startswith("/") else ""
        warning = (
            f"the shell of {self.user} knows the conda at {other}, and goes on with that"
            if other
            else ""
        )
        return actual | {
            "conda init": None if actual["state"] == "absent" else "done",
            "warning": warning,
        }

    def desired(self):
        return {"conda init": "done"}

    def apply(self, actual):
        return as_unit(UNIT, sh("{} init {}", f"{self.path}/bin/conda", actual["shell"]), self.user)

"""Packages in a conda's base environment, and ``conda init`` in the user's shell."""

import json
import re
from dataclasses import dataclass

from ..kit.quote import program, script, sh
from ..kit.resources.base import CANNOT_KNOW, Resource
from ..kit.resources.home import as_owner
from ..kit.resources.unit import PROXIES, as_unit
from .conda import CONDA_INIT, UNIT
from .conda_terms import Agreement
from .pip import (
    COMPLETE,
    RECORD,
    damages,
    find_damage,
    installation,
    installed,
    print_stamp,
    stamp,
    stamped,
)


@dataclass(frozen=True)
class CondaPackages(Resource):
    """Packages in the base environment of a conda, with all their files intact.

    Conda installs what is missing and, again, what is damaged; its own version stays. A package
    that pip installed counts too.

    Args:
        path: the conda's prefix.
        user: its owner.
        packages: requirements as pip writes them, such as ``jupyterlab`` or ``notebook==7.5.*``.
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
        list_packages = script(
            """
            cd "$prefix" 2>/dev/null && [ -s conda-meta/history ] || exit "$cannot_know"
            ls -d conda-meta/*-*-*.json lib/python3*/site-packages/*.dist-info/RECORD \\
                2>/dev/null || :
            """,
            prefix=self.path,
            cannot_know=CANNOT_KNOW,
        )
        return script(
            """
            list_packages || exit
            print_stamp
            [ ! -e "$stamp" ] || find_damage
            """,
            stamp=stamp(self.path),
            list_packages=as_owner(self.user, list_packages, no_user=sh("exit {}", CANNOT_KNOW)),
            find_damage=find_damage(self.path, self.user, self.packages),
            print_stamp=print_stamp(self.path, self.user),
        )

    def parse(self, output):
        by_conda = re.findall(r"conda-meta/(.+)-([^-/]+)-[^-/]+\.json", output)
        actual = installed(self.packages, RECORD.findall(output) + by_conda)
        # Without a stamp, the user installed this conda, or an earlier version of these tasks.
        if not re.search("^stamped$", output, re.MULTILINE):
            return actual | COMPLETE
        return actual | installation(output) | {"damages": damages(output)}

    def desired(self):
        return dict.fromkeys(self.packages, "installed") | COMPLETE

    def apply(self, actual):
        missing = [name for name in self.changed(actual) if name in self.packages]
        install = program(
            "conda-packages-install",
            *map(specification, missing),
            path=self.path,
            damaged="".join(f"{line}\n" for line in actual.get("damages", ())),
            use_proxies=PROXIES,
        )
        unit = as_unit(UNIT, install, self.user)
        return stamped(self.path, self.user, unit, missing)


def specification(package):
    """Return the pip requirement *package* in conda's syntax, where ``==4.*`` is ``=4``."""
    from packaging.requirements import Requirement

    requirement = Requirement(package)
    versions = []
    for one in requirement.specifier:
        text = f"{one.operator}{one.version}".replace("===", "==")
        versions.append(re.sub(r"^==(.*)\.\*$", r"=\1", text))
    return requirement.name + ",".join(sorted(versions))


@dataclass(frozen=True)
class CondaUpdates(Resource):
    """The newest versions of packages that conda finds for its base environment.

    Args:
        path: the conda's prefix.
        user: its owner.
        packages: names, such as ``conda``.
        agreement: the operator's acceptance of the terms of the channels, if these have terms.
    """

    path: str
    user: str
    packages: tuple[str, ...]
    agreement: Agreement | None = None

    needs_reprobe = slow = True

    undo = "{0.path}/bin/conda install --revision N; conda list --revisions lists them"

    @property
    def label(self):
        """The kind and the packages."""
        return f"CondaUpdates {' '.join(self.packages)}"

    def probe(self):
        # A probe changes nothing, so conda's caches go to a temporary folder.
        ask = script(
            """
            [ -s "$path/conda-meta/history" ] || exit "$cannot_know"
            use_proxies
            cache=$(mktemp -d)
            trap 'rm -rf "$cache"' EXIT
            export CONDA_PKGS_DIRS="$cache" XDG_CACHE_HOME="$cache"
            answer=$(timeout -k 2 300 "$path/bin/conda" update -n base "$@" \\
                --dry-run --json 2>&1 | head -c 10000000) || :
            # The terms that the operator agreed to are accepted before the updates.
            case $agreed$answer in 1*CondaToS*) exit "$cannot_know" ;; esac
            printf '%s\\n' "$answer"
            """,
            *self.packages,
            path=self.path,
            agreed=bool(self.agreement and self.agreement.holds()),
            cannot_know=CANNOT_KNOW,
            use_proxies=PROXIES,
        )
        no_user = sh("exit {}", CANNOT_KNOW)
        return as_owner(self.user, ask, seconds=330, size=11_000_000, no_user=no_user)

    def parse(self, output):
        answer = json_object(output)
        if "error" in answer or not answer.get("success", True):
            return {"updates": None, "error": str(answer.get("error", "no reason given")).strip()}
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
        if "error" in actual:
            return "+what conda cannot tell"
        return "\n".join(f"+{move}" for move in actual["updates"].split(", ") if move)

    def apply(self, actual):
        update = script(
            """
            use_proxies
            "$path/bin/conda" update --yes -n base "$@" </dev/null
            """,
            *self.packages,
            path=self.path,
            use_proxies=PROXIES,
        )
        unit = as_unit(UNIT, update, self.user)
        return stamped(self.path, self.user, unit, self.packages)


def json_object(output):
    """Return the JSON object in *output*, between warnings of conda.

    Raises:
        ValueError: there is none.
    """
    begin = re.search("^{", output, re.MULTILINE)
    answer, _ = json.JSONDecoder().raw_decode(output, begin.start() if begin else 0)
    if not isinstance(answer, dict):
        raise ValueError("conda printed no JSON object")
    return answer


@dataclass(frozen=True)
class CondaInit(Resource):
    """The user's login shell finds this conda, as after ``conda init``.

    A shell that uses another conda is left alone, with a warning.

    Args:
        path: the conda's prefix.
        user: the user.
    """

    path: str
    user: str

    undo = "{0.path}/bin/conda init --reverse"

    def probe(self):
        def read(file):
            code = script(
                """
                file=$HOME/$name
                [ -f "$file" ] || { echo state absent; exit; }
                other=$(sed -n "s/^__conda_setup=.*'\\(\\/[^']*\\)\\/bin\\/conda'.*/\\1/p" "$file" |
                    head -n 1)
                if [ -n "$(conda_init block "$file")" ]; then
                    echo state known
                elif [ -n "$other" ] && [ -x "$other/bin/conda" ]; then
                    echo "state $other"
                else
                    echo state absent
                fi
                """,
                path=self.path,
                name=file,
                conda_init=CONDA_INIT,
            )
            return as_owner(self.user, code, seconds=20, no_user=":")

        return script(
            """
            case $(getent passwd "$login") in
                *zsh) echo shell zsh && read_zshrc ;;
                *) echo shell bash && read_bashrc ;;
            esac
            """,
            login=self.user,
            read_zshrc=read(".zshrc"),
            read_bashrc=read(".bashrc"),
        )

    def parse(self, output):
        actual = dict(line.split(" ", 1) for line in output.splitlines())
        state = actual.get("state", "absent")
        warning = f"the shell of {self.user} keeps using the conda at {state}"
        return actual | {
            "conda init": None if state == "absent" else "done",
            "warning": warning if state.startswith("/") else "",
        }

    def desired(self):
        return {"conda init": "done"}

    def apply(self, actual):
        return as_unit(UNIT, sh("{} init {}", f"{self.path}/bin/conda", actual["shell"]), self.user)

"""The files that run code when a user logs in."""

from dataclasses import dataclass

from ..kit.quote import program, script
from ..kit.resources.base import Resource
from ..kit.resources.home import as_owner

# What a login runs or trusts, below the home. A name that ends in / is a directory.
FOR_ALL = (
    ".ssh/",
    ".profile",
    ".bash_profile",
    ".bashrc",
    ".bash_logout",
    ".pam_environment",
    ".config/systemd/",
    ".config/environment.d/",
    ".local/bin/",
    "bin/",
)
# The files of other shells change what a login does, so they are created for these shells only.
FOR_SHELL = {
    "zsh": (".zshenv", ".zprofile", ".zshrc", ".zlogin", ".zlogout"),
    "fish": (".config/fish/",),
}
# Bash reads this one only if there is no .bash_profile.
IF_PRESENT = (".bash_login",)
# Each of these holds some of the above.
PARENTS = (".config", ".local")

PROTECTED = tuple(
    name.rstrip("/") for names in (FOR_ALL, *FOR_SHELL.values(), IF_PRESENT) for name in names
)


@dataclass(frozen=True)
class StartupFiles(Resource):
    """Each file or directory that a login of the user runs or trusts exists.

    Jupyter's unit makes them read-only for Jupyter, and systemd can protect only what exists.
    Those that are missing are created in a form that changes nothing: empty, except for
    ``.bash_profile``, which reads what bash would read without it. What exists is never changed.
    A symbolic link is a warning, as it can be replaced.

    Args:
        owner: the user.
        home: the user's home.
    """

    owner: str
    home: str

    undo = "remove the new empty files and directories, and .bash_profile, from {0.home}"

    @property
    def label(self):
        return f"StartupFiles {self.home}"

    def probe(self):
        code = script(
            """
            cd "$home" || { echo missing home; exit 0; }
            look() {
                for name in "$@"; do
                    if [ -L "${name%/}" ]; then echo "link ${name%/}"
                    elif [ ! -e "$name" ]; then echo "missing $name"
                    fi
                done
            }
            for name in "$@"; do [ ! -L "$name" ] || echo "link $name"; done
            for_all
            case $(getent passwd "$(id -u)") in
                */zsh) for_zsh ;;
                */fish) for_fish ;;
            esac
            """,
            *PARENTS,
            *IF_PRESENT,
            home=self.home,
            for_all=script('look "$@"', *FOR_ALL),
            for_zsh=script('look "$@"', *FOR_SHELL["zsh"]),
            for_fish=script('look "$@"', *FOR_SHELL["fish"]),
        )
        return as_owner(self.owner, code, no_user="echo missing home")

    def parse(self, output):
        found = [line.split() for line in output.splitlines()]
        links = [f"~/{name}" for kind, name in found if kind == "link"]
        return {
            "missing": [name for kind, name in found if kind == "missing"],
            "warning": f"code in Jupyter can replace symbolic links: {', '.join(links)}"
            if links
            else "",
        }

    def desired(self):
        return {"missing": []}

    def apply(self, actual):
        names = FOR_ALL if actual["missing"] == ["home"] else actual["missing"]
        return as_owner(self.owner, program("startup-files", *names, home=self.home))

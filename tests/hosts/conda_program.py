#!@PREFIX@/bin/python
"""The conda of the test installer: it answers from what is in its own prefix.

A package is its file in conda-meta; what the channel has is share/channel.json.
"""

import hashlib
import json
import os
import re
import sys
from pathlib import Path

PREFIX = Path(__file__).resolve().parents[1]
META = PREFIX / "conda-meta"
CHANNELS = ["https://repo.anaconda.com/pkgs/main", "https://repo.anaconda.com/pkgs/r"]
BLOCK = """# >>> conda initialize >>>
# !! Contents within this block are managed by 'conda init' !!
__conda_setup="$('{p}/bin/conda' 'shell.{shell}' 'hook' 2> /dev/null)"
if [ $? -eq 0 ]; then
    eval "$__conda_setup"
else
    if [ -f "{p}/etc/profile.d/conda.sh" ]; then
        . "{p}/etc/profile.d/conda.sh"
    else
        export PATH="{p}/bin:$PATH"
    fi
fi
unset __conda_setup
# <<< conda initialize <<<
"""


def installed():
    """Return every package and its version."""
    return dict(path.name.rsplit("-", 2)[:2] for path in META.glob("*-*-*.json"))


def channel():
    """Return what the channel offers now."""
    return json.loads((PREFIX / "share/channel.json").read_text())


def put(name, version):
    """Install one version of a package in place of another one."""
    if name in installed():
        (META / f"{name}-{installed()[name]}-0.json").unlink()
    (META / f"{name}-{version}-0.json").write_text(json.dumps({"name": name, "version": version}))
    with open(META / "history", "a") as history:
        history.write(f"+{name}-{version}\n")


def accepted(url):
    """Return the file that stores this user's acceptance of a channel's terms."""
    return (
        Path.home() / ".conda/tos" / hashlib.sha256(url.encode()).hexdigest() / "1752552000.0.json"
    )


def terms(as_json):
    """Exit if this conda has terms and those of a channel are not accepted."""
    missing = [url for url in CHANNELS if not accepted(url).exists()]
    if "conda-anaconda-tos" in installed() and missing:
        text = "\n    - ".join(
            ["Terms of Service have not been accepted for the following channels.", *missing]
        )
        if as_json:
            print(json.dumps({"error": text, "exception_name": "CondaToSNonInteractiveError"}))
        else:
            print(f"\nCondaToSNonInteractiveError: {text}", file=sys.stderr)
        sys.exit(1)


def change(names, as_json, dry):
    """Install these versions of packages and print them."""
    moves = {name: version for name, version in names.items() if installed().get(name) != version}
    if as_json:
        old = [
            {"name": name, "version": installed()[name]} for name in moves if name in installed()
        ]
        new = [{"name": name, "version": version} for name, version in moves.items()]
        actions = (
            {"actions": {"UNLINK": old, "LINK": new}}
            if moves
            else {"message": "All requested packages already installed."}
        )
        print(json.dumps({"success": True, "dry_run": dry} | actions))
    else:
        print("## Package Plan ##" if moves else "# All requested packages already installed.")
    for name, version in {} if dry else moves.items():
        put(name, version)


def main(words):
    """Answer one command line."""
    flags = {word for word in words if word.startswith("-")}
    names = [
        word for word in words[1:] if not word.startswith("-") and word not in (str(PREFIX), "base")
    ]
    as_json, dry = "--json" in flags, "--dry-run" in flags
    if words == ["--version"]:
        print(f"conda {installed()['conda']}")
    elif words[0] == "info":
        print(
            json.dumps(
                {"root_prefix": str(PREFIX), "conda_version": installed().get("conda")}, indent=2
            )
        )
    elif words[0] == "list":
        print(
            json.dumps(
                [{"name": name, "version": version} for name, version in installed().items()]
            )
        )
    elif words[0] == "init":
        file = Path.home() / {"zsh": ".zshrc"}.get(words[1], ".bashrc")
        text = file.read_text() if file.exists() else ""
        block = BLOCK.format(p=PREFIX, shell=words[1])
        old = re.compile(r"# >>> conda initialize >>>.*?# <<< conda initialize <<<\n", re.S)
        file.write_text(
            old.sub(lambda _: block, text) if old.search(text) else f"{text}\n{block}\n"
        )
    elif words[:2] == ["tos", "accept"]:
        url = words[-1]
        accepted(url).parent.mkdir(parents=True, exist_ok=True)
        entry = {"version": "2025-07-15T00:00:00Z", "base_url": url, "tos_accepted": True}
        accepted(url).write_text(json.dumps(entry, separators=(",", ":")))
    elif words[0] == "install":
        terms(as_json)
        wanted = {re.split("[=<>!~]", name)[0]: None for name in names}
        if missing := [name for name in wanted if name not in channel()]:
            sys.exit(f"PackagesNotFoundError: {missing}")
        # As the real one does, it brings itself along.
        if os.environ.get("CONDA_AUTO_UPDATE_CONDA") != "false":
            wanted["conda"] = None
        change({name: channel()[name] for name in wanted}, as_json, dry)
    elif words[0] == "update":
        terms(as_json)
        change({name: channel().get(name, installed()[name]) for name in names}, as_json, dry)
    else:
        sys.exit(f"conda: error: {words} is nothing that the tests' conda knows")


main(sys.argv[1:])

"""The interpreters of this machine that remote-jupyter is for."""

import os
import subprocess
from functools import cache
from pathlib import Path

VERSIONS = ("3.10", "3.11", "3.12", "3.13")


@cache
def found():
    """Return the interpreters that run and can create environments, by version."""
    programs = {}
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    for version in VERSIONS:
        for folder in [*map(Path, os.get_exec_path()), *sorted(pyenv.glob(f"{version}.*/bin"))]:
            program = folder / f"python{version}"
            if (
                program.exists()
                and not subprocess.run(
                    [program, "-c", "import ensurepip, venv"], capture_output=True
                ).returncode
            ):
                programs[version] = program
                break
    return programs


def told():
    """Return which there are, and which there are not, in words."""
    missing = [version for version in VERSIONS if version not in found()]
    return f"with Python {', '.join(found()) or 'none'}" + (
        f"; not found: {', '.join(missing)}" if missing else ""
    )

"""What probes answer on real hosts, and what the engine is to make of it: one TOML file a case."""

from pathlib import Path
from types import SimpleNamespace

from fabfile import resources as subjects
from fabfile.kit import resources as general
from fabfile.kit.quote import Shell
from fabfile.kit.secret import Secret

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

# Every kind of resource by its name, the engine's own and those that know a subject.
resources = SimpleNamespace(
    **{name: getattr(package, name) for package in (general, subjects) for name in package.__all__}
)

FOLDER = Path(__file__).parent


def samples():
    """Return every sample, by its kind and case."""
    paths = sorted(FOLDER.glob("*/*.toml"))
    return {
        f"{path.parent.name}/{path.stem}": tomllib.loads(path.read_text(encoding="utf-8"))
        for path in paths
    }


def load(sample):
    """Return the resource that a sample is about."""
    arguments = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in sample["resource"].items()
    }
    if "password" in arguments:
        arguments["password"] = Secret(arguments["password"])
    if "sources" in arguments:
        arguments["sources"] = tuple(resources.Source(**source) for source in arguments["sources"])
    if "agreement" in arguments:
        arguments["agreement"] = resources.Agreement(**arguments["agreement"])
    if "unless" in arguments:
        arguments["unless"] = Shell(arguments["unless"])
    kind = getattr(resources, sample["kind"])
    return (
        kind(*arguments.pop("names"), **arguments)
        if kind is resources.Package
        else kind(**arguments)
    )

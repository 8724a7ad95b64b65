"""The known installers of Anaconda, Miniconda and Miniforge: versions, SHA-256, requirements."""

from dataclasses import dataclass, field

from ..kit.resources import Source

MACHINES = ("x86_64", "aarch64")

CHANNELS = ("https://repo.anaconda.com/pkgs/main", "https://repo.anaconda.com/pkgs/r")

TERMS = "https://www.anaconda.com/legal/terms/terms-of-service"


@dataclass(frozen=True)
class Distribution:
    """A distribution of conda and its known installers.

    Args:
        title: its name.
        folder: where it is installed by default.
        address: the URL of an installer, with ``{version}`` and ``{machine}``.
        versions: for each known version, newest first, the SHA-256 for each machine.
        disk: free space needed, the installer included, in MiB.
        glibc: the oldest glibc that works.
        terms: the URL of the terms of service, if there are any.
        channels: the URLs of the channels that have terms of service too.
        memory: memory and swap needed, in MiB.
    """

    title: str
    folder: str
    address: str
    versions: dict = field(repr=False)
    disk: int
    glibc: str
    terms: str = ""
    channels: tuple[str, ...] = ()
    memory: int = 450

    def url(self, version, machine):
        """Return the URL of the installer of *version* for *machine*."""
        return self.address.format(version=version, machine=machine)

    @property
    def default(self):
        """The newest version that is known for every machine."""
        return next(
            version for version, sums in self.versions.items() if set(sums) == set(MACHINES)
        )


DISTRIBUTIONS = {
    "anaconda": Distribution(
        "Anaconda",
        "~/anaconda3",
        "https://repo.anaconda.com/archive/Anaconda3-{version}-Linux-{machine}.sh",
        {
            "2025.12-2": {
                "x86_64": "57b2b48cc5b8665e25fce7011f0389d47c1288288007844b3b1ba482d4f39029",
                "aarch64": "be13a20f31d82508a061984fa3555369cfd8e4692643721415c19e7dc2e9e0f9",
            },
            "2025.06-1": {
                "x86_64": "82976426a2c91fe1453281def386f9ebebd8fdb45dc6c970b54cfef4e9120857"
            },
        },
        disk=6000,
        glibc="2.28",
        terms=TERMS,
        channels=CHANNELS,
    ),
    "miniconda": Distribution(
        "Miniconda",
        "~/miniconda3",
        "https://repo.anaconda.com/miniconda/Miniconda3-{version}-Linux-{machine}.sh",
        {
            "py314_26.7.1-1": {
                "x86_64": "e8b25b92b262499141c5bd57a98d3c008024185fa951494b9cd9b6d94e72338b"
            },
            "py313_26.5.3-1": {
                "x86_64": "7358a5961dc6a4941d087281cd70313728fcc68695735e18a337321bc31c7f51",
                "aarch64": "4eaf1f2d83ede3ad010afa6ad19bef69893ca4667ba5996f51efb3080c08a70d",
            },
        },
        disk=2000,
        glibc="2.28",
        terms=TERMS,
        channels=CHANNELS,
    ),
    "miniforge": Distribution(
        "Miniforge",
        "~/miniforge3",
        "https://github.com/conda-forge/miniforge/releases/download/{version}"
        "/Miniforge3-{version}-Linux-{machine}.sh",
        {
            "26.7.2-0": {
                "x86_64": "281b0ac7d550802efc81af633225a5e6116d29ae72f3ab4eae7168c3931a4c05"
            },
            "26.3.2-3": {
                "x86_64": "848194851a98903134187fbb4ab50efe87b003e0c0f808f97644b7524a62bf2c",
                "aarch64": "2c113a69297e612b01ca0f320c22a3107a11f2ab9b573d79ac868a175945ce29",
            },
        },
        disk=2000,
        glibc="2.17",
    ),
}


def sources(name, version="", url="", sha256=""):
    """Return the installers of a distribution.

    Args:
        name: a key of `DISTRIBUTIONS`.
        version: its version; the newest known one if empty.
        url: another address of the installer; needs *sha256*.
        sha256: the installer's checksum; a version that is not known needs one.

    Returns:
        One `Source` for each machine.

    Raises:
        ValueError: the version or its checksum is not known, or the settings contradict each other.
    """
    known = DISTRIBUTIONS[name]
    if url:
        return (custom_source(known, url, sha256),)
    version = version or known.default
    if sha256:
        return sources_with_checksum(known, version, sha256)
    if version not in known.versions:
        raise ValueError(
            f"python.version: the SHA-256 of {known.title} {version} is not known here; "
            f"set python.sha256, or choose {' or '.join(known.versions)}"
        )
    checksums = known.versions[version]
    return tuple(Source(known.url(version, one), sum_, one) for one, sum_ in checksums.items())


def custom_source(known, url, sha256):
    """Return the installer of the distribution *known* at another address.

    Raises:
        ValueError: it has no checksum, is no .sh file, or belongs to another distribution.
    """
    if not sha256:
        raise ValueError("python.sha256: set it to the SHA-256 of the file at python.url")
    name = Source(url, sha256).name
    if not name.endswith(".sh"):
        raise ValueError(f"python.url: {url} does not end in .sh, as the installers require")
    with_terms = [one.title for one in DISTRIBUTIONS.values() if one.terms]
    if not known.terms and (name.startswith(tuple(with_terms)) or "//repo.anaconda.com/" in url):
        raise ValueError(
            f"python.url: {url} is not {known.title}, and has terms of service; "
            "set python.distribution to what it is"
        )
    machine = next((one for one in MACHINES if one in name), "")
    return Source(url, sha256, machine)


def sources_with_checksum(known, version, sha256):
    """Return the installers of *known* in this version that may have this checksum.

    Raises:
        ValueError: every machine's installer is known to have another one.
    """
    checksums = known.versions.get(version, {})
    machines = [one for one in MACHINES if checksums.get(one) == sha256]
    machines = machines or [one for one in MACHINES if one not in checksums]
    if not machines:
        raise ValueError(f"python.sha256: {known.title} {version} has another SHA-256")
    return tuple(Source(known.url(version, one), sha256, one) for one in machines)

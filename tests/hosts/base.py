"""Base trees of the lab: a fresh Debian server of each release, kept between runs."""

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SUITES = ("bookworm", "trixie")

# What a small cloud image has too; everything else is for the tasks to install.
PACKAGES = (
    "ca-certificates",
    "cron",
    "curl",
    "dbus",
    "iproute2",
    "libpam-systemd",
    "openssh-server",
    "procps",
    "python3-minimal",
    "sudo",
    "systemd-sysv",
)

CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n", re.DOTALL)


def folder():
    """Return the folder that holds the trees, the key and the hosts' files."""
    return Path(os.environ.get("REMOTE_JUPYTER_LAB", "/var/cache/remote-jupyter-lab"))


@contextlib.contextmanager
def locked(path):
    """Hold a lock file during a block, so that two processes do not do the same at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def key():
    """Return the private key of the operator for root, created once for each lab folder."""
    path = folder() / "id_ed25519"
    if not path.exists():
        with locked(folder() / "key.lock"):
            if not path.exists():
                _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", path)
    return path


def tree(suite, in_use=()):
    """Return the base tree of a release, built now if missing or if its recipe has changed."""
    if suite not in SUITES:
        raise ValueError(f"no such release: {suite}; there are {', '.join(SUITES)}")
    recipe = _recipe(suite)
    digest = hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:12]
    bases = folder() / "bases"
    wanted = bases / f"{suite}-{digest}"
    if wanted.exists():
        return wanted
    with locked(bases / f"{suite}.lock"):
        if not wanted.exists():
            for old in bases.glob(f"{suite}-*"):  # other recipes, and builds that were interrupted
                if str(old) not in in_use:
                    shutil.rmtree(old)
            part = bases / f"{suite}-{digest}.part"
            _build(part, suite, recipe)
            part.rename(wanted)
    return wanted


def _recipe(suite):
    """Return everything that a tree depends on."""
    return {
        "code": Path(__file__).read_text(),
        "sources": _sources(suite),
        "apt": _apt_settings(),
        "pip": _pip_settings(),
        "certificates": CERTIFICATES.read_text(),
        "key": key().with_suffix(".pub").read_text(),
    }


def _build(part, suite, recipe):
    sources = [line for line in recipe["sources"] if line.split()[2] == suite or _resolves(line)]
    mmdebstrap = ["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase"]
    mmdebstrap += [f"--include={','.join(PACKAGES)}"]
    mmdebstrap += [f"--aptopt={setting}" for setting in recipe["apt"]]
    # In its own mount namespace: whatever ends a build, nothing stays mounted in the tree.
    _run("unshare", "--mount", "--propagation=slave", *mmdebstrap, suite, part, *sources)

    _write(part / "etc/pip.conf", recipe["pip"])
    _write(part / "root/.ssh/authorized_keys", recipe["key"], mode=0o600)
    (part / "root/.ssh").chmod(0o700)
    for host_key in (part / "etc/ssh").glob("ssh_host_*"):  # every host gets its own
        host_key.unlink()
    _trust(part, recipe["certificates"])


def _trust(part, certificates):
    """Let the tree trust what this machine trusts, also after update-ca-certificates."""
    known = set(PEM.findall((part / CERTIFICATES.relative_to("/")).read_text()))
    for number, pem in enumerate(p for p in PEM.findall(certificates) if p not in known):
        _write(part / f"usr/local/share/ca-certificates/operator-{number}.crt", pem)
    _run("chroot", part, "update-ca-certificates")


def _sources(suite):
    """Return the operator's Debian mirrors for a release; if none, mmdebstrap has a default."""
    system = platform.freedesktop_os_release()
    if system["ID"] != "debian" or "VERSION_CODENAME" not in system:
        return []
    codename = system["VERSION_CODENAME"]
    uris = subprocess.run(
        ["apt-get", "--print-uris", "update"], capture_output=True, text=True
    ).stdout
    releases = re.findall(
        rf"^'(\S+)/dists/({codename}(?:-updates|-security)?)/InRelease'", uris, re.M
    )
    return [f"deb {uri} {release.replace(codename, suite)} main" for uri, release in releases]


def _resolves(source):
    """Return whether a mirror has this release."""
    _, uri, release, _ = source.split()
    with tempfile.TemporaryDirectory() as temporary:
        download = ["/usr/lib/apt/apt-helper", "download-file", f"{uri}/dists/{release}/InRelease"]
        return (
            subprocess.run([*download, f"{temporary}/InRelease"], capture_output=True).returncode
            == 0
        )


def _apt_settings():
    """Return the operator's apt settings for proxies and for mirrors that stand still."""
    dump = subprocess.run(["apt-config", "dump", "Acquire"], capture_output=True, text=True).stdout
    return re.findall(r"^Acquire::(?:Check-.+|\w+::Proxy.*) \".+\";$", dump, re.M)


def _pip_settings():
    """Return pip settings: the operator's index and proxy, and the system's certificates."""
    pip = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(pip, capture_output=True, text=True).stdout
    kept = re.findall(r"^(?:global|:env:)\.(index-url|proxy)='(.+)'$", listed, re.M)
    settings = {"cert": str(CERTIFICATES)} | {
        name.removeprefix("default-"): value for name, value in kept
    }
    return "[global]\n" + "".join(f"{name} = {value}\n" for name, value in sorted(settings.items()))


def _write(path, text, mode=0o644):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def _run(*argv):
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{argv[0]} failed ({done.returncode}):\n{done.stdout}{done.stderr}")

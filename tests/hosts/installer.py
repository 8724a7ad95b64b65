"""A test installer with Anaconda's command line and exit codes, and a mirror that can misbehave.

It unpacks a real Python environment with JupyterLab, or a small one with the test conda only.
"""

import contextlib
import hashlib
import http.server
import io
import json
import platform
import re
import tarfile
import threading
import time
from pathlib import Path

from . import base, network

HERE = Path(__file__).parent
PLACEHOLDER = "/opt/placehold_placehold"
VERSIONS = {
    "conda": "26.5.3",
    "python": "3.13.5",
    "conda-anaconda-tos": "0.2.2",
    "pip": "25.1",
    "setuptools": "80.9",
}
JUPYTER = {"jupyterlab": "4.5.0", "notebook": "7.5.0"}
CHANNEL = VERSIONS | JUPYTER | {"conda": "26.7.1", "setuptools": "81.0"}
BUILD = f"""
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -qy --no-install-recommends python3-venv &&
    python3 -m venv --copies {PLACEHOLDER} &&
    {PLACEHOLDER}/bin/pip install -q --no-input --disable-pip-version-check jupyterlab notebook &&
    tar -C {PLACEHOLDER} -cf /tar .
"""


def environment(lab, suite, layer):
    """Return the tar of an environment with JupyterLab, built once a release and then kept."""
    name = f"{suite}-{hashlib.sha256(BUILD.encode()).hexdigest()[:12]}.tar"
    kept = base.folder() / "environments" / name
    with base.locked(base.folder() / f"environment-{suite}.lock"):
        if not kept.exists():
            host = lab.up(f"environment-{suite}", suite, layer, owner=lab.me())
            try:
                host.nsenter(BUILD, timeout=600)
                kept.parent.mkdir(parents=True, exist_ok=True)
                part = kept.with_suffix(".part")
                part.write_bytes((host.root / "tar").read_bytes())
                part.rename(kept)
            finally:
                host.down()
    return kept.read_bytes()


def installer(
    name="Anaconda3",
    env=None,
    versions=VERSIONS | JUPYTER,
    size=1000,
    glibc="2.17",
    gates="",
    ballast=0,
    machine=None,
):
    """Return the bytes of an installer. Without *env*, a tar, its environment has conda only."""
    payload = io.BytesIO(env or b"")
    with tarfile.open(fileobj=payload, mode="a" if env else "w") as tar:

        def add(path, text, mode=0o644, link=""):
            part = tarfile.TarInfo(path)
            part.mode, part.size, part.mtime = mode, len(text), time.time()
            part.type, part.linkname = (tarfile.SYMTYPE, link) if link else (tarfile.REGTYPE, "")
            tar.addfile(part, io.BytesIO(text))

        program = (HERE / "conda_program.py").read_text().replace("@PREFIX@", PLACEHOLDER)
        add("./bin/conda", program.encode(), 0o755)
        add("./share/channel.json", json.dumps(CHANNEL).encode())
        add("./pkgs/ballast", b"\n" * ballast)
        if not env:
            add("./bin/python", b"", link="/usr/bin/python3")
        for package, version in versions.items():
            meta = {"name": package, "version": version}
            add(f"./pkgs/meta/{package}-{version}-0.json", json.dumps(meta).encode())
    data = payload.getvalue()
    values = {
        "NAME": name,
        "VERSION": "2026.01-1",
        "PLATFORM": {"x86_64": "linux-64"}.get(
            machine or platform.machine(), f"linux-{machine or platform.machine()}"
        ),
        "MD5": hashlib.md5(data).hexdigest(),
        "GLIBC": glibc,
        "FOLDER": name.lower(),
        "SIZE": str(size),
        "LENGTH": str(len(data)),
        "GATES": gates,
        "PLACEHOLDER": PLACEHOLDER,
    }
    header = re.sub(
        r"@([A-Z0-9]+)@(?!@)",
        lambda match: values.get(match[1], match[0]),
        (HERE / "installer.sh").read_text(),
    )
    return header.encode() + data


class Mirror:
    """A file server that can break off, send something else, be slow or go away.

    It is a proxy too: `http://anything/NAME` asked of it is its own file.
    """

    def __init__(self, address):
        self.address, self.files, self.asked = address, {}, []
        self.port, self.server = 0, None
        self.well()
        self.start()

    def well(self):
        """Stop misbehaving."""
        self.instead, self.status, self.breaks, self.rate, self.resumes = {}, 200, [], 0, True

    def start(self):
        """Listen at the same address as before."""
        handler = type("Handler", (Handler,), {"mirror": self})
        self.server = http.server.ThreadingHTTPServer(("0.0.0.0", self.port), handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        """Stop listening."""
        self.server.shutdown()
        self.server.server_close()

    def add(self, name, data):
        """Serve a file; return its URL and SHA-256 as environment variables."""
        self.files[name] = data
        return self.settings(f"http://{self.address}:{self.port}/{name}", data)

    @staticmethod
    def settings(url, data):
        """Return the settings of an installer as environment variables."""
        settings = {
            "URL": url,
            "SHA256": hashlib.sha256(data).hexdigest(),
            "DISTRIBUTION": "anaconda",
            "ACCEPT_TERMS": "yes",
        }
        return {f"FABRIC_REMOTE_JUPYTER_PYTHON_{key}": value for key, value in settings.items()}

    def fetched(self, method="GET"):
        """Return the requested offsets of a file, in order; 0 is the whole file."""
        return [start for asked, start in self.asked if asked == method]


class Handler(http.server.BaseHTTPRequestHandler):
    """A request to the mirror."""

    mirror = None

    def log_message(self, *_):
        """Print nothing."""

    def do_HEAD(self):  # noqa: N802
        """Answer with the size of a file."""
        self.do_GET()

    def do_GET(self):  # noqa: N802
        """Send a file or the rest of it."""
        mirror, name = self.mirror, self.path.rpartition("/")[2]
        start = int(re.sub(r"\D", "", self.headers.get("Range", "")) or 0) if mirror.resumes else 0
        mirror.asked.append((self.command, start))
        data = mirror.instead.get(name, mirror.files.get(name))
        if data is None or mirror.status != 200 or start >= len(data) > 0:
            self.send_response(
                404 if data is None else mirror.status if mirror.status != 200 else 416
            )
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if self.command == "HEAD":
            return
        end = mirror.breaks.pop(0) if mirror.breaks else len(data)
        with contextlib.suppress(ConnectionError):
            for at in range(start, end, 1 << 16):
                self.wfile.write(data[at : min(at + (1 << 16), end)])
                if rate := self.mirror.rate:
                    time.sleep((1 << 16) / rate)


def mirror_of(lab):
    """Run a mirror that hosts of the lab can reach."""
    return Mirror(str(network.gateway(network.subnet(lab.NETWORK))))

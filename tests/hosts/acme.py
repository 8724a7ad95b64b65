"""Real ACME servers on this machine: pebble for production and for staging, a DNS server, and a gate in front of each."""

import contextlib
import datetime
import http.client
import http.server
import ipaddress
import json
import os
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from . import lab, network

DAY = datetime.timedelta(days=1)
BLOCKED = "blocked.example.test"  # for which production gives no certificate


@pytest.fixture(scope="session")
def acme(lab, tmp_path_factory):
    """The ACME servers of this session, and the DNS that they believe."""
    servers = Servers(tmp_path_factory.mktemp("acme"))
    with servers.running():
        yield servers


class Servers:
    """Two pebbles, production and staging, each behind a `Gate`, on the operator's side of the lab's bridge."""

    def __init__(self, folder):
        with lab.base.locked(lab.RUN / "lock"):
            network.ensure(lab.NETWORK)
        self.network = network.subnet(lab.NETWORK)
        # An address of its own on the bridge: DNS has but one port, and two sessions may run.
        self.address = str(self.network[2 + os.getpid() % 250])
        self.folder = Path(folder)
        self.ca = self.folder / "ca.pem"
        self.production = Gate("production", self)
        self.staging = Gate("staging", self)
        self.dns_port, self.dns_control = free_ports(2)

    @contextlib.contextmanager
    def running(self):
        """Run everything, and end it."""
        place = (f"{self.address}/{self.network.prefixlen}", "dev", network.BRIDGE)
        network.run("ip", "address", "add", *place)
        try:
            with self._dns(), self.production.running(), self.staging.running():
                yield self
        finally:
            network.run("ip", "address", "delete", *place, check=False)

    @contextlib.contextmanager
    def _dns(self):
        certify(self.folder, self.address)
        dns = f"{self.address}:53,{self.address}:{self.dns_port}"
        listen = {"-management": f"{self.address}:{self.dns_control}", "-dns01": dns}
        off = {
            "-http01": "",
            "-https01": "",
            "-tlsalpn01": "",
            "-defaultIPv4": "",
            "-defaultIPv6": "",
        }
        words = [word for option in (listen | off).items() for word in option]
        log = open(self.folder / "dns.log", "w")
        process = subprocess.Popen(["pebble-challtestsrv", *words], stdout=log, stderr=log)
        try:
            wait_for(self.address, self.dns_control)
            wait_for(self.address, 53)
            yield
        finally:
            process.kill()
            process.wait()

    def name(self, name, *addresses):
        """Let the DNS tell these addresses for a name, none at all included."""
        self._tell("clear-a", host=name)
        self._tell("clear-aaaa", host=name)
        for kind, wanted in (("a", 4), ("aaaa", 6)):
            found = [one for one in addresses if ipaddress.ip_address(one).version == wanted]
            if found:
                self._tell(f"add-{kind}", host=name, addresses=found)

    def allow(self, name, authority):
        """Let the DNS tell (CAA) that this authority alone may give certificates for a name."""
        self._tell("add-caa", host=name, policies=[{"tag": "issue", "value": authority}])

    def pass_on(self, *names):
        """Let the DNS tell for these names what this machine's own does: where packages come from."""
        for name in names:
            self.name(
                name,
                *{info[4][0] for info in socket.getaddrinfo(name, 443, type=socket.SOCK_STREAM)},
            )

    def _tell(self, what, **values):
        with contextlib.closing(
            http.client.HTTPConnection(self.address, self.dns_control, timeout=10)
        ) as line:
            line.request("POST", f"/{what}", json.dumps(values))
            assert line.getresponse().status == 200


class Gate:
    """A pebble, and in front of it what counts the requests to it and can refuse them as Let's Encrypt does."""

    def __init__(self, kind, servers):
        self.kind, self.servers = kind, servers
        self.port, self.inner, self.management = free_ports(3)
        self.requests = []
        self.refusal = None  # (status, type of the problem, its text) for each new order
        self.roots = ""  # the certificates, PEM, of the authorities that have signed here
        self.open = threading.Event()  # while this is cleared, new orders wait
        self.open.set()
        self.process = self.server = None

    @property
    def url(self):
        """The address of the directory."""
        return f"https://{self.servers.address}:{self.port}/dir"

    def _root(self):
        """The certificate of the authority that signs here now."""
        context = ssl.create_default_context(cafile=self.servers.ca)
        address = self.servers.address
        with contextlib.closing(
            http.client.HTTPSConnection(address, self.management, context=context, timeout=10)
        ) as line:
            line.request("GET", "/roots/0")
            return line.getresponse().read().decode()

    @contextlib.contextmanager
    def running(self):
        """Run it, and end it."""
        self.remember_nothing()
        self.listen()
        try:
            yield self
        finally:
            self.close()
            self.process.kill()
            self.process.wait()

    def remember_nothing(self):
        """Start a pebble that knows no account and has a new key of its own."""
        if self.process:
            self.process.kill()
            self.process.wait()
        servers = self.servers
        config = {
            "listenAddress": f"{servers.address}:{self.inner}",
            "managementListenAddress": f"{servers.address}:{self.management}",
            "certificate": str(servers.folder / "cert.pem"),
            "privateKey": str(servers.folder / "key.pem"),
            "httpPort": 80,
            "tlsPort": 443,
            "certificateValidityPeriod": 90 * 86400,
            "domainBlocklist": [BLOCKED] if self.kind == "production" else [],
        }
        path = servers.folder / f"{self.kind}.json"
        path.write_text(json.dumps({"pebble": config}))
        env = os.environ | {
            "PEBBLE_VA_NOSLEEP": "1",
            "PEBBLE_WFE_NONCEREJECT": "0",
            "PEBBLE_AUTHZREUSE": "0",
        }
        argv = [
            "pebble",
            "-config",
            str(path),
            "-dnsserver",
            f"{servers.address}:{servers.dns_port}",
        ]
        log = open(servers.folder / f"{self.kind}.log", "a")
        self.process = subprocess.Popen(argv, env=env, stdout=log, stderr=log)
        try:
            wait_for(servers.address, self.management)
            wait_for(servers.address, self.inner)
            self.roots += self._root()
        except BaseException:
            self.process.kill()
            raise

    def listen(self):
        """Be there."""
        servers = self.servers
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(servers.folder / "cert.pem", servers.folder / "key.pem")
        self.server = http.server.ThreadingHTTPServer((servers.address, self.port), self._handler())
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        """Be gone: nobody listens there any more."""
        self.server.shutdown()
        self.server.server_close()

    @contextlib.contextmanager
    def gone(self):
        """It is not there meanwhile."""
        self.close()
        try:
            yield
        finally:
            self.listen()

    @contextlib.contextmanager
    def holding(self):
        """New orders wait meanwhile."""
        self.open.clear()
        try:
            yield
        finally:
            self.open.set()

    @contextlib.contextmanager
    def refusing(self, status, kind, text):
        """It refuses each new order meanwhile."""
        self.refusal = status, f"urn:ietf:params:acme:error:{kind}", text
        try:
            yield
        finally:
            self.refusal = None

    def _handler(gate):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self):
                gate.requests.append(f"{self.command} {self.path}")
                if "order" in self.path:
                    gate.open.wait(60)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                context = ssl.create_default_context(cafile=gate.servers.ca)
                line = http.client.HTTPSConnection(
                    gate.servers.address, gate.inner, context=context, timeout=30
                )
                with contextlib.closing(line):
                    # As is, Host included: pebble makes its own addresses of it.
                    line.putrequest(
                        self.command, self.path, skip_host=True, skip_accept_encoding=True
                    )
                    for name, value in self.headers.items():
                        line.putheader(name, value)
                    line.endheaders(body)
                    answer = line.getresponse()
                    status, headers, text = answer.status, answer.getheaders(), answer.read()
                if gate.refusal and "order" in self.path and self.command == "POST":
                    status, kind, why = gate.refusal
                    text = json.dumps({"type": kind, "detail": why, "status": status}).encode()
                    kept = [pair for pair in headers if pair[0].lower() == "replay-nonce"]
                    headers = [*kept, ("Content-Type", "application/problem+json")]
                self.send_response(status)
                for name, value in headers:
                    if name.lower() not in (
                        "connection",
                        "content-length",
                        "date",
                        "server",
                        "transfer-encoding",
                    ):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_HEAD = do_POST = handle_one

            def log_message(self, *_):
                pass

        return Handler


def certify(folder, address):
    """Make an authority and, signed by it, a certificate for an address, in a folder."""
    now = datetime.datetime.now(datetime.timezone.utc)

    def make(common, key, issuer, by, *extensions):
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
        builder = x509.CertificateBuilder(
            issuer or subject, subject, key.public_key(), x509.random_serial_number()
        )
        builder = builder.not_valid_before(now - DAY).not_valid_after(now + 90 * DAY)
        for extension in extensions:
            builder = builder.add_extension(extension, False)
        return builder.sign(by, hashes.SHA256())

    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    ca = make("lab CA", keys[0], None, keys[0], x509.BasicConstraints(True, None))
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
    leaf = make("lab ACME", keys[1], ca.subject, keys[0], names)
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "ca.pem").write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    (folder / "cert.pem").write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(keys[1].private_bytes(serialization.Encoding.PEM, *plain))


def free_ports(count):
    """Ports on which nobody listens now."""
    sockets = [socket.create_server(("", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def wait_for(address, port, seconds=15):
    """Wait until somebody listens."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError), socket.create_connection((address, port), 1):
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"nobody listens on {address}:{port}")
        time.sleep(0.05)

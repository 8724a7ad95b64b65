"""A visit to a Jupyter server, against a small stand-in for Apache and Jupyter on loopback."""

import base64
import datetime
import hashlib
import ipaddress
import json
import os
import socket
import ssl
import struct
import threading
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fabfile.kit.secret import Secret
from fabfile.local import browser
from fabfile.local.browser import Site
from fabfile.local.visit import NO_PASSWORD, visit

PASSWORD = "open sesame ü&="
TOKEN = "2|5f3e|token"
NAMES = ["reachable", "certificate", "redirect", "login", "kernel", "terminal", "foreign origin"]


def certificate(names=("127.0.0.1", "localhost"), start=-1, end=30):
    """Return a self-signed certificate and its key as PEM, valid from day *start* to *end*."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    day, now = datetime.timedelta(days=1), datetime.datetime.now(datetime.timezone.utc)
    general = [
        x509.IPAddress(ipaddress.ip_address(n)) if n[0].isdigit() else x509.DNSName(n)
        for n in names
    ]
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
    )
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now + start * day).not_valid_after(now + end * day + day / 2)
    signed = builder.add_extension(x509.SubjectAlternativeName(general), critical=False).sign(
        key, hashes.SHA256()
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return signed.public_bytes(pem).decode(), private.decode()


GOOD = certificate()


class StandIn:
    """Apache and Jupyter in one; each attribute is one thing that can be wrong."""

    def __init__(self, folder):
        self.folder = folder
        self.servers = []
        self.redirect = True
        self.lost_path = False
        self.status = {}  # of a method (or UPGRADE) and a path, in place of the right one
        self.software = "TornadoServer/6.6.1"
        self.everyone = False
        self.xsrf_cookie = "; Path=/jupyter; Secure"
        self.login_cookie = "; Path=/jupyter; Secure; HttpOnly"
        self.origin_checked = True
        self.xsrf_checked = True
        self.websockets = True
        self.silent = False
        self.slow = 0  # how often a kernel's websocket is left without an answer
        self.crashes = False
        self.requests = []
        self.running = set()

    def start(self, pair=GOOD):
        """Serve on free ports with a certificate; return the site as SSH knows it."""
        (self.folder / "both.pem").write_text("".join(pair))
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(self.folder / "both.pem")
        for handler in (Https, Http):
            server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
            server.daemon_threads, server.block_on_close, server.stand_in = True, False, self
            if handler is Https:
                server.socket = tls.wrap_socket(server.socket, server_side=True)
            threading.Thread(target=server.serve_forever, args=(0.002,), daemon=True).start()
            self.servers.append(server)
        self.https, self.http = (server.server_address[1] for server in self.servers)
        return Site("127.0.0.1", "/jupyter", pair[0], self.https, self.http)

    def start_tunnel(self):
        """Serve plain HTTP on a free port, as through a tunnel, and return the site."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), Https)
        server.daemon_threads, server.block_on_close, server.stand_in = True, False, self
        threading.Thread(target=server.serve_forever, args=(0.002,), daemon=True).start()
        self.servers.append(server)
        return Site("localhost", "/jupyter", "", 0, server.server_address[1])

    def stop(self, *which):
        for server in which or self.servers:
            server.shutdown()
            server.server_close()


class Https(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def version_string(self):
        return self.server.stand_in.software

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.stand, self.path = self.server.stand_in, self.path.partition("?")[0]
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.stand.requests.append((self.command, self.path))
        self.own = (
            self.headers.get("Origin", "").endswith(f"://{self.headers['Host']}")
            or "Origin" not in self.headers
        )
        self.jar = SimpleCookie(self.headers.get("Cookie", ""))
        self.user = self.stand.everyone or "username" in self.jar
        method = "UPGRADE" if self.headers.get("Upgrade") else self.command
        if status := self.stand.status.get(f"{method} {self.path}"):
            return self.answer(status)
        if method == "UPGRADE":
            return self.upgrade()
        if self.stand.origin_checked and not self.own:
            return self.answer(404)
        if self.command != "GET":
            return self.change()
        if self.path == "/jupyter/api":
            return self.answer(200, b'{"version": "2"}')
        if self.path == "/jupyter/login":
            return self.answer(
                200, b'<input name="password">', Set_Cookie=f"_xsrf={TOKEN}{self.stand.xsrf_cookie}"
            )
        return (
            self.answer(200, b'{"content": []}')
            if self.user
            else self.answer(403, b'{"message": "Forbidden"}')
        )

    do_POST = do_DELETE = do_GET

    def change(self):
        form = parse_qs(self.body.decode()) if self.path == "/jupyter/login" else {}
        token = form.get("_xsrf", [self.headers.get("X-XSRFToken")])[0]
        if self.stand.xsrf_checked and (
            "_xsrf" not in self.jar or token != self.jar["_xsrf"].value
        ):
            return self.answer(403)
        if self.path == "/jupyter/login":
            if form["password"] != [PASSWORD]:
                return self.answer(401)
            return self.answer(
                302, Location="/jupyter/", Set_Cookie=f"username=zaphod{self.stand.login_cookie}"
            )
        if not self.user:
            return self.answer(403)
        if self.command == "DELETE":
            self.stand.running.remove(self.path)
            return self.answer(204)
        if self.path == "/jupyter/api/events":
            return self.answer(400)
        self.stand.running.add(f"{self.path}/one")
        return self.answer(201, json.dumps({"id": "one", "name": "one"}).encode())

    def upgrade(self):
        if not self.stand.websockets:
            return self.answer(400)
        if self.stand.crashes:
            self.stand.software, self.stand.status["GET /jupyter/api/status"] = "Apache", 503
            self.close_connection = True
            return None
        if self.stand.slow and "kernels" in self.path:
            self.stand.slow -= 1
            self.rfile.read()
            return None
        if not self.user or (self.stand.origin_checked and not self.own):
            return self.answer(403)
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        self.send_response(101)
        for name, value in (
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Accept", accept),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.close_connection = True
        while len(head := self.rfile.read(2)) == 2 and head[0] & 15 == 1:
            length = head[1] & 127
            length = struct.unpack(">H", self.rfile.read(2))[0] if length == 126 else length
            mask = self.rfile.read(4)
            message = json.loads(
                bytes(byte ^ mask[at % 4] for at, byte in enumerate(self.rfile.read(length)))
            )
            for reply in self.replies(message):
                data = json.dumps(reply).encode()
                self.wfile.write(bytes([0x81, len(data)]) + data)

    def replies(self, message):
        if isinstance(message, list):
            echo = [["setup", {}], ["stdout", f"$ {message[1]}"]]
            return echo if self.stand.silent else [*echo, ["stdout", "4"], ["stdout", "2x\r\n"]]
        if self.stand.silent:
            return []
        if message["header"]["msg_type"] == "kernel_info_request":
            return [{"msg_type": "kernel_info_reply", "content": {}}]
        return [{"msg_type": "execute_result", "content": {"data": {"text/plain": "42"}}}]


class Http(Https):
    def do_GET(self):
        stand = self.server.stand_in
        path, host = "/" if stand.lost_path else self.path, self.headers["Host"].partition(":")[0]
        self.answer(301 if stand.redirect else 200, Location=f"https://{host}:{stand.https}{path}")


@pytest.fixture(autouse=True)
def no_authorities(monkeypatch):
    """Know no authority: reading them is most of the time here, and each machine knows others."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.setenv(name, os.devnull)


@pytest.fixture
def stand(tmp_path):
    stand_in = StandIn(tmp_path)
    yield stand_in
    stand_in.stop()


def walk(site, password=PASSWORD, names=NAMES):
    """Return the steps by name, after a check that all are there and none shows a secret."""
    steps = list(visit(site, password and Secret(password)))
    assert [step.name for step in steps] == names
    for secret in (password or PASSWORD, TOKEN, "zaphod"):
        assert secret not in repr(steps)
    return {step.name: step for step in steps}


def failed(steps):
    return [name for name, step in steps.items() if not step.ok]


def untried(steps):
    return [name for name, step in steps.items() if step.detail.startswith("not tried: ")]


def test_a_healthy_site_passes_and_nothing_is_left_running(stand):
    steps = walk(stand.start())
    assert failed(steps) == [], steps
    assert steps["certificate"].detail.startswith("TLS 1.3, 30 days left; browsers warn")
    assert {step.fix for step in steps.values()} == {""}
    assert ("POST", "/jupyter/api/kernels") in stand.requests
    assert ("POST", "/jupyter/api/terminals") in stand.requests
    assert stand.running == set()


IN_A_TUNNEL = [name for name in NAMES if name not in ("certificate", "redirect")]


def test_plain_http_and_cookies_are_right_in_a_tunnel(stand):
    stand.xsrf_cookie = stand.login_cookie = "; Path=/jupyter"
    steps = walk(stand.start_tunnel(), names=IN_A_TUNNEL)
    assert failed(steps) == [], steps
    assert steps["reachable"].detail == "through the tunnel, Jupyter 2"
    assert ("POST", "/jupyter/api/kernels") in stand.requests
    assert stand.running == set()


def test_a_tunnel_to_another_program_or_to_nothing_is_named(stand):
    site = stand.start_tunnel()
    stand.status["GET /jupyter/api"] = 404
    steps = walk(site, names=IN_A_TUNNEL)
    assert "Jupyter is not at http://localhost:" in steps["reachable"].detail
    assert (steps["reachable"].fix, untried(steps)) == (
        "configure-jupyter",
        IN_A_TUNNEL[1:],
    )  # and gets no password
    stand.stop(stand.servers.pop())
    steps = walk(site, names=IN_A_TUNNEL)
    assert steps["reachable"].detail == "nothing answers through the tunnel: connection refused"
    assert (steps["reachable"].fix, untried(steps)) == ("harden-ssh", IN_A_TUNNEL[1:])


def test_plain_http_that_is_not_ours_is_not_visited(stand):
    site = stand.start()
    names = [name for name in NAMES if name != "redirect"]
    steps = walk(Site(site.host, site.base_url, site.certificate, site.https_port, 0), names=names)
    assert failed(steps) == []
    assert steps["reachable"].detail == f"127.0.0.1, port {site.https_port}"


def test_capitals_and_a_trailing_slash_make_no_difference(stand):
    site = stand.start()
    assert (
        failed(
            walk(Site("LocalHost", "/jupyter/", site.certificate, site.https_port, site.http_port))
        )
        == []
    )


def test_a_jupyter_without_a_path_is_asked_at_the_root(stand):
    site = stand.start()
    stand.status["GET /api/contents"] = 503
    steps = walk(Site("127.0.0.1", "/", site.certificate, site.https_port, site.http_port))
    assert failed(steps) == ["login", "kernel", "terminal", "foreign origin"]
    assert "HTTP 503" in steps["login"].detail


def test_a_name_that_does_not_exist_is_named(monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    steps = walk(Site("jupyter.invalid", "/jupyter", GOOD[0]))
    assert "jupyter.invalid: no such name" in steps["reachable"].detail
    assert untried(steps) == NAMES[1:]


def test_closed_ports_mean_that_apache_does_not_run(stand):
    site = stand.start()
    stand.stop()
    steps = walk(site)
    assert "is Apache running?" in steps["reachable"].detail
    assert steps["reachable"].fix == "install-apache"
    assert untried(steps) == NAMES[1:]


def test_a_closed_port_80_fails_only_the_redirect(stand):
    site = stand.start()
    stand.stop(stand.servers.pop())
    steps = walk(site)
    assert failed(steps) == ["reachable", "redirect"]
    assert (steps["reachable"].fix, steps["redirect"].detail) == (
        "configure-apache",
        "not tried: reachable failed",
    )


def test_silence_points_to_the_firewall(monkeypatch):
    def silent(*_, **__):
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket, "create_connection", silent)
    step = walk(Site("127.0.0.1", "/jupyter", GOOD[0]))["reachable"]
    assert (step.detail.count("no answer in time"), step.fix) == (2, "firewall")


def test_a_stale_certificate_means_apache_was_not_reloaded(stand):
    site = stand.start(certificate())
    steps = walk(Site(site.host, site.base_url, GOOD[0], site.https_port, site.http_port))
    assert "was Apache reloaded?" in steps["certificate"].detail
    assert steps["certificate"].fix == "configure-apache"


@pytest.mark.parametrize(
    ("pair", "symptom"),
    [
        (certificate(names=["other.example"]), "127.0.0.1: IP address mismatch"),
        (certificate(start=-9, end=-2), "certificate has expired"),
        (certificate(start=2, end=9), "certificate is not yet valid"),
    ],
    ids=["another name", "expired", "not yet valid"],
)
def test_no_password_goes_to_a_site_that_browsers_reject(stand, pair, symptom):
    steps = walk(stand.start(pair))
    assert symptom in steps["certificate"].detail
    assert steps["certificate"].fix == "issue-cert"
    assert failed(steps) == ["certificate", "login", "kernel", "terminal", "foreign origin"]
    assert untried(steps) == ["login", "kernel", "terminal", "foreign origin"]
    assert stand.requests == []


def test_browsers_trust_a_certificate_of_a_known_authority(stand, monkeypatch):
    site = stand.start()
    monkeypatch.setenv("SSL_CERT_FILE", str(stand.folder / "both.pem"))
    assert walk(site)["certificate"].detail == "TLS 1.3, 30 days left; browsers trust it"


@pytest.mark.parametrize(
    "installed", ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_a_missing_or_damaged_certificate_is_named(stand, installed):
    site = stand.start()
    step = walk(Site(site.host, site.base_url, installed, site.https_port, site.http_port))[
        "certificate"
    ]
    assert (step.detail, step.fix) == (
        "the installed certificate is missing or damaged",
        "issue-cert",
    )


def test_a_port_without_tls_is_named(stand):
    site = stand.start()
    step = walk(Site(site.host, site.base_url, site.certificate, site.http_port, site.http_port))[
        "certificate"
    ]
    assert (step.detail.startswith("no TLS on port"), step.fix) == (True, "configure-apache")


def test_a_handshake_that_hangs_is_given_up(monkeypatch, stand):
    monkeypatch.setattr(browser, "PATIENCE", 0.1)
    site = stand.start()
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        step = walk(Site(site.host, site.base_url, site.certificate, port, site.http_port))[
            "certificate"
        ]
    assert (step.detail, step.fix) == (
        f"no TLS on port {port}: no answer in time",
        "configure-apache",
    )


@pytest.mark.parametrize(
    ("broken", "symptom"),
    [
        ({"redirect": False}, "does not redirect to HTTPS"),
        ({"lost_path": True}, "plain HTTP redirects to"),
    ],
)
def test_plain_http_must_redirect_to_the_same_path_with_tls(stand, broken, symptom):
    vars(stand).update(broken)
    steps = walk(stand.start())
    assert failed(steps) == ["redirect"]
    assert (symptom in steps["redirect"].detail, steps["redirect"].fix) == (
        True,
        "configure-apache",
    )


def test_the_foreign_origin_is_tried_after_a_wrong_password(stand):
    steps = walk(stand.start(), password="wrong")
    assert (steps["login"].detail, steps["login"].fix) == (
        "Jupyter rejects the password",
        "configure-jupyter",
    )
    assert untried(steps) == ["kernel", "terminal"]
    assert steps["foreign origin"].ok


def test_the_foreign_origin_is_tried_without_a_password(stand):
    steps = walk(stand.start(), password=None)
    assert {steps[name].detail for name in ("login", "kernel", "terminal")} == {NO_PASSWORD}
    assert failed(steps) == ["login", "kernel", "terminal"]
    assert not any(method == "POST" and path.endswith("login") for method, path in stand.requests)


def test_a_jupyter_that_needs_no_password_is_noticed(stand):
    stand.everyone = True
    site = stand.start()
    for password in (PASSWORD, None):
        step = walk(site, password)["login"]
        assert (step.detail, step.fix) == (
            "anyone can use Jupyter without a password",
            "configure-jupyter",
        )


@pytest.mark.parametrize(
    ("software", "asked", "status", "symptom", "fix"),
    [
        (
            "Apache",
            "GET /jupyter/api/contents",
            503,
            "Apache runs but Jupyter does not answer",
            "configure-jupyter",
        ),
        (
            "Apache",
            "GET /jupyter/api/contents",
            404,
            "Jupyter is not at https://127.0.0.1",
            "configure-apache",
        ),
        (
            "Apache",
            "GET /jupyter/api/contents",
            403,
            "Apache refuses requests for the name 127.0.0.1",
            "configure-apache",
        ),
        (
            "Apache",
            "GET /jupyter/api/contents",
            200,
            "is not Jupyter's login page",
            "configure-apache",
        ),
        (
            "TornadoServer/6",
            "GET /jupyter/api/contents",
            404,
            "Jupyter is not at https://127.0.0.1",
            "configure-jupyter",
        ),
        (
            "TornadoServer/6",
            "GET /jupyter/api/contents",
            500,
            "Jupyter fails; see its log",
            "configure-jupyter",
        ),
        (
            "TornadoServer/6",
            "GET /jupyter/login",
            403,
            "Jupyter refuses requests for the name 127.0.0.1",
            "configure-jupyter",
        ),
        (
            "TornadoServer/6",
            "POST /jupyter/login",
            404,
            "does Apache pass on the Host header?",
            "configure-apache",
        ),
        (
            "TornadoServer/6",
            "POST /jupyter/login",
            500,
            "is the stored hash damaged?",
            "configure-jupyter",
        ),
        (
            "TornadoServer/6",
            "GET /jupyter/api/status",
            403,
            "Jupyter forgets the login",
            "configure-jupyter",
        ),
    ],
)
def test_each_wrong_answer_to_a_login_has_its_own_symptom(
    stand, software, asked, status, symptom, fix
):
    stand.software, stand.status = software, {asked: status}
    step = walk(stand.start())["login"]
    assert (symptom in step.detail, step.fix) == (True, fix), step.detail


@pytest.mark.parametrize(
    ("cookie", "fix"), [("xsrf", "configure-apache"), ("login", "configure-jupyter")]
)
def test_a_cookie_without_secure_fails_only_the_login(stand, cookie, fix):
    setattr(stand, f"{cookie}_cookie", "; Path=/jupyter")
    steps = walk(stand.start())
    assert failed(steps) == ["login"]
    assert (f"{cookie} cookie lacks Secure" in steps["login"].detail, steps["login"].fix) == (
        True,
        fix,
    )


def test_blocked_websockets_are_apaches_fault(stand):
    stand.websockets = False
    steps = walk(stand.start())
    assert failed(steps) == ["kernel", "terminal"]
    for name in ("kernel", "terminal"):
        assert steps[name].detail == "Apache does not pass on websockets (HTTP 400)"
        assert steps[name].fix == "configure-apache"
    assert ("DELETE", "/jupyter/api/kernels/one") in stand.requests
    assert stand.running == set()


@pytest.mark.parametrize(
    ("status", "symptom", "fix"),
    [
        (403, "does Apache pass on the Host header?", "configure-apache"),
        (404, "it died while starting", "configure-jupyter"),
    ],
)
def test_each_wrong_answer_to_a_websocket_has_its_own_symptom(stand, status, symptom, fix):
    stand.status["UPGRADE /jupyter/api/kernels/one/channels"] = status
    steps = walk(stand.start())
    assert failed(steps) == ["kernel"]
    assert (symptom in steps["kernel"].detail, steps["kernel"].fix) == (True, fix)


def test_a_kernel_that_takes_long_to_start_is_waited_for(stand, monkeypatch):
    monkeypatch.setattr(browser, "PATIENCE", 0.1)
    stand.slow = 1
    assert failed(walk(stand.start())) == []
    assert stand.slow == 0


def test_a_kernel_that_never_starts_is_jupyters_fault(stand, monkeypatch):
    monkeypatch.setattr(browser, "PATIENCE", 0.1)
    monkeypatch.setattr(browser, "LONG_PATIENCE", 0.15)
    stand.slow = 1000
    steps = walk(stand.start())
    assert failed(steps) == ["kernel"]
    assert (steps["kernel"].detail, steps["kernel"].fix) == (
        "it does not start within 0.15 s",
        "configure-jupyter",
    )


def test_a_jupyter_that_dies_is_not_blamed_on_websockets(stand):
    stand.crashes = True
    step = walk(stand.start())["kernel"]
    assert (step.detail, step.fix) == (
        "Apache runs but Jupyter does not answer (HTTP 503)",
        "configure-jupyter",
    )


def test_a_silent_kernel_and_terminal_are_shut_down(stand, monkeypatch):
    monkeypatch.setattr(browser, "LONG_PATIENCE", 0.1)
    stand.silent = True
    steps = walk(stand.start())
    assert failed(steps) == ["kernel", "terminal"]
    assert (steps["kernel"].detail, steps["kernel"].fix) == (
        "the kernel does not answer within 0.1 s",
        "configure-jupyter",
    )
    assert stand.running == set()


def test_a_site_that_serves_pages_of_other_sites_is_noticed(stand):
    stand.origin_checked = False
    steps = walk(stand.start())
    assert failed(steps) == ["foreign origin"]
    assert (
        steps["foreign origin"].detail == "a page of another site can read and open websockets here"
    )
    assert steps["foreign origin"].fix == "configure-apache"


def test_a_foreign_origin_is_noticed_without_a_password_too(stand):
    stand.origin_checked = False
    assert "can read here" in walk(stand.start(), password=None)["foreign origin"].detail


def test_a_jupyter_that_needs_no_xsrf_token_is_noticed(stand):
    stand.xsrf_checked = False
    steps = walk(stand.start())
    assert failed(steps) == ["foreign origin"]
    assert "without its XSRF token" in steps["foreign origin"].detail


def test_an_answer_that_is_not_http_is_a_failed_step(stand):
    stand.status["GET /jupyter/api/contents"] = 20
    steps = walk(stand.start())
    assert steps["login"].detail == "an answer that makes no sense (BadStatusLine)"
    assert untried(steps) == ["kernel", "terminal", "foreign origin"]

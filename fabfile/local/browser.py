"""Meet a Jupyter server the way a user's browser does, and name what is wrong in the operator's words."""

import contextlib
import hashlib
import json
import re
import socket
import ssl
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.cookiejar import CookieJar
from typing import Any
from urllib import parse, request
from urllib.error import URLError

from ..kit.secret import Secret

FOREIGN = "https://evil.example"


NO_PASSWORD = "no password given: set JUPYTER_PASSWORD"


PATIENCE = 10  # seconds for one answer


LONG_PATIENCE = 60  # seconds for a result of a kernel or a terminal


REFUSED = (401, 403, 404)  # Jupyter says 404 to a foreign origin


APACHE, CERT, JUPYTER = "configure-apache", "issue-cert", "configure-jupyter"


TAKEN_FOR_FOREIGN = (
    "Jupyter takes its own pages for another site's; does Apache pass the Host header on?"
)


NEEDS = {  # of each step
    "reachable": (),
    "certificate": ("https",),
    "redirect": ("http",),
    "login": ("https", "trust"),
    "kernel": ("https", "trust", "session"),
    "terminal": ("https", "trust", "session"),
    "foreign origin": ("https", "trust", "jupyter"),
}


FOUND_BY = {
    "https": "reachable",
    "http": "reachable",
    "trust": "certificate",
    "jupyter": "login",
    "session": "login",
}


@dataclass(frozen=True)
class Step:
    """One thing that a user's browser does, how it went, and the task that mends it."""

    name: str
    ok: bool
    detail: str
    fix: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Site:
    """Where Jupyter is reached, and the certificate (PEM, leaf first) that is installed there; *http_port* may be 0.

    With *https_port* 0 it is the end of a tunnel, at which Jupyter itself speaks plain HTTP.
    """

    host: str
    base_url: str
    certificate: str = field(repr=False)
    https_port: int = 443
    http_port: int = 80


def visit(site: Site, password: Secret | None) -> Iterator[Step]:
    """Yield each step of a visit as it happens; what fails is a step that is not ok, never an exception."""
    browser = _Browser(site, password)
    without = {
        "certificate": not site.https_port,
        "redirect": not (site.https_port and site.http_port),
    }
    for name, needs in NEEDS.items():
        if without.get(name):
            continue
        began, ok, fix = time.monotonic(), False, ""
        missing = next((need for need in needs if need not in browser.found), None)
        try:
            _demand(missing != "session" or password is not None, NO_PASSWORD)
            _demand(not missing, f"not tried: {FOUND_BY.get(missing or '')} failed")
            detail = getattr(browser, name.replace(" ", "_"))()
            ok = True
        except _Symptom as symptom:
            detail, fix = symptom.args
        except Exception as error:  # a server may answer anything at all
            detail, fix = _words(error), APACHE if name == "redirect" else JUPYTER
        yield Step(name, ok, detail, fix, round(time.monotonic() - began, 3))


class _Symptom(Exception):
    """What is wrong, in two texts: the symptom, and the task that mends it or nothing."""


def _demand(holds, symptom, fix=""):
    if not holds:
        raise _Symptom(symptom, fix)


class _AsIs(request.HTTPErrorProcessor):
    """Follows no redirect and raises for no status: both are what is looked at."""

    def http_response(self, _, answer):
        return answer

    https_response = http_response


class _Browser:
    """Each step returns what it saw or raises, and adds to `found` what later steps need."""

    def __init__(self, site, password):
        self.site, self.password = site, password
        self.host = site.host.strip("[]").lower()
        self.base = f"/{site.base_url.strip('/')}".rstrip("/")
        self.name = f"[{self.host}]" if ":" in self.host else self.host
        self.port = site.https_port or site.http_port
        self.netloc = self.name if self.port == 443 else f"{self.name}:{self.port}"
        self.origin = f"{'https' if site.https_port else 'http'}://{self.netloc}"
        self.cookies, self.found, self.tls = CookieJar(), set(), None

    def reachable(self):
        if not self.site.https_port:
            return self.at_the_end_of_a_tunnel()
        try:
            infos = socket.getaddrinfo(self.host, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            later = getattr(error, "errno", 0) == socket.EAI_AGAIN
            why = (
                "cannot be looked up; is this machine online?"
                if later
                else "no such name; does it have a DNS record?"
            )
            raise _Symptom(f"{self.host}: {why}", "") from None
        failed, ports = {}, {"https": self.site.https_port, "http": self.site.http_port}
        ports = {scheme: port for scheme, port in ports.items() if port}
        for scheme, port in ports.items():
            try:
                socket.create_connection((self.host, port), PATIENCE).close()
                self.found.add(scheme)
            except OSError as error:
                failed[f"port {port}: {_words(error)}"] = type(error)
        kinds, text = failed.values(), "; ".join(failed)
        _demand(TimeoutError not in kinds, f"{text}; is a firewall in between?", "firewall")
        _demand(
            ConnectionRefusedError not in kinds,
            f"{text}; does Apache run?",
            APACHE if self.found else "install-apache",
        )
        _demand(not failed, text)
        addresses = ", ".join(dict.fromkeys(str(info[4][0]) for info in infos))
        return f"{addresses}, port{'s'[: len(ports) - 1]} {' and '.join(map(str, ports.values()))}"

    def at_the_end_of_a_tunnel(self):
        """Find out that somebody answers there; whoever opened the tunnel knows by SSH which server that is."""
        try:
            answer, body = self.ask("GET", "/api")
        except OSError as error:
            raise _Symptom(
                f"nobody answers at the end of the tunnel: {_words(error)}", "harden-ssh"
            ) from None
        self.explain(answer)
        version = json.loads(body)["version"]
        self.found |= {"https", "trust"}
        return f"by the tunnel, Jupyter {version}"

    def certificate(self):
        found = re.search(
            "-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----",
            self.site.certificate,
            re.DOTALL,
        )
        leaf = found.group() if found else ""
        anything, installed = ssl.create_default_context(), ssl.create_default_context()
        anything.check_hostname, anything.verify_mode = False, ssl.CERT_NONE
        try:
            installed.load_verify_locations(cadata=leaf)
        except (ValueError, ssl.SSLError):
            raise _Symptom("the installed certificate is missing or damaged", CERT) from None
        # It is trusted even where its authority is unknown here, for SSH told what to expect.
        installed.verify_flags = ssl.VERIFY_X509_TRUSTED_FIRST | ssl.VERIFY_X509_PARTIAL_CHAIN
        try:
            with self.connect(anything) as stream:
                both = stream.getpeercert(binary_form=True), ssl.PEM_cert_to_DER_cert(leaf)
            served, expected = (hashlib.sha256(der).hexdigest() for der in both)
            text = f"another certificate is served (SHA-256 {served[:16]}…) than is installed ({expected[:16]}…)"
            _demand(served == expected, f"{text}; was Apache reloaded?", APACHE)
            with self.connect(installed) as stream:
                version, seen = stream.version().replace("v", " "), stream.getpeercert()
        except ssl.SSLCertVerificationError as error:
            raise _Symptom(
                f"browsers refuse it for {self.host}: {error.verify_message.rstrip('.')}", CERT
            ) from None
        except OSError as error:
            raise _Symptom(
                f"no TLS on port {self.site.https_port}: {_words(error)}", APACHE
            ) from None
        self.tls = installed
        self.found.add("trust")
        left = int(ssl.cert_time_to_seconds(seen["notAfter"]) - time.time()) // 86400
        try:
            self.connect(ssl.create_default_context()).close()
        except ssl.SSLCertVerificationError:
            return f"{version}, {left} days left; browsers warn, for no authority that they know signed it"
        return f"{version}, {left} days left; browsers trust it"

    def redirect(self):
        port, path = self.site.http_port, f"{self.base}/"
        answer, _ = self.ask("GET", f"http://{self.name}{'' if port == 80 else f':{port}'}{path}")
        leads = answer.status in (301, 302, 307, 308)
        _demand(leads, f"plain http answers HTTP {answer.status} and leads nobody to https", APACHE)
        to = parse.urlsplit(answer.headers.get("Location", ""))
        right = (to.scheme, to.hostname, to.port or 443, to.path) == (
            "https",
            self.host,
            self.site.https_port,
            path,
        )
        _demand(right, f"plain http leads to {to.geturl()!r}, not to {self.origin}{path}", APACHE)
        return f"HTTP {answer.status} to {to.geturl()}"

    def login(self):
        self.meet_login_page()
        _demand(self.password is not None, NO_PASSWORD)
        form = parse.urlencode({"password": self.password.reveal(), "_xsrf": self.xsrf()}).encode()
        status = self.ask("POST", "/login", form)[0].status
        _demand(status != 401, "the password is not accepted", JUPYTER)
        _demand(status not in REFUSED, f"{TAKEN_FOR_FOREIGN} (HTTP {status})", APACHE)
        _demand(
            status == 302,
            f"the login ends with HTTP {status}; is the stored hash damaged?",
            JUPYTER,
        )
        status = self.ask("GET", "/api/status")[0].status
        _demand(
            status == 200, f"the login does not last: the next request gets HTTP {status}", JUPYTER
        )
        self.found.add("session")
        # Apache marks Jupyter's _xsrf cookie; Jupyter itself marks the other, when it is told of https.
        bare = {cookie.name == "_xsrf" for cookie in self.cookies if self.tls and not cookie.secure}
        _demand(True not in bare, "the _xsrf cookie lacks Secure; does Apache add it?", APACHE)
        _demand(
            not bare,
            "the login cookie lacks Secure; does Jupyter hear (X-Forwarded-Proto) of https?",
            JUPYTER,
        )
        return "the password is accepted, and needed"

    def meet_login_page(self):
        """Find out that it is Jupyter who answers, and only to those who log in."""
        stranger, listing = self.ask("GET", "/api/contents")
        self.explain(stranger)
        if stranger.status == 200 and b'"content"' in listing:
            self.found.add("jupyter")
            raise _Symptom("anyone may use Jupyter without a password", JUPYTER)
        answer, page = self.ask("GET", "/login")
        self.explain(answer)
        _demand(
            answer.status != 403,
            f"Jupyter refuses requests for the name {self.host} (HTTP 403)",
            JUPYTER,
        )
        ours = (
            answer.status == 200
            and b'name="password"' in page
            and stranger.status in (302, *REFUSED)
        )
        _demand(ours, f"{self.origin}{self.base}/login is not Jupyter's login page", APACHE)
        self.found.add("jupyter")

    def kernel(self):
        session, ready = uuid.uuid4().hex, False

        def send(kind, **content):
            header = {
                "msg_id": uuid.uuid4().hex,
                "session": session,
                "username": "",
                "msg_type": kind,
                "version": "5.3",
            }
            message = {
                "channel": "shell",
                "header": header,
                "parent_header": {},
                "metadata": {},
                "content": content,
            }
            line.send(json.dumps(message))

        with self.started(
            "/api/kernels", "id", f"/api/kernels/{{}}/channels?session_id={session}"
        ) as (line, messages):
            send("kernel_info_request")
            for message in messages:
                kind, content = (message["msg_type"], message["content"]) if message else ("", {})
                if not message and not ready:
                    send("kernel_info_request")
                elif kind == "kernel_info_reply" and not ready:
                    ready = True
                    send("execute_request", code="6*7", silent=False, store_history=False)
                elif kind == "execute_result" and "42" in content["data"]["text/plain"]:
                    return "6*7 gives 42"
                elif kind == "status" and content["execution_state"] == "dead":
                    raise _Symptom("the kernel dies", JUPYTER)
        raise _Symptom(
            f"the kernel {'gives no result' if ready else 'stays silent'} for {LONG_PATIENCE} s",
            JUPYTER,
        )

    def terminal(self):
        shown = ""
        with self.started("/api/terminals", "name", "/terminals/websocket/{}") as (line, messages):
            line.send(json.dumps(["stdin", "echo $((6*7))x\r"]))
            for message in messages:
                shown += message[1] if message and message[0] == "stdout" else ""
                if "42x" in shown:
                    return "a shell computes 6*7"
        raise _Symptom(f"the terminal shows nothing for {LONG_PATIENCE} s", JUPYTER)

    def foreign_origin(self):
        read, _ = self.ask("GET", "/api", origin=FOREIGN)
        # Whoever would take an event refuses this one, which is empty, with 400: nothing comes of it.
        post, _ = self.ask("POST", "/api/events", {}, origin=FOREIGN, xsrf=False)
        bare, _ = self.ask("POST", "/api/events", {}, xsrf=False)
        opened = self.has_websockets(FOREIGN)
        for answer in (read, post, bare):
            self.explain(answer, absent=False)
        may = {
            "read": read.status == 200,
            "post": post.status not in REFUSED,
            "open websockets": opened,
        }
        fix = JUPYTER if "Access-Control-Allow-Origin" in read.headers else APACHE
        _demand(
            not any(may.values()),
            f"a page of another site may {' and '.join(filter(may.get, may))} here",
            fix,
        )
        _demand(
            bare.status in REFUSED,
            f"Jupyter takes a request without its XSRF token (HTTP {bare.status})",
            JUPYTER,
        )
        return f"refused: {', '.join(may)}{'' if 'session' in self.found else ' (asked without a login only)'}"

    def explain(self, answer, absent=True):
        """Raise what an answer means that anybody may get."""
        status, jupyter = answer.status, "Tornado" in answer.headers.get("Server", "")
        who = "Jupyter fails; see its log" if jupyter else "Apache runs but Jupyter does not answer"
        _demand(status < 500, f"{who} (HTTP {status})", JUPYTER)
        _demand(
            jupyter or status != 403,
            f"Apache refuses requests for the name {self.host} (HTTP 403)",
            APACHE,
        )
        text = f"Jupyter is not at {self.origin}{self.base} (HTTP 404)"
        _demand(status != 404 or not absent, text, JUPYTER if jupyter else APACHE)

    def connect(self, tls):
        plain = socket.create_connection((self.host, self.port), PATIENCE)
        return tls.wrap_socket(plain, server_hostname=self.host) if tls else plain

    def xsrf(self):
        return next((cookie.value for cookie in self.cookies if cookie.name == "_xsrf"), "")

    def ask(self, method, path, body=None, origin="", xsrf=True, patience=PATIENCE):
        """Return the response and its body; a request's *body* of bytes is a form, any other is JSON."""
        url = self.origin + self.base + path if path.startswith("/") else path
        headers = {"Origin": origin or self.origin} if origin or method != "GET" else {}
        if xsrf:
            headers["X-XSRFToken"] = self.xsrf()
        if body is not None and not isinstance(body, bytes):
            headers["Content-Type"], body = "application/json", json.dumps(body).encode()
        handlers = (
            request.HTTPSHandler(context=self.tls),
            request.HTTPCookieProcessor(self.cookies),
            _AsIs,
        )
        opener = request.build_opener(request.ProxyHandler({}), *handlers)
        with opener.open(
            request.Request(url, body, headers, method=method), timeout=patience
        ) as answer:
            return answer, answer.read(1 << 20)

    def upgrade(self, path, origin=""):
        """Ask for a websocket; return HTTP's status (None after silence, 0 if there is none), and the websocket or None."""
        import websocket

        asked = request.Request(f"{self.origin}{self.base}{path}")
        self.cookies.add_cookie_header(asked)
        headers: dict[str, Any] = {
            "origin": origin or self.origin,
            "host": self.netloc,
            "cookie": asked.get_header("Cookie"),
        }
        try:
            stream = self.connect(self.tls)
            line = websocket.create_connection(
                f"ws{asked.full_url[4:]}", socket=stream, redirect_limit=0, **headers
            )
        except websocket.WebSocketBadStatusException as error:
            return error.status_code, None  # its text has the answer's headers
        except (TimeoutError, websocket.WebSocketTimeoutException):
            return None, None
        except (OSError, websocket.WebSocketException):
            return 0, None
        return line.getstatus(), line

    def has_websockets(self, origin=""):
        """Return whether a page of *origin* can open a websocket that needs neither kernel nor terminal."""
        status, line = self.upgrade("/api/events/subscribe", origin)
        if line:
            line.shutdown()
        return status == 101

    @contextlib.contextmanager
    def started(self, path, key, channel):
        """Start a kernel or a terminal, open its websocket and hand out that and its messages; end it whatever happens."""
        deadline = time.monotonic() + LONG_PATIENCE
        answer, body = self.ask("POST", path, {}, patience=LONG_PATIENCE)
        self.explain(answer, absent=False)
        _demand(
            answer.status in (200, 201),
            f"Jupyter does not start it (HTTP {answer.status})",
            JUPYTER,
        )
        name, line = json.loads(body)[key], None
        try:
            status, line = self.upgrade(channel.format(name))
            # Jupyter lets nobody in to a kernel that still starts, so silence alone is not Apache's fault.
            while status is None and self.has_websockets():
                _demand(
                    time.monotonic() < deadline,
                    f"it does not come up in {LONG_PATIENCE} s",
                    JUPYTER,
                )
                status, line = self.upgrade(channel.format(name))
            _demand(status != 403, f"{TAKEN_FOR_FOREIGN} (HTTP 403)", APACHE)
            _demand(status != 404, "it died while it started", JUPYTER)
            if not line:
                self.explain(self.ask("GET", "/api/status")[0])
            seen = f"HTTP {status}" if status else "no answer"
            _demand(status == 101, f"websockets do not pass through Apache ({seen})", APACHE)
            yield line, _messages(line, deadline)
        finally:
            with contextlib.suppress(Exception):
                self.ask("DELETE", f"{path}/{name}")
            if line:
                line.shutdown()


def _messages(line, deadline):
    """Yield what arrives until the *deadline*, and None for every 5 s of silence."""
    from websocket import WebSocketTimeoutException

    while (left := deadline - time.monotonic()) > 0:
        line.settimeout(min(left, 5))
        try:
            text = line.recv()
        except WebSocketTimeoutException:
            yield None
            continue
        _demand(text, "the websocket is closed from the other side", JUPYTER)
        if isinstance(text, str):
            yield json.loads(text)


def _words(error):
    """Return what *error* is, without anything that was sent or answered: that may hold the password or a cookie."""
    error = (
        error.reason
        if isinstance(error, URLError) and isinstance(error.reason, Exception)
        else error
    )
    name = type(error).__name__
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if (
        isinstance(error, (ConnectionError, EOFError, ssl.SSLEOFError))
        or name == "WebSocketConnectionClosedException"
    ):
        return "the connection breaks off"
    if isinstance(error, OSError):
        return getattr(error, "reason", None) or error.strerror or name
    return f"an answer that makes no sense ({name})"

"""Meet a Jupyter server the way a user's browser does, and name what is wrong in the operator's words."""

import contextlib
import hashlib
import http.cookiejar
import json
import re
import socket
import ssl
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib import error, parse, request

from .kit.secret import Secret

FOREIGN = "https://evil.example"
NO_PASSWORD = "no password given: set JUPYTER_PASSWORD"
PATIENCE = 10  # seconds for one answer
LONG_PATIENCE = 60  # seconds for a kernel or a terminal to show a result
APACHE, CERT, JUPYTER = "configure-apache", "issue-cert", "configure-jupyter"

STEPS = {  # what each needs
    "reachable": (),
    "certificate": ("https",),
    "redirect": ("http",),
    "login": ("https", "trust"),
    "kernel": ("https", "trust", "session"),
    "terminal": ("https", "trust", "session"),
    "foreign origin": ("https", "trust", "jupyter"),
}
FOUND_BY = {"https": "reachable", "http": "reachable", "trust": "certificate", "jupyter": "login", "session": "login"}


@dataclass(frozen=True)
class Step:
    """One thing that a user's browser does, and how it went."""

    name: str
    ok: bool
    detail: str
    mend: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Site:
    """Where Jupyter is reached, and the certificate (PEM, leaf first) that is installed there."""

    host: str
    base_url: str
    certificate: str = field(repr=False)
    https_port: int = 443
    http_port: int = 80


def visit(site: Site, password: Secret | None) -> Iterator[Step]:
    """Yield each step of a visit as it happens; what fails is a step that is not ok, never an exception."""
    visitor = _Visitor(site, password)
    for name, needs in STEPS.items():
        began, ok, mend = time.monotonic(), False, ""
        missing = next((need for need in needs if need not in visitor.found), None)
        try:
            if missing == "session" and password is None:
                raise _Symptom(NO_PASSWORD)
            if missing:
                raise _Symptom(f"not tried: {FOUND_BY[missing]} failed")
            detail = getattr(visitor, name.replace(" ", "_"))()
            ok = True
        except _Symptom as symptom:
            detail, mend = symptom.args
        except Exception as trouble:  # a server may answer anything at all
            detail = _words(trouble)
        yield Step(name, ok, detail, mend, round(time.monotonic() - began, 3))


class _Symptom(Exception):
    def __init__(self, detail, mend=""):
        super().__init__(detail, mend)


class _Answer(NamedTuple):
    status: int
    headers: dict
    body: bytes

    @property
    def by_jupyter(self):
        return "Tornado" in self.headers.get("Server", "")

    def json(self):
        try:
            value = json.loads(self.body)
        except ValueError:
            value = None
        return value if isinstance(value, dict) else {}


class _AsIs(request.HTTPErrorProcessor):
    """Follow no redirect and raise for no status: both are what is looked at."""

    def http_response(self, _, response):
        return response

    https_response = http_response


class _Visitor:
    """A browser with its cookies; each step returns what it saw or raises, and adds to `found` what later steps need."""

    def __init__(self, site, password):
        self.site, self.password, self.found, self.tls = site, password, set(), None
        self.host = site.host.strip("[]").lower()
        self.base = f"/{site.base_url.strip('/')}".rstrip("/")
        self.netloc = self.at(site.https_port, 443)
        self.origin = f"https://{self.netloc}"
        self.cookies = http.cookiejar.CookieJar()

    def at(self, port, usual):
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if port == usual else f"{host}:{port}"

    def reachable(self):
        ports = self.site.https_port, self.site.http_port
        try:
            infos = socket.getaddrinfo(self.host, ports[0], type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as trouble:
            if getattr(trouble, "errno", 0) == socket.EAI_AGAIN:
                raise _Symptom(f"{self.host} cannot be looked up now; is this machine online?") from None
            raise _Symptom(f"no such name: {self.host}; does it have a DNS record?") from None
        troubles = {}
        for scheme, port in zip(("https", "http"), ports, strict=True):
            try:
                socket.create_connection((self.host, port), PATIENCE).close()
                self.found.add(scheme)
            except OSError as trouble:
                troubles[port] = trouble
        text = "; ".join(f"port {port}: {_words(trouble)}" for port, trouble in troubles.items())
        kinds = {type(trouble) for trouble in troubles.values()}
        if TimeoutError in kinds:
            raise _Symptom(f"{text}; is a firewall in between?", "firewall")
        if ConnectionRefusedError in kinds:
            raise _Symptom(f"{text}; does Apache run?", "install-apache" if len(troubles) == 2 else APACHE)
        if kinds:
            raise _Symptom(text)
        return f"{', '.join(dict.fromkeys(info[4][0] for info in infos))}, ports {ports[0]} and {ports[1]}"

    def certificate(self):
        leaf = re.search("-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", self.site.certificate, re.DOTALL)
        if not leaf:
            raise _Symptom("no certificate is installed", CERT)
        checked, unchecked = ssl.create_default_context(), ssl.create_default_context()
        unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
        checked.load_verify_locations(cadata=self.site.certificate)
        # What is installed is trusted even where its authority is unknown here: SSH told what to expect.
        checked.verify_flags = ssl.VERIFY_X509_TRUSTED_FIRST | ssl.VERIFY_X509_PARTIAL_CHAIN
        try:
            with self.connect(unchecked) as stream:
                ders = stream.getpeercert(binary_form=True), ssl.PEM_cert_to_DER_cert(leaf.group())
            served, installed = (hashlib.sha256(der).hexdigest()[:16] for der in ders)
            if served != installed:
                text = f"another certificate is served (SHA-256 {served}…) than the one installed ({installed}…)"
                raise _Symptom(f"{text}; was Apache reloaded?", APACHE)
            with self.connect(checked) as stream:
                version, seen = stream.version(), stream.getpeercert()
        except ssl.SSLCertVerificationError as trouble:
            expired = trouble.verify_message == "certificate has expired"
            fault = "it has expired" if expired else trouble.verify_message.rstrip(".")
            raise _Symptom(f"browsers refuse the certificate for {self.host}: {fault}", CERT) from None
        except OSError as trouble:
            raise _Symptom(f"no TLS on port {self.site.https_port}: {_words(trouble)}", APACHE) from None
        self.tls = checked
        self.found.add("trust")
        days = int(ssl.cert_time_to_seconds(seen["notAfter"]) - time.time()) // 86400
        return (
            f"{version.replace('v', ' ')}, {days} days left{'' if self.known() else ', browsers warn: its issuer is not known'}"
        )

    def known(self):
        """Return whether the authorities that this machine knows vouch for the certificate."""
        try:
            self.connect(ssl.create_default_context()).close()
        except ssl.SSLCertVerificationError:
            return False
        return True

    def redirect(self):
        path = f"{self.base}/"
        answer = self.ask("GET", f"http://{self.at(self.site.http_port, 80)}{path}")
        target = answer.headers.get("Location", "")
        if answer.status not in (301, 302, 307, 308):
            text = f"plain http answers HTTP {answer.status} and leads nobody to https"
            raise _Symptom(text, APACHE)
        to = parse.urlsplit(target)
        if (to.scheme, to.hostname, to.port or 443, to.path) != ("https", self.host, self.site.https_port, path):
            raise _Symptom(f"plain http leads to {target!r}, not to {self.origin}{path}", APACHE)
        return f"HTTP {answer.status} to {target}"

    def login(self):
        self.refuse_strangers()
        if self.password is None:
            raise _Symptom(NO_PASSWORD)
        form = parse.urlencode({"password": self.password.reveal(), "_xsrf": self.xsrf()}).encode()
        status = self.ask("POST", "/login", form).status
        if status == 401:
            raise _Symptom("the password is not accepted", JUPYTER)
        if status in (403, 404):
            raise _Symptom(f"Jupyter takes its own login page for another site's (HTTP {status}); is Host passed on?", APACHE)
        if status != 302:
            raise _Symptom(f"the login fails with HTTP {status}; is the stored hash damaged?", JUPYTER)
        status = self.ask("GET", "/api/status").status
        if status != 200:
            raise _Symptom(f"the login does not last: the next request gets HTTP {status}", JUPYTER)
        self.found.add("session")
        # Apache adds the mark to Jupyter's _xsrf cookie; to the login cookie Jupyter does, when it is told of https.
        for ours, name, mend in ((True, "_xsrf", APACHE), (False, "login", JUPYTER)):
            if any((cookie.name == "_xsrf") == ours and not cookie.secure for cookie in self.cookies):
                raise _Symptom(f"the {name} cookie lacks Secure: browsers would send it over plain http too", mend)
        return "the password is accepted, and needed"

    def refuse_strangers(self):
        """Find out that Jupyter answers, and nobody else, and only those who log in."""
        stranger = self.ask("GET", "/api/contents")
        _explain(stranger, self)
        if stranger.status == 200 and "content" in stranger.json():
            self.found.add("jupyter")
            raise _Symptom("anyone may use Jupyter without a password", JUPYTER)
        page = self.ask("GET", "/login")
        _explain(page, self)
        if page.status == 403:
            raise _Symptom(f"Jupyter refuses requests for the name {self.host} (HTTP 403)", JUPYTER)
        if page.status != 200 or b'name="password"' not in page.body or stranger.status not in (302, 401, 403):
            raise _Symptom(f"something else than Jupyter's login page is at {self.origin}{self.base}/login", APACHE)
        self.found.add("jupyter")

    def kernel(self):
        deadline, session, ready = time.monotonic() + LONG_PATIENCE, uuid.uuid4().hex, False
        with (
            self.made("/api/kernels", "id") as name,
            self.websocket(f"/api/kernels/{name}/channels?session_id={session}") as line,
        ):

            def send(kind, **content):
                header = {
                    "msg_id": uuid.uuid4().hex,
                    "session": session,
                    "username": "",
                    "msg_type": kind,
                    "version": "5.3",
                }
                frame = {"channel": "shell", "header": header, "parent_header": {}, "metadata": {}, "content": content}
                line.send(json.dumps(frame))

            send("kernel_info_request")
            for message in _messages(line, deadline):
                kind, content = message["msg_type"] if message else "silence", message["content"] if message else {}
                if kind == "silence" and not ready:
                    send("kernel_info_request")
                elif kind == "kernel_info_reply" and not ready:
                    ready = True
                    send("execute_request", code="6*7", silent=False, store_history=False)
                elif kind == "execute_result" and "42" in content["data"]["text/plain"]:
                    return "6*7 gives 42"
                elif kind == "status" and content["execution_state"] == "dead":
                    raise _Symptom("the kernel dies while it starts", JUPYTER)
        raise _Symptom(f"the kernel {'gives no result' if ready else 'stays silent'} for {LONG_PATIENCE} s", JUPYTER)

    def terminal(self):
        deadline, shown = time.monotonic() + LONG_PATIENCE, ""
        with self.made("/api/terminals", "name") as name, self.websocket(f"/terminals/websocket/{name}") as line:
            line.send(json.dumps(["stdin", "echo $((6*7))x\r"]))
            for message in _messages(line, deadline):
                shown += message[1] if message and message[0] == "stdout" else ""
                if "42x" in shown:
                    return "a shell computes 6*7"
        raise _Symptom(f"the terminal shows nothing for {LONG_PATIENCE} s", JUPYTER)

    def foreign_origin(self):
        read = self.ask("GET", "/api", origin=FOREIGN)
        # An empty event is refused as such (400) by who would take one, so nothing comes of it.
        post = self.ask("POST", "/api/events", {}, origin=FOREIGN, token=False)
        unasked = self.ask("POST", "/api/events", {}, token=False)
        status, line = self.upgrade("/api/events/subscribe", FOREIGN)
        if line:
            line.close()
        for answer in (read, post, unasked):
            _explain(answer, self, missing=False)
        allowed = {
            "read": read.status == 200,
            "post": post.status not in (401, 403, 404),
            "open websockets": status == 101,
        }
        if any(allowed.values()):
            text = f"a page of another site may {' and '.join(what for what, may in allowed.items() if may)} here"
            raise _Symptom(text, JUPYTER if "Access-Control-Allow-Origin" in read.headers else APACHE)
        if unasked.status not in (401, 403):
            raise _Symptom(f"Jupyter takes requests without its XSRF token (HTTP {unasked.status})", JUPYTER)
        return f"refused: {', '.join(allowed)}{'' if 'session' in self.found else ' (only asked without a login)'}"

    def connect(self, tls):
        plain = socket.create_connection((self.host, self.site.https_port), PATIENCE)
        return tls.wrap_socket(plain, server_hostname=self.host)

    def xsrf(self):
        return next((cookie.value for cookie in self.cookies if cookie.name == "_xsrf"), "")

    def ask(self, method, path, body=None, origin="", token=True, patience=PATIENCE):
        """Return the answer to a request; a *body* of bytes is a form, any other is JSON."""
        url = self.origin + self.base + path if path.startswith("/") else path
        headers = {"Origin": origin or self.origin} if origin or method != "GET" else {}
        if token and self.xsrf():
            headers["X-XSRFToken"] = self.xsrf()
        if body is not None and not isinstance(body, bytes):
            headers["Content-Type"], body = "application/json", json.dumps(body).encode()
        jar, secure = request.HTTPCookieProcessor(self.cookies), request.HTTPSHandler(context=self.tls)
        browser = request.build_opener(request.ProxyHandler({}), secure, jar, _AsIs)
        with browser.open(request.Request(url, body, headers, method=method), timeout=patience) as answer:
            return _Answer(answer.status, answer.headers, answer.read(1 << 20))

    @contextlib.contextmanager
    def made(self, path, key):
        """Have Jupyter start a kernel or a terminal, and end it whatever happens."""
        answer = self.ask("POST", path, {}, patience=LONG_PATIENCE)
        if answer.status not in (200, 201) or key not in answer.json():
            _explain(answer, self)
            raise _Symptom(f"Jupyter starts none (HTTP {answer.status})", JUPYTER)
        try:
            yield answer.json()[key]
        finally:
            with contextlib.suppress(Exception):
                self.ask("DELETE", f"{path}/{answer.json()[key]}")

    def upgrade(self, path, origin):
        """Ask for a websocket; return the status and, with 101, the websocket."""
        from websocket import WebSocketBadStatusException, create_connection

        asked = request.Request(f"{self.origin}{self.base}{path}")
        self.cookies.add_cookie_header(asked)
        options = {"origin": origin, "cookie": asked.get_header("Cookie"), "host": self.netloc, "redirect_limit": 0}
        stream = self.connect(self.tls)
        try:
            line = create_connection(f"wss{asked.full_url[5:]}", timeout=PATIENCE, socket=stream, **options)
        except WebSocketBadStatusException as trouble:
            return trouble.status_code, None
        return line.getstatus(), line

    @contextlib.contextmanager
    def websocket(self, path):
        try:
            status, line = self.upgrade(path, self.origin)
        except Exception as trouble:
            raise _Symptom(f"websockets do not pass through Apache: {_words(trouble)}", APACHE) from None
        if status == 403:
            raise _Symptom("Jupyter takes its own page for another site's (HTTP 403); is Host passed on?", APACHE)
        if status != 101:
            raise _Symptom(f"websockets do not pass through Apache (HTTP {status})", APACHE)
        try:
            yield line
        finally:
            with contextlib.suppress(Exception):
                line.close()


def _messages(line, deadline):
    """Yield what arrives on a websocket until the *deadline*, and None for each 5 s of silence."""
    from websocket import WebSocketTimeoutException

    while (left := deadline - time.monotonic()) > 0:
        line.settimeout(min(left, 5))
        try:
            text = line.recv()
        except WebSocketTimeoutException:
            yield None
            continue
        if not text:
            raise _Symptom("the websocket is closed from the other side", JUPYTER)
        if isinstance(text, str):
            yield json.loads(text)


def _explain(answer, visitor, missing=True):
    """Raise what an answer means that Apache gives in Jupyter's place, or, if *missing* matters, a 404."""
    status, place = answer.status, f"{visitor.origin}{visitor.base}"
    if status >= 500 and not answer.by_jupyter:
        raise _Symptom(f"Apache runs but Jupyter does not answer (HTTP {status})", JUPYTER)
    if status == 403 and not answer.by_jupyter:
        raise _Symptom(f"Apache refuses requests for the name {visitor.host} (HTTP 403)", APACHE)
    if status == 404 and missing:
        raise _Symptom(f"Jupyter is not at {place} (HTTP 404)", JUPYTER if answer.by_jupyter else APACHE)


def _words(trouble):
    """Return what *trouble* says, but nothing of what was sent or answered: it may hold the password or a cookie."""
    if isinstance(trouble, error.URLError) and isinstance(trouble.reason, Exception):
        trouble = trouble.reason
    name = type(trouble).__name__
    if isinstance(trouble, TimeoutError) or name == "WebSocketTimeoutException":
        return f"no answer for {PATIENCE} s"
    if isinstance(trouble, ConnectionRefusedError):
        return "the connection is refused"
    if isinstance(trouble, (ConnectionError, EOFError, ssl.SSLEOFError)) or name == "WebSocketConnectionClosedException":
        return "the connection breaks off"
    if isinstance(trouble, OSError):
        return getattr(trouble, "reason", None) or trouble.strerror or name
    return f"an answer that nobody understands ({name})"

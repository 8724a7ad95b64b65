"""A visitor of Jupyter by http.client and websocket-client, with no code of what is tested."""

import contextlib
import http.client
import http.cookies
import json
import socket
import ssl
import time
import uuid
from typing import NamedTuple
from urllib.parse import urlencode

import websocket

BASE = "/jupyter"
PASSWORD = "it's \"42\" $HOME `id` 'für' dich"


class Answer(NamedTuple):
    """An answer of a web server."""

    status: int
    headers: http.client.HTTPMessage
    text: str


class Line(http.client.HTTPSConnection):
    """A connection to an address that ignores the DNS."""

    def __init__(self, name, address, port, context):
        super().__init__(name, port, context=context, timeout=30)
        self.address = address

    def connect(self):
        """Connect and check the certificate for the name."""
        plain = socket.create_connection((self.address, self.port), self.timeout)
        self.sock = self._context.wrap_socket(plain, server_hostname=self.host)


class Visitor:
    """A client with cookies that trusts one certificate or authority; without one, plain HTTP.

    The latter is as through a tunnel, where *address* is an address and a port.
    """

    def __init__(self, address, certificate=None, name=None, port=443, base=BASE):
        self.address, self.name, self.port, self.base = address, name or address, port, base
        self.tls = ssl.create_default_context(cadata=certificate) if certificate else None
        self.cookies = {}

    @property
    def netloc(self):
        """The name, with its port if it is not the default."""
        return self.name if self.port == 443 else f"{self.name}:{self.port}"

    @property
    def cookie(self):
        """The cookies as a header line."""
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())

    def ask(self, method, path, body=None, **headers):
        """Request a path below Jupyter's base URL."""
        headers = {"Cookie": self.cookie, "X-XSRFToken": self.cookies.get("_xsrf", "")} | headers
        if self.tls:
            line = Line(self.name, self.address, self.port, self.tls)
        else:
            line = http.client.HTTPConnection(self.address, timeout=30)
        with contextlib.closing(line):
            line.request(method, self.base + path, body, headers)
            answer = line.getresponse()
            for text in answer.headers.get_all("Set-Cookie", []):
                self.cookies |= {
                    name: morsel.coded_value
                    for name, morsel in http.cookies.SimpleCookie(text).items()
                }
            return Answer(answer.status, answer.headers, answer.read().decode())

    def log_in(self, password):
        """Log in by the form and return the status: 302 if the password is right."""
        self.cookies.clear()
        page = self.ask("GET", "/login")
        if page.status != 200:
            return page.status
        form = urlencode({"password": password, "_xsrf": self.cookies["_xsrf"]})
        return self.ask(
            "POST", "/login", form, **{"Content-Type": "application/x-www-form-urlencoded"}
        ).status

    def websocket(self, path, origin=None, host=None):
        """Open a websocket; raises WebSocketBadStatusException if rejected."""
        scheme, place = ("https", self.netloc) if self.tls else ("http", self.address)
        options = {"origin": origin or f"{scheme}://{place}", "host": host or place}
        if self.tls:
            url = f"wss://{self.address}:{self.port}{self.base}{path}"
            options["sslopt"] = {"context": self.tls, "server_hostname": self.name}
        else:
            url = f"ws://{self.address}{self.base}{path}"
        # A busy server needs a while to accept; then silence for two seconds is a lost message.
        line = websocket.create_connection(url, timeout=30, cookie=self.cookie, **options)
        line.settimeout(2)
        return line

    @contextlib.contextmanager
    def started(self, kind, key):
        """Start a kernel or a terminal, and end it after the block."""
        name = json.loads(self.ask("POST", f"/api/{kind}", "{}").text)[key]
        try:
            yield name
        finally:
            self.ask("DELETE", f"/api/{kind}/{name}")

    def compute(self, code):
        """Run code in a new kernel and return its result."""
        with self.kernel() as run:
            return run(code)

    @contextlib.contextmanager
    def kernel(self):
        """Start a kernel; yield a function that runs code in it over one websocket."""
        with self.started("kernels", "id") as kernel:
            with self.line(kernel) as run:
                yield run

    def compute_in(self, kernel, code):
        """Run code in a running kernel and return its result."""
        with self.line(kernel) as run:
            return run(code)

    @contextlib.contextmanager
    def line(self, kernel):
        """Open a websocket to a running kernel; yield a function that runs code in it."""
        with contextlib.closing(self.websocket(f"/api/kernels/{kernel}/channels")) as line:
            line.send(_message("kernel_info_request"))
            messages = _received(line, again=_message("kernel_info_request"))
            next(message for message in messages if message["msg_type"] == "kernel_info_reply")

            def run(code):
                line.send(_message("execute_request", code=code, silent=False))
                results = (
                    message
                    for message in _received(line)
                    if message["msg_type"] == "execute_result"
                )
                return next(results)["content"]["data"]["text/plain"]

            yield run

    def type_in_terminal(self, text, until):
        """Type into a new terminal and return its output once it contains *until*."""
        with self.started("terminals", "name") as name:
            with contextlib.closing(self.websocket(f"/terminals/websocket/{name}")) as line:
                line.send(json.dumps(["stdin", text]))
                shown = ""
                for kind, *texts in _received(line):
                    shown += texts[0] if kind == "stdout" else ""
                    if until in shown:
                        return shown


def eventually(condition, seconds=30):
    """Wait until a condition is true; return whether it became true."""
    deadline = time.monotonic() + seconds
    while not (holds := condition()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return holds


def _message(kind, **content):
    header = {
        "msg_id": uuid.uuid4().hex,
        "session": "test",
        "username": "",
        "msg_type": kind,
        "version": "5.3",
    }
    parts = {"header": header, "parent_header": {}, "metadata": {}, "content": content}
    return json.dumps({"channel": "shell", **parts})


def _received(line, again=None, seconds=60):
    """Yield messages; repeat the question after two seconds of silence."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            yield json.loads(line.recv())
        except websocket.WebSocketTimeoutException:
            if again:
                line.send(again)
    raise TimeoutError(f"no answer for {seconds} s")

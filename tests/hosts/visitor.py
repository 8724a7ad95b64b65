"""A visitor of Jupyter with a client of its own: http.client and websocket-client, and nothing of what is tested."""

import contextlib
import http.client
import http.cookies
import json
import ssl
import time
import uuid
from typing import NamedTuple
from urllib.parse import urlencode

import websocket

BASE = "/jupyter"
PASSWORD = "it's \"42\" $HOME `id` 'für' dich"


class Answer(NamedTuple):
    """What a web server answered."""

    status: int
    headers: http.client.HTTPMessage
    text: str


class Visitor:
    """Somebody who trusts one certificate and keeps cookies."""

    def __init__(self, address, certificate):
        self.address = address
        self.tls = ssl.create_default_context(cadata=certificate)
        self.cookies = {}

    @property
    def cookie(self):
        """The cookies as a header."""
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())

    def ask(self, method, path, body=None, **headers):
        """Ask for a path below Jupyter's own."""
        headers = {"Cookie": self.cookie, "X-XSRFToken": self.cookies.get("_xsrf", "")} | headers
        with contextlib.closing(http.client.HTTPSConnection(self.address, context=self.tls, timeout=30)) as line:
            line.request(method, BASE + path, body, headers)
            answer = line.getresponse()
            for text in answer.headers.get_all("Set-Cookie", []):
                self.cookies |= {name: morsel.coded_value for name, morsel in http.cookies.SimpleCookie(text).items()}
            return Answer(answer.status, answer.headers, answer.read().decode())

    def log_in(self, password):
        """Fill in the form; the status is 302 where the password is right."""
        self.cookies.clear()
        page = self.ask("GET", "/login")
        if page.status != 200:
            return page.status
        form = urlencode({"password": password, "_xsrf": self.cookies["_xsrf"]})
        return self.ask("POST", "/login", form, **{"Content-Type": "application/x-www-form-urlencoded"}).status

    def websocket(self, path, origin=None, host=None):
        """Open a websocket; WebSocketBadStatusException tells who is refused."""
        options = {"origin": origin or f"https://{self.address}", "host": host or self.address}
        url = f"wss://{self.address}{BASE}{path}"
        return websocket.create_connection(url, timeout=2, sslopt={"context": self.tls}, cookie=self.cookie, **options)

    @contextlib.contextmanager
    def started(self, kind, key):
        """Have a kernel or a terminal started, and ended again."""
        name = json.loads(self.ask("POST", f"/api/{kind}", "{}").text)[key]
        try:
            yield name
        finally:
            self.ask("DELETE", f"/api/{kind}/{name}")

    def compute(self, code):
        """Have a new kernel run code, and return its result."""
        with self.started("kernels", "id") as kernel:
            line, asked = self.websocket(f"/api/kernels/{kernel}/channels"), False
            with contextlib.closing(line):
                line.send(_message("kernel_info_request"))
                for message in _received(line, again=_message("kernel_info_request")):
                    if message["msg_type"] == "kernel_info_reply" and not asked:
                        line.send(_message("execute_request", code=code, silent=False))
                        asked = True
                    if message["msg_type"] == "execute_result":
                        return message["content"]["data"]["text/plain"]

    def type_in_terminal(self, text, until):
        """Type into a new terminal and return what it shows, as soon as *until* is a part of it."""
        with self.started("terminals", "name") as name:
            with contextlib.closing(self.websocket(f"/terminals/websocket/{name}")) as line:
                line.send(json.dumps(["stdin", text]))
                shown = ""
                for kind, *texts in _received(line):
                    shown += texts[0] if kind == "stdout" else ""
                    if until in shown:
                        return shown


def eventually(condition, seconds=15):
    """Wait until something holds; the answer is whether it does."""
    deadline = time.monotonic() + seconds
    while not (holds := condition()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return holds


def _message(kind, **content):
    header = {"msg_id": uuid.uuid4().hex, "session": "test", "username": "", "msg_type": kind, "version": "5.3"}
    parts = {"header": header, "parent_header": {}, "metadata": {}, "content": content}
    return json.dumps({"channel": "shell", **parts})


def _received(line, again=None, seconds=60):
    """What arrives; after two seconds of silence the question is asked again."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            yield json.loads(line.recv())
        except websocket.WebSocketTimeoutException:
            if again:
                line.send(again)
    raise TimeoutError(f"no answer for {seconds} s")

"""Requests to a Jupyter server as a browser makes them: TLS, cookies, XSRF token, websockets."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPResponse
from http.cookiejar import CookieJar
from typing import Any
from urllib.error import URLError

PATIENCE = 10  # seconds to wait for one answer
LONG_PATIENCE = 60  # seconds to wait for a result from a kernel or a terminal

REFUSED = (401, 403, 404)  # Jupyter answers a foreign origin with 404

# The tasks that fix what a visit finds.
APACHE, CERT, JUPYTER = "configure-apache", "issue-cert", "configure-jupyter"

WRONG_HOST = "Jupyter takes its own pages for another site's; does Apache pass on the Host header?"


@dataclass(frozen=True)
class Site:
    """Where Jupyter is reached.

    Args:
        host: The name or address in the browser's address bar.
        base_url: The path of Jupyter, such as ``/jupyter``.
        certificate: The certificate that is installed on the server, as PEM, leaf first.
        https_port: The port with TLS. 0 means the end of a tunnel, where Jupyter speaks plain HTTP.
        http_port: The port with plain HTTP, or 0 if it is not ours.
    """

    host: str
    base_url: str
    certificate: str = field(repr=False)
    https_port: int = 443
    http_port: int = 80


class Symptom(Exception):
    """Something is wrong with the site.

    Args:
        text: What is wrong, for the operator.
        fix: The task that fixes it, or an empty string.
    """

    def __init__(self, text: str, fix: str = "") -> None:
        super().__init__(text)
        self.text, self.fix = text, fix


def require(holds: object, text: str, fix: str = "") -> None:
    """Raise `Symptom` with *text* and *fix* unless *holds*."""
    if not holds:
        raise Symptom(text, fix)


class _AsIs(urllib.request.HTTPErrorProcessor):
    """Hand out every response: redirects and errors are what a visit looks at."""

    def http_response(self, request: Any, response: Any) -> Any:
        return response

    https_response = http_response


class Browser:
    """A browser with an empty profile that visits one site.

    Attributes:
        origin: Scheme, name and port of the site, as a browser sends them.
        base: The path of Jupyter without a trailing slash.
        tls: The TLS context to use, or None for plain HTTP. A visit sets it after it has checked
            the certificate.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        self.host = site.host.strip("[]").lower()
        self.name = f"[{self.host}]" if ":" in self.host else self.host
        self.port = site.https_port or site.http_port
        self.netloc = self.name if self.port == 443 else f"{self.name}:{self.port}"
        self.origin = f"{'https' if site.https_port else 'http'}://{self.netloc}"
        self.base = f"/{site.base_url.strip('/')}".rstrip("/")
        self.cookies = CookieJar()
        self.tls: ssl.SSLContext | None = None

    def connect(self, tls: ssl.SSLContext | None) -> Any:
        """Open a connection to the site and return its socket; with *tls*, after the handshake."""
        plain = socket.create_connection((self.host, self.port), PATIENCE)
        return tls.wrap_socket(plain, server_hostname=self.host) if tls else plain

    def xsrf(self) -> str:
        """Return Jupyter's XSRF token, or an empty string before there is one."""
        return next((cookie.value or "" for cookie in self.cookies if cookie.name == "_xsrf"), "")

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        origin: str = "",
        xsrf: bool = True,
        patience: float | None = None,
    ) -> tuple[HTTPResponse, bytes]:
        """Send a request and return the response with the first MiB of its body.

        Args:
            method: The HTTP method.
            path: A path below Jupyter's, or a whole URL.
            body: A form, as bytes, or any other value to send as JSON.
            origin: The page that the request claims to come from; the site itself by default.
            xsrf: Whether to send the XSRF token.
            patience: Seconds to wait for the response; `PATIENCE` by default.

        Raises:
            OSError: The connection fails or the server does not answer in time.
        """
        url = self.origin + self.base + path if path.startswith("/") else path
        headers = {"Origin": origin or self.origin} if origin or method != "GET" else {}
        if xsrf:
            headers["X-XSRFToken"] = self.xsrf()
        if body is not None and not isinstance(body, bytes):
            headers["Content-Type"] = "application/json"
            body = json.dumps(body).encode()
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPSHandler(context=self.tls),
            urllib.request.HTTPCookieProcessor(self.cookies),
            _AsIs,
        )
        asked = urllib.request.Request(url, body, headers, method=method)
        with opener.open(asked, timeout=patience or PATIENCE) as response:
            return response, response.read(1 << 20)

    def explain(self, response: HTTPResponse, absent: bool = True) -> None:
        """Raise `Symptom` for what any visitor may be told.

        Args:
            response: An answer to any request.
            absent: Whether 404 means that Jupyter is not at this path.
        """
        status, jupyter = response.status, "Tornado" in response.headers.get("Server", "")
        who = "Jupyter fails; see its log" if jupyter else "Apache runs but Jupyter does not answer"
        require(status < 500, f"{who} (HTTP {status})", JUPYTER)
        refused = f"Apache refuses requests for the name {self.host} (HTTP 403)"
        require(jupyter or status != 403, refused, APACHE)
        elsewhere = f"Jupyter is not at {self.origin}{self.base} (HTTP 404)"
        require(status != 404 or not absent, elsewhere, JUPYTER if jupyter else APACHE)

    def upgrade(self, path: str, origin: str = "") -> tuple[int | None, Any]:
        """Open a websocket.

        Args:
            path: A path below Jupyter's.
            origin: The page that opens it; the site itself by default.

        Returns:
            The HTTP status and the websocket. The status is None if the server stays silent and 0
            if it sends no HTTP; the websocket is None unless the status is 101.
        """
        import websocket

        asked = urllib.request.Request(f"{self.origin}{self.base}{path}")
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
            return error.status_code, None  # its text would show the headers of the answer
        except (TimeoutError, websocket.WebSocketTimeoutException):
            return None, None
        except (OSError, websocket.WebSocketException):
            return 0, None
        return line.getstatus(), line

    def has_websockets(self, origin: str = "") -> bool:
        """Return whether a page of *origin* can open a websocket to Jupyter."""
        # This one needs neither a kernel nor a terminal.
        status, line = self.upgrade("/api/events/subscribe", origin)
        if line:
            line.shutdown()
        return status == 101

    @contextlib.contextmanager
    def started(self, path: str, key: str, channel: str) -> Iterator[tuple[Any, Iterator[Any]]]:
        """Start a kernel or a terminal, and shut it down at the end of the block.

        Args:
            path: Where to start it, such as ``/api/kernels``.
            key: The field of the answer that holds its name.
            channel: The path of its websocket, with ``{}`` for the name.

        Yields:
            The websocket, and an iterator over its messages as `_messages` gives them.

        Raises:
            Symptom: It does not start, or its websocket cannot be opened.
        """
        deadline = time.monotonic() + LONG_PATIENCE
        response, body = self.ask("POST", path, {}, patience=LONG_PATIENCE)
        self.explain(response, absent=False)
        failed = f"Jupyter does not start it (HTTP {response.status})"
        require(response.status in (200, 201), failed, JUPYTER)
        name, line = json.loads(body)[key], None
        try:
            status, line = self.upgrade(channel.format(name))
            # Jupyter does not answer for a kernel that is still starting, so silence alone is not
            # Apache's fault.
            while status is None and self.has_websockets():
                late = f"it does not start within {LONG_PATIENCE} s"
                require(time.monotonic() < deadline, late, JUPYTER)
                status, line = self.upgrade(channel.format(name))
            require(status != 403, f"{WRONG_HOST} (HTTP 403)", APACHE)
            require(status != 404, "it died while starting", JUPYTER)
            if not line:
                self.explain(self.ask("GET", "/api/status")[0])
            seen = f"HTTP {status}" if status else "no answer"
            require(status == 101, f"Apache does not pass on websockets ({seen})", APACHE)
            yield line, _messages(line, deadline)
        finally:
            with contextlib.suppress(Exception):
                self.ask("DELETE", f"{path}/{name}")
            if line:
                line.shutdown()


def _messages(line: Any, deadline: float) -> Iterator[Any]:
    """Yield the JSON messages that arrive before *deadline*, and None for every 5 s of silence."""
    from websocket import WebSocketTimeoutException

    while (left := deadline - time.monotonic()) > 0:
        line.settimeout(min(left, 5))
        try:
            text = line.recv()
        except WebSocketTimeoutException:
            yield None
            continue
        require(text, "the server closed the websocket", JUPYTER)
        if isinstance(text, str):
            yield json.loads(text)


def describe(error: Exception) -> str:
    """Return what *error* means, without what was sent or received.

    That could contain the password or a cookie.
    """
    if isinstance(error, URLError) and isinstance(error.reason, Exception):
        error = error.reason
    name = type(error).__name__
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    broken = isinstance(error, (ConnectionError, EOFError, ssl.SSLEOFError))
    if broken or name == "WebSocketConnectionClosedException":
        return "the connection was closed"
    if isinstance(error, OSError):
        return getattr(error, "reason", None) or error.strerror or name
    return f"an answer that makes no sense ({name})"

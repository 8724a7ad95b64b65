"""A visit to a Jupyter server, step by step as a person's browser makes it, for `verify`."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import ssl
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib import parse

from ..kit.secret import Secret
from . import browser
from .browser import (
    APACHE,
    CERT,
    JUPYTER,
    REFUSED,
    WRONG_HOST,
    Browser,
    Site,
    Symptom,
    describe,
    require,
)

FOREIGN = "https://evil.example"
NO_PASSWORD = "no password given; set JUPYTER_PASSWORD"

# The steps of a visit, and what each of them needs.
NEEDS = {
    "reachable": (),
    "certificate": ("https",),
    "redirect": ("http",),
    "login": ("https", "trust"),
    "kernel": ("https", "trust", "session"),
    "terminal": ("https", "trust", "session"),
    "foreign origin": ("https", "trust", "jupyter"),
}

# The step that provides what others need.
PROVIDER = {
    "https": "reachable",
    "http": "reachable",
    "trust": "certificate",
    "jupyter": "login",
    "session": "login",
}


@dataclass(frozen=True)
class Step:
    """One thing that a browser does on a visit.

    Args:
        name: Its name, as in `NEEDS`.
        ok: Whether it worked.
        detail: What happened, for the operator.
        fix: The task that fixes it, or an empty string.
        seconds: How long it took.
    """

    name: str
    ok: bool
    detail: str
    fix: str = ""
    seconds: float = 0.0


def visit(site: Site, password: Secret | None) -> Iterator[Step]:
    """Visit *site*: log in, run a cell, use a terminal, and try what a foreign page may do.

    Args:
        site: Where Jupyter is.
        password: Jupyter's password. Without it, steps that need a login fail.

    Yields:
        Each step as it happens. A failure is a step that is not ok; it never raises.
    """
    guest = _Visit(site, password)
    skipped = {
        "certificate": not site.https_port,
        "redirect": not (site.https_port and site.http_port),
    }
    for name, needs in NEEDS.items():
        if skipped.get(name):
            continue
        began, ok, fix = time.monotonic(), False, ""
        missing = next((need for need in needs if need not in guest.found), None)
        try:
            require(missing != "session" or password is not None, NO_PASSWORD)
            require(not missing, f"not tried: {PROVIDER.get(missing or '')} failed")
            detail = getattr(guest, name.replace(" ", "_"))()
            ok = True
        except Symptom as symptom:
            detail, fix = symptom.text, symptom.fix
        except Exception as error:  # a server may send anything
            detail, fix = describe(error), APACHE if name == "redirect" else JUPYTER
        yield Step(name, ok, detail, fix, round(time.monotonic() - began, 3))


class _Visit:
    """The steps; each returns what it saw or raises, and adds to `found` what later steps need."""

    def __init__(self, site: Site, password: Secret | None) -> None:
        self.site, self.password = site, password
        self.browser = Browser(site)
        self.found: set[str] = set()

    def reachable(self) -> str:
        if not self.site.https_port:
            return self._reachable_by_tunnel()
        host = self.browser.host
        try:
            infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            later = getattr(error, "errno", 0) == socket.EAI_AGAIN
            why = (
                "the lookup failed; is this machine online?"
                if later
                else "no such name; does it have a DNS record?"
            )
            raise Symptom(f"{host}: {why}") from None
        ports = {"https": self.site.https_port, "http": self.site.http_port}
        ports = {scheme: port for scheme, port in ports.items() if port}
        self._check_ports(host, ports)
        addresses = ", ".join(dict.fromkeys(str(info[4][0]) for info in infos))
        return f"{addresses}, port{'s'[: len(ports) - 1]} {' and '.join(map(str, ports.values()))}"

    def _check_ports(self, host: str, ports: dict[str, int]) -> None:
        failed = {}
        for scheme, port in ports.items():
            try:
                socket.create_connection((host, port), browser.PATIENCE).close()
                self.found.add(scheme)
            except OSError as error:
                failed[f"port {port}: {describe(error)}"] = type(error)
        kinds, text = failed.values(), "; ".join(failed)
        blocked = TimeoutError in kinds
        require(not blocked, f"{text}; does a firewall block it?", "firewall")
        closed = ConnectionRefusedError in kinds
        fix = APACHE if self.found else "install-apache"
        require(not closed, f"{text}; is Apache running?", fix)
        require(not failed, text)

    def _reachable_by_tunnel(self) -> str:
        """Check that Jupyter answers; the tunnel knows by SSH which server that is."""
        try:
            response, body = self.browser.ask("GET", "/api")
        except OSError as error:
            raise Symptom(
                f"nothing answers through the tunnel: {describe(error)}", "harden-ssh"
            ) from None
        self.browser.explain(response)
        version = json.loads(body)["version"]
        self.found |= {"https", "trust"}
        return f"through the tunnel, Jupyter {version}"

    def certificate(self) -> str:
        leaf, installed = self._installed()
        anything = ssl.create_default_context()
        anything.check_hostname, anything.verify_mode = False, ssl.CERT_NONE
        try:
            with self.browser.connect(anything) as stream:
                served = stream.getpeercert(binary_form=True)
            self._compare(served, ssl.PEM_cert_to_DER_cert(leaf))
            with self.browser.connect(installed) as stream:
                version, fields = stream.version().replace("v", " "), stream.getpeercert()
        except ssl.SSLCertVerificationError as error:
            why = error.verify_message.rstrip(".")
            raise Symptom(f"browsers reject it for {self.browser.host}: {why}", CERT) from None
        except OSError as error:
            text = f"no TLS on port {self.site.https_port}: {describe(error)}"
            raise Symptom(text, APACHE) from None
        self.browser.tls = installed
        self.found.add("trust")
        left = int(ssl.cert_time_to_seconds(fields["notAfter"]) - time.time()) // 86400
        try:
            self.browser.connect(ssl.create_default_context()).close()
        except ssl.SSLCertVerificationError:
            why = "browsers warn, as no authority they trust signed it"
            return f"{version}, {left} days left; {why}"
        return f"{version}, {left} days left; browsers trust it"

    def _installed(self) -> tuple[str, ssl.SSLContext]:
        """Return the installed certificate as PEM, and a context that trusts it."""
        found = re.search(
            "-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----",
            self.site.certificate,
            re.DOTALL,
        )
        leaf, context = found.group() if found else "", ssl.create_default_context()
        try:
            context.load_verify_locations(cadata=leaf)
        except (ValueError, ssl.SSLError):
            raise Symptom("the installed certificate is missing or damaged", CERT) from None
        # SSH told which certificate to expect, so its authority need not be known here.
        context.verify_flags = ssl.VERIFY_X509_TRUSTED_FIRST | ssl.VERIFY_X509_PARTIAL_CHAIN
        return leaf, context

    @staticmethod
    def _compare(served: bytes, installed: bytes) -> None:
        seen, expected = (hashlib.sha256(der).hexdigest() for der in (served, installed))
        text = (
            f"the server sends another certificate (SHA-256 {seen[:16]}…) than the installed one "
            f"({expected[:16]}…); was Apache reloaded?"
        )
        require(seen == expected, text, APACHE)

    def redirect(self) -> str:
        site, port = self.browser, self.site.http_port
        path = f"{site.base}/"
        url = f"http://{site.name}{'' if port == 80 else f':{port}'}{path}"
        response, _ = site.ask("GET", url)
        status = response.status
        redirects = status in (301, 302, 307, 308)
        require(redirects, f"plain HTTP does not redirect to HTTPS (HTTP {status})", APACHE)
        to = parse.urlsplit(response.headers.get("Location", ""))
        target = (to.scheme, to.hostname, to.port or 443, to.path)
        expected = ("https", site.host, self.site.https_port, path)
        wrong = f"plain HTTP redirects to {to.geturl()!r}, not to {site.origin}{path}"
        require(target == expected, wrong, APACHE)
        return f"HTTP {status} to {to.geturl()}"

    def login(self) -> str:
        self._find_login_page()
        if self.password is None:
            raise Symptom(NO_PASSWORD)
        form = {"password": self.password.reveal(), "_xsrf": self.browser.xsrf()}
        status = self.browser.ask("POST", "/login", parse.urlencode(form).encode())[0].status
        require(status != 401, "Jupyter rejects the password", JUPYTER)
        require(status not in REFUSED, f"{WRONG_HOST} (HTTP {status})", APACHE)
        damaged = f"the login ends with HTTP {status}; is the stored hash damaged?"
        require(status == 302, damaged, JUPYTER)
        status = self.browser.ask("GET", "/api/status")[0].status
        forgotten = f"Jupyter forgets the login: the next request gets HTTP {status}"
        require(status == 200, forgotten, JUPYTER)
        self.found.add("session")
        self._check_cookies()
        return "Jupyter asks for the password and accepts it"

    def _find_login_page(self) -> None:
        """Check that Jupyter answers, and shows its contents only after a login."""
        stranger, listing = self.browser.ask("GET", "/api/contents")
        self.browser.explain(stranger)
        if stranger.status == 200 and b'"content"' in listing:
            self.found.add("jupyter")
            raise Symptom("anyone can use Jupyter without a password", JUPYTER)
        response, page = self.browser.ask("GET", "/login")
        self.browser.explain(response)
        refused = f"Jupyter refuses requests for the name {self.browser.host} (HTTP 403)"
        require(response.status != 403, refused, JUPYTER)
        is_page = response.status == 200 and b'name="password"' in page
        is_closed = stranger.status in (302, *REFUSED)
        address = f"{self.browser.origin}{self.browser.base}/login"
        require(is_page and is_closed, f"{address} is not Jupyter's login page", APACHE)
        self.found.add("jupyter")

    def _check_cookies(self) -> None:
        """Check that cookies are marked Secure if the site has TLS."""
        if not self.browser.tls:
            return
        bare = {cookie.name == "_xsrf" for cookie in self.browser.cookies if not cookie.secure}
        # Apache marks the _xsrf cookie; Jupyter marks its own if it knows that the site has TLS.
        require(True not in bare, "the _xsrf cookie lacks Secure; does Apache add it?", APACHE)
        text = "the login cookie lacks Secure; does Apache send X-Forwarded-Proto to Jupyter?"
        require(not bare, text, JUPYTER)

    def kernel(self) -> str:
        session, ready = uuid.uuid4().hex, False
        channel = f"/api/kernels/{{}}/channels?session_id={session}"
        with self.browser.started("/api/kernels", "id", channel) as (line, messages):
            line.send(_message(session, "kernel_info_request"))
            for message in messages:
                kind, content = (message["msg_type"], message["content"]) if message else ("", {})
                if not message and not ready:
                    # A kernel that is still starting may miss the first request.
                    line.send(_message(session, "kernel_info_request"))
                elif kind == "kernel_info_reply" and not ready:
                    ready = True
                    cell = {"code": "6*7", "silent": False, "store_history": False}
                    line.send(_message(session, "execute_request", **cell))
                elif kind == "execute_result" and "42" in content["data"]["text/plain"]:
                    return "6*7 gives 42"
                elif kind == "status" and content["execution_state"] == "dead":
                    raise Symptom("the kernel dies", JUPYTER)
        what = "gives no result" if ready else "does not answer"
        raise Symptom(f"the kernel {what} within {browser.LONG_PATIENCE} s", JUPYTER)

    def terminal(self) -> str:
        shown, channel = "", "/terminals/websocket/{}"
        with self.browser.started("/api/terminals", "name", channel) as (line, messages):
            line.send(json.dumps(["stdin", "echo $((6*7))x\r"]))
            for message in messages:
                shown += message[1] if message and message[0] == "stdout" else ""
                if "42x" in shown:
                    return "a shell computes 6*7"
        raise Symptom(f"the terminal shows nothing within {browser.LONG_PATIENCE} s", JUPYTER)

    def foreign_origin(self) -> str:
        read, _ = self.browser.ask("GET", "/api", origin=FOREIGN)
        # If Jupyter accepted events from here, it would reject this empty one: no harm done.
        post, _ = self.browser.ask("POST", "/api/events", {}, origin=FOREIGN, xsrf=False)
        bare, _ = self.browser.ask("POST", "/api/events", {}, xsrf=False)
        opened = self.browser.has_websockets(FOREIGN)
        for response in (read, post, bare):
            self.browser.explain(response, absent=False)
        can = {
            "read": read.status == 200,
            "post": post.status not in REFUSED,
            "open websockets": opened,
        }
        fix = JUPYTER if "Access-Control-Allow-Origin" in read.headers else APACHE
        text = f"a page of another site can {' and '.join(filter(can.get, can))} here"
        require(not any(can.values()), text, fix)
        unchecked = f"Jupyter accepts a request without its XSRF token (HTTP {bare.status})"
        require(bare.status in REFUSED, unchecked, JUPYTER)
        note = "" if "session" in self.found else " (tested without a login)"
        return f"refused: {', '.join(can)}{note}"


def _message(session: str, kind: str, **content: Any) -> str:
    """Return a message to a kernel in Jupyter's messaging protocol, as JSON."""
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
    return json.dumps(message)

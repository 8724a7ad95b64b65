"""ACME certificates: checks before the server is asked, settings, and certbot's deploy hook."""

import http.server
import os
import socket
import subprocess
import threading
from types import SimpleNamespace

import pytest

from fabfile import issue_cert
from fabfile.kit.resources import File
from fabfile.resources import (
    AcmeCertificate,
    CertificateCopy,
    ChallengeProbe,
    RenewedCertificate,
    certbot,
    reach,
)
from fabfile.settings import schema
from fabfile.tasks import certificates as certs

NOW = 1_800_000_000
VALID = (
    "server=https://acme/dir\nserial=0A\n"
    "notBefore=Jan  1 00:00:00 2027 GMT\nnotAfter=Apr  1 00:00:00 2027 GMT\n"
)
PATH = "/.well-known/acme-challenge/remote-jupyter"


def certificate(**more):
    """Return an AcmeCertificate for two names."""
    return AcmeCertificate(
        "web", ("a.example", "b.example"), "https://acme/dir", **{"nonce": "cafe"} | more
    )


def answer(about="", attempts=(), found="", now=NOW):
    """Return the output of the probe."""
    lines = "".join(f"{one}\n" for one in attempts)
    return f"{now}\n{about}\0{lines}\0{found}"


def test_a_valid_certificate_is_kept():
    seen = certificate().parse(answer(VALID + "DNS:A.example, DNS:b.example\n", now=1_798_761_700))
    assert not certificate().changed(seen)
    assert seen["serial"] == "0A"


@pytest.mark.parametrize(
    ("left", "lasts"), [(18.5, "long enough"), (17.5, "until Apr  1 00:00:00 2027 GMT")]
)
def test_an_overdue_certificate_is_renewed(left, lasts):
    end = certbot.ssl.cert_time_to_seconds("Apr  1 00:00:00 2027 GMT")
    seen = certificate().parse(
        answer(VALID + "DNS:a.example, DNS:b.example\n", now=int(end - left * 86400))
    )
    assert seen["lasts"] == lasts


def test_names_are_checked_only_after_our_file_is_in_place(monkeypatch):
    monkeypatch.setattr(certbot, "challenge_problem", lambda *_: pytest.fail("asked"))
    assert "problem" not in certificate().parse(answer(attempts=[NOW - 1] * 9))
    probe = ChallengeProbe(certificate())
    assert probe.changed(probe.parse(f"another run's\n\0{answer()}"))
    assert not probe.changed(probe.parse(f"cafe\n\0{answer()}"))
    assert not probe.changed(
        probe.parse(f"\0{answer(VALID + 'DNS:a.example, DNS:b.example', now=1_798_761_700)}")
    )


@pytest.mark.parametrize(
    ("ago", "said"),
    [([50, 40, 30], "in 60 minutes"), ([3599, 40, 30], "in 1 minutes"), ([50, 40], "")],
)
def test_attempts_stop_at_the_limit(ago, said, monkeypatch):
    monkeypatch.setattr(certbot, "challenge_problem", lambda *_: "")
    seen = certificate().parse(answer(attempts=[NOW - one for one in ago], found="own 192.0.2.1\n"))
    conflict = certificate().conflict(seen)
    if not said:
        assert conflict is None
        return
    assert said in seen["problem"]
    assert "tls.max_attempts" in conflict


def test_with_fallback_a_problem_is_only_a_warning():
    soft = certificate(fallback=True)
    seen = soft.parse(answer()) | {"problem": "it's closed"}
    script = soft.apply(seen)
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True)
    assert soft.conflict(seen) is None
    assert "certbot" not in script
    assert "it's closed (no attempt was made)" in soft.shortfall(done.stdout)
    assert soft.shortfall("fine\n") == ""


def test_a_renewal_changes_the_serial_number():
    renewed = RenewedCertificate(certificate())
    assert renewed.conflict(renewed.parse(answer())) is not None
    renewed = RenewedCertificate(certificate())
    assert renewed.changed(renewed.parse(answer(VALID)))
    assert not renewed.changed(renewed.parse(answer(VALID.replace("=0A", "=0B"))))


# -- addresses of a name


@pytest.fixture
def web(monkeypatch):
    """Serve a text on loopback in place of port 80 of 192.0.2.1."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == PATH else 404)
            self.end_headers()
            self.wfile.write(b"cafe\n")

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    connect = socket.create_connection

    def lead(place, *args, **kwargs):
        if place[0] == "192.0.2.9":
            raise TimeoutError
        if ":" in place[0]:
            raise OSError(101, "Network is unreachable")
        return connect(
            ("127.0.0.1", server.server_address[1] if place[0] == "192.0.2.1" else 1),
            *args,
            **kwargs,
        )

    monkeypatch.setattr(socket, "create_connection", lead)
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("here", "there", "said"),
    [
        (["192.0.2.1"], [], ""),
        ([], ["192.0.2.1"], ""),
        (["192.0.2.1"], ["192.0.2.9"], ""),
        (
            [],
            [],
            "a.example has no address in the DNS; "
            "make a record for it with 192.0.2.1 or 2001:db8::1",
        ),
        ([], ["127.0.1.1", "::1"], "has no address"),
        (
            ["192.0.2.1", "192.0.2.9"],
            [],
            "port 80 of 192.0.2.9 (a.example) does not answer from here",
        ),
        (["192.0.2.2"], [], "port 80 of 192.0.2.2 (a.example) refuses connections from here"),
        (["192.0.2.1", "2001:db8::1"], [], ""),
        (
            ["192.0.2.1", "2001:db8::2"],
            [],
            "a.example leads to 2001:db8::2, which is not this server's",
        ),
    ],
)
def test_every_address_of_a_name_must_serve_the_file(web, monkeypatch, here, there, said):
    monkeypatch.setattr(reach, "resolve", lambda _: here)
    problem = reach.challenge_problem(
        "a.example", there, {"192.0.2.1", "2001:db8::1"}, PATH, "cafe"
    )
    assert (said in problem) if said else problem == ""


def test_another_server_under_the_name_is_detected(web, monkeypatch):
    monkeypatch.setattr(reach, "resolve", lambda _: ["192.0.2.1"])
    for path, text in (("/elsewhere", "cafe"), (PATH, "beef")):
        assert "which is not this server (HTTP " in reach.challenge_problem(
            "a.example", [], set(), path, text
        )


# -- settings


@pytest.fixture
def load():
    """Return a connection and settings: `load("tls.domains=a.example")`."""

    def make(*settings):
        c = SimpleNamespace(host="web.example.org", port=22, user="root", config={}, transport=None)
        return c, schema.load(
            c, dict(one.split("=", 1) for one in ("tls.issuer=letsencrypt", *settings))
        )

    return make


@pytest.mark.parametrize(
    ("settings", "server", "staging"),
    [
        (
            [],
            "https://acme-v02.api.letsencrypt.org/directory",
            "https://acme-staging-v02.api.letsencrypt.org/directory",
        ),
        (["tls.staging=yes"], "https://acme-staging-v02.api.letsencrypt.org/directory", ""),
        (["tls.acme_server=https://ca/dir"], "https://ca/dir", ""),
        (
            ["tls.acme_server=https://ca/dir", "tls.acme_staging=https://test/dir"],
            "https://ca/dir",
            "https://test/dir",
        ),
        (["tls.acme_staging="], "https://acme-v02.api.letsencrypt.org/directory", ""),
    ],
)
def test_the_staging_server_rehearses(load, settings, server, staging):
    made = certs.acme_certificate(*load(*settings))
    assert (made.server, made.staging) == (server, staging)
    assert f"staging={staging or chr(39) * 2}\n" in made.request("")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["tls.domains=localhost"], "tls.domains: localhost"),
        (["tls.domains=192.0.2.1"], "tls.domains: 192.0.2.1 is an address"),
        (["tls.staging=yes", "tls.acme_staging="], "tls.acme_staging is empty"),
        (["tls.acme_ca=/nowhere"], "tls.acme_ca: /nowhere"),
        (
            ["jupyter.access=tunnel"],
            "tls.issuer: letsencrypt needs jupyter.access apache or direct",
        ),
    ],
)
def test_names_without_issuer_are_rejected_before_connecting(load, settings, said):
    with pytest.raises(ValueError, match=said):
        list(issue_cert.body(*load(*settings)))


# -- certbot's deploy hook


@pytest.fixture
def hook(load, tmp_path):
    """Run certbot's deploy hook below a temporary /etc: `hook("/etc/…/live/web")`."""
    [text] = [
        part.content
        for part in issue_cert.body(*load())
        if isinstance(part, File) and part.path == certs.HOOK
    ]
    for here, there in {
        "/etc/": f"{tmp_path}/",
        "systemctl is-active -q apache2": "false",
        "group=root\n": f"group={os.getgid()}\n",
    }.items():
        text = text.replace(here, there)
    (tmp_path / "hook").write_text(text)
    for folder in ("live", "archive"):
        (tmp_path / "letsencrypt" / folder / "remote-jupyter").mkdir(parents=True)
    (tmp_path / "remote-jupyter/tls").mkdir(parents=True)
    path = "/usr/bin:/bin"
    return lambda lineage: subprocess.run(
        ["sh", tmp_path / "hook"], env={"RENEWED_LINEAGE": lineage, "PATH": path}
    )


@pytest.mark.parametrize(
    ("lineage", "served", "after"),
    [
        ("/etc/letsencrypt/live/remote-jupyter", "old", "new"),
        ("/etc/letsencrypt/live/remote-jupyter", "the operator's own", "the operator's own"),
        ("/etc/letsencrypt/live/another", "old", "old"),
    ],
)
def test_the_hook_replaces_only_certificates_of_certbot(hook, tmp_path, lineage, served, after):
    for number, name in enumerate(("old", "new"), 1):
        (tmp_path / f"letsencrypt/archive/remote-jupyter/fullchain{number}.pem").write_text(name)
    for name in ("fullchain", "privkey"):
        (tmp_path / f"letsencrypt/live/remote-jupyter/{name}.pem").write_text("new")
    (tmp_path / "remote-jupyter/tls/cert.pem").write_text(served)
    assert hook(lineage).returncode == 0
    assert (tmp_path / "remote-jupyter/tls/cert.pem").read_text() == after
    assert (
        sorted(
            path.name
            for path in (tmp_path / "remote-jupyter/tls").iterdir()
            if path.name.startswith(".")
        )
        == []
    )


def test_only_the_group_can_read_the_copy_of_the_key(tmp_path):
    for name in ("cert", "key"):
        (tmp_path / name).write_text(name)
    (tmp_path / "copy").mkdir()
    copy = CertificateCopy(
        f"{tmp_path}/copy", f"{tmp_path}/cert", f"{tmp_path}/key", os.getgid(), "0640"
    )
    subprocess.run(["sh", "-ec", copy.apply({})], check=True)
    assert (tmp_path / "copy/key.pem").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "copy/cert.pem").stat().st_mode & 0o777 == 0o644

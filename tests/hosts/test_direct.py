"""Jupyter that serves TLS itself, with certificates of a real ACME server, without restarts."""

import http.client
import json
import os
import re
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from .fixtures.hosts import NUMBERS
from .fixtures.sites import (
    HOOK,
    LE,
    Site,
    archived,
    as_online,
    certificate_names,
    is_self_signed,
    renew_by_timer,
)
from .lab import base
from .visitor import PASSWORD

COPY = "/etc/remote-jupyter/jupyter-tls"
ACME_SITE = "FileAbsent /etc/apache2/sites-available/remote-jupyter-acme.conf"
CONFIG = {"File /home/jupyter/.jupyter/jupyter_server_config.py", "LoadedSettings jupyter"}
NO_APACHE = (
    "apt-get purge -qy 'apache2*' >/dev/null && rm -rf /etc/apache2 /var/www /var/log/apache2"
)
_sites = {}


class Direct(Site):
    """A server on which Jupyter itself speaks TLS."""

    def env(self, **settings):
        """Return the settings as environment variables."""
        return super().env(**settings) | {"FABRIC_REMOTE_JUPYTER_JUPYTER_ACCESS": "direct"}

    def visitor(self, certificate="", port=8888):
        """Return a visitor who is logged in."""
        return super().visitor(certificate, port=port)

    @property
    def pid(self):
        """Jupyter's process."""
        return self.host.nsenter("systemctl show -P MainPID jupyter").stdout


@pytest.fixture
def site(suite, tell, lab, acme, task):
    """A server after direct-setup with a self-signed certificate, shared by tests, and the run."""

    def make(suite):
        host = lab.up(
            f"direct-{suite}-{os.getpid()}-{next(NUMBERS)}", suite, layers[suite], owner=lab.me()
        )
        host.nsenter(NO_APACHE)
        return Direct(host, acme, f"direct-{suite}")

    if not _sites:
        layers = {one: tell(one).layer for one in base.SUITES}
        acme.pass_on(*{line.split("/")[2] for one in base.SUITES for line in base._sources(one)})
        with ThreadPoolExecutor() as pool:
            made = dict(zip(base.SUITES, pool.map(make, base.SUITES), strict=True))
        for one, server in made.items():
            _sites[one] = (
                server,
                task(server.host, "direct-setup", **server.env(issuer="self-signed")),
            )
    return _sites[suite]


def test_jupyter_serves_tls_without_apache(site, task, oracle):
    server, first = site
    assert first.status == 0, first.text
    assert task(server.host, "direct-setup", **server.env(issuer="self-signed")).is_calm
    visitor = server.visitor(server.installed)
    assert visitor.compute("6*7") == "42"
    assert "42x" in visitor.type_in_terminal("echo $((6*7))x\r", until="42x")
    visitor.cookies.clear()
    cookies = visitor.ask("GET", "/login").headers.get_all("Set-Cookie")
    visitor.log_in(PASSWORD)
    assert visitor.ask("GET", "/lab").headers.get_all("Server") == ["TornadoServer"]
    assert cookies
    assert all("Secure" in cookie for cookie in cookies)
    assert visitor.ask("GET", "/api/contents", Host="evil.example:8888").status == 403
    assert is_self_signed(server.served(8888))
    assert certificate_names(server.served(8888)) == {server.name}
    seen = oracle(server.host)
    assert not seen.package("apache2").is_installed
    folder, key = seen.file(COPY), seen.file(f"{COPY}/key.pem")
    assert (folder.user, folder.group, folder.mode) == ("root", "jupyter", 0o750)
    assert (key.user, key.group, key.mode) == ("root", "jupyter", 0o640)
    assert seen.run(f"runuser -u nobody -- cat {COPY}/key.pem").rc != 0
    ports = re.findall(r"^(\d+)/tcp +ALLOW", seen.check_output("ufw status"), re.M)
    assert {*ports} == {"22", "8888"}


def test_certificate_is_issued_and_renewed_without_restart(site, task, operator):
    server, _ = site
    server.acme.name(server.name, server.host.address)
    pid = server.pid
    visitor = server.visitor(server.installed)
    # A websocket for each question: on Debian 13 one that was open from the start was lost
    # meanwhile. Why is not known yet.
    with visitor.started("kernels", "id") as kernel:
        assert visitor.compute_in(kernel, "x = 41; x + 1") == "42"
        issued = task(server.host, "direct-setup", **server.env())
        assert issued.status == 0, issued.text
        got = server.served(8888)
        assert not is_self_signed(got)
        assert certificate_names(got) == {server.name}
        assert task(server.host, "direct-setup", **server.env()).is_calm
        renew_by_timer(server.host)
        assert server.served(8888).serial_number != got.serial_number
        assert visitor.compute_in(kernel, "x") == "41"
    assert server.pid == pid
    assert server.visitor().compute("6*7") == "42"

    line = http.client.HTTPConnection(server.host.address, 80, timeout=10)
    line.request("GET", "/jupyter/lab", headers={"Host": server.name})
    answer = line.getresponse()
    assert (answer.status, answer.headers["Location"]) == (
        302,
        f"https://{server.name}:8888/jupyter/lab",
    )
    with pytest.raises(OSError):
        socket.create_connection((server.host.address, 443), timeout=1)

    done = as_online(server, operator, "verify", "--json", operator.home / "verify.json")
    assert done.returncode == 0, done.stdout + done.stderr
    [report] = json.loads((operator.home / "verify.json").read_text())["hosts"]
    assert "redirect" not in [step["name"] for step in report["steps"]]
    assert "browsers trust it" in done.stdout

    status = task(server.host, "delete-cert", **server.env())
    assert status.status == 0
    assert is_self_signed(server.served(8888))
    assert server.pid == pid
    assert server.installed == server.host.nsenter(["cat", f"{COPY}/cert.pem"]).stdout


def test_second_jupyter_cannot_take_the_key(site, task):
    server, _ = site
    ada = {
        "USER_NAME": "ada",
        "JUPYTER_NAME": "jupyter-ada",
        "JUPYTER_PORT": "8889",
        "JUPYTER_BASE_URL": "/ada",
    }
    env = server.env(issuer="self-signed") | {
        f"FABRIC_REMOTE_JUPYTER_{name}": value for name, value in ada.items()
    }
    for preset in ("direct-setup", "tunnel-setup"):
        run = task(server.host, preset, **env)
        assert (run.status, run.changed) == (1, set())
        assert (
            "Check owner of Jupyter's key: it belongs to jupyter's Jupyter; only one Jupyter "
            in run.text
        )
    assert server.visitor(server.installed).compute("6*7") == "42"


def renewals(site):
    """Run the service of certbot's timer when a renewal is due; return its result and archive."""
    conf = f"{LE}/renewal/remote-jupyter.conf"
    site.host.nsenter(
        f"cp {conf} /root/conf;"
        f" sed -i 's/^#* *renew_before_expiry.*/renew_before_expiry = 100 days/' {conf}"
    )
    ran = site.host.nsenter(
        "systemctl start certbot.service; systemctl show -P Result certbot.service", check=False
    ).stdout
    site.host.nsenter(f"cp /root/conf {conf}")
    return ran.strip(), archived(site.host)


def test_leaving_direct_access_keeps_the_certificate(site, task, oracle):
    server, _ = site
    server.acme.name(server.name, server.host.address)
    assert task(server.host, "direct-setup", **server.env()).status == 0
    got, seen = server.served(8888), oracle(server.host)

    away = task(server.host, "tunnel-setup", **server.env())
    closed = {
        f"CertificateCopyAbsent {COPY}",
        ACME_SITE,
        f"FileAbsent {HOOK}",
        "CertbotAutorenew remote-jupyter",
        "ApacheDisabled",
        "UfwOnly",
    }
    assert away.status == 0, away.text
    assert away.changed == closed | CONFIG, away.text
    assert task(server.host, "tunnel-setup", **server.env()).is_calm
    assert not seen.file(COPY).exists
    assert not seen.service("apache2").is_running
    assert not seen.service("apache2").is_enabled
    assert (
        server.host.nsenter(
            "grep -rls 'Made by remote-jupyter' /etc/apache2 /etc/letsencrypt", check=False
        ).stdout
        == ""
    )
    before = server.requests, archived(server.host)
    assert (server.requests, *renewals(server)) == (
        before[0],
        "success",
        before[1],
    )
    assert server.requests == before[0]

    back = task(server.host, "direct-setup", **server.env())
    assert back.status == 0, back.text
    assert {
        "CertbotAutorenew remote-jupyter",
        f"CertificateCopy {COPY}",
        f"File {HOOK}",
    } < back.changed, back.text
    assert server.requests == before[0]
    assert server.served(8888) == got
    assert task(server.host, "direct-setup", **server.env()).is_calm

    behind = task(server.host, "full-setup", **server.env())
    assert behind.status == 0, behind.text
    assert {f"CertificateCopyAbsent {COPY}", ACME_SITE, f"File {HOOK}"} < behind.changed, (
        behind.text
    )
    assert server.requests == before[0]
    assert server.served() == got
    assert task(server.host, "full-setup", **server.env()).is_calm
    renew_by_timer(server.host)
    assert server.served().serial_number != got.serial_number

    away = task(server.host, "tunnel-setup", **server.env())
    assert away.status == 0, away.text
    assert {
        "CertbotAutorenew remote-jupyter",
        "ApacheDisabled",
        f"FileAbsent {HOOK}",
    } < away.changed, away.text
    assert task(server.host, "tunnel-setup", **server.env()).is_calm
    assert not seen.service("apache2").is_running
    assert renewals(server)[0] == "success"

"""Attacks on what root reads and writes, without a host."""

import os
import subprocess

import pytest
from fabric import Config, Connection

from fabfile import configure_apache, firewall, issue_cert
from fabfile.kit.resources import File
from fabfile.resources import (
    AcmeCertificate,
    CertbotCertAbsent,
    ChallengeProbe,
    SshdSettings,
    UfwEnabled,
    UfwOnly,
    UfwRule,
)
from fabfile.settings import schema


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Put shell programs first in PATH: `programs(ss="echo x")`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def make(**texts):
        for name, text in texts.items():
            (folder / name).write_text(f"#!/bin/sh\n{text}\n")
            (folder / name).chmod(0o755)

    return make


def run(text):
    """Run shell text as steps are run."""
    return subprocess.run(["sh", "-ec", text], capture_output=True, text=True)


def parts(task, *settings):
    """Return the resources of a task."""
    c = Connection("root@web.example.org", config=Config(lazy=True))
    return list(task.body(c, schema.load(c, dict(one.split("=", 1) for one in settings))))


# -- the ports of sshd


@pytest.fixture
def proc(tmp_path):
    """Make processes that listen: `proc(7, "/usr/sbin/sshd", uid=0, socket=11)`."""

    def make(pid, program, uid, socket):
        folder = tmp_path / "proc" / str(pid)
        (folder / "fd").mkdir(parents=True)
        (folder / "exe").symlink_to(program)
        (folder / "fd/3").symlink_to(f"socket:[{socket}]")
        (folder / "status").write_text(f"Name:\tsshd\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n")

    return make


LISTENERS = """
echo 'LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=7,fd=3)) ino:11 sk:1'
echo 'LISTEN 0 128 0.0.0.0:4444 0.0.0.0:* users:(("sshd",pid=8,fd=3)) uid:1000 ino:12 sk:2'
echo 'LISTEN 0 128 0.0.0.0:5555 0.0.0.0:* users:(("sshd",pid=9,fd=3)) ino:13 sk:3'
echo 'LISTEN 0 128 0.0.0.0:6666 0.0.0.0:* users:(("sshd",pid=10,fd=3)) uid:1000 ino:14 sk:4'
echo 'LISTEN 0 128 127.0.0.1:7777 0.0.0.0:* users:(("sshd",pid=7,fd=4)) ino:11 sk:5'
"""


def ssh_ports(tmp_path):
    """Return the ports that the probe of UfwRule takes for sshd's."""
    text = UfwRule(0).probe().replace("/proc", f"{tmp_path}/proc")
    done = run(f"SSH_SERVER_PORT=22\n{text}")
    return done.stdout.splitlines()[0].split()


def test_only_roots_sshd_opens_a_port(tmp_path, proc, programs):
    proc(7, "/usr/sbin/sshd", 0, 11)
    proc(8, "/usr/bin/python3", 1000, 12)  # a user's, named sshd
    proc(9, "/usr/bin/python3", 0, 13)  # root's, named sshd
    proc(10, "/usr/sbin/sshd", 1000, 14)  # a user's own sshd
    programs(ss=LISTENERS, systemctl="exit 3", sshd="echo port 22; echo port 2222")
    assert ssh_ports(tmp_path) == ["22", "2222"]


def test_an_upgraded_sshd_keeps_its_port(tmp_path, proc, programs):
    proc(7, "/usr/sbin/sshd (deleted)", 0, 12)
    programs(ss=LISTENERS, systemctl="exit 3", sshd="exit 1")
    assert ssh_ports(tmp_path) == ["22", "4444"]


def test_the_ports_of_ssh_socket_are_those_of_systemd(tmp_path, programs):
    listen = "case $1 in show) echo '0.0.0.0:2200 (Stream)'; echo '[::]:2200 (Stream)';; esac"
    programs(ss=LISTENERS, systemctl=listen, sshd="echo port 22")
    assert ssh_ports(tmp_path) == ["22", "2200"]


def test_the_difference_names_the_ports_of_sshd():
    rule = UfwRule(0)
    assert "+ports: 22 2222" in rule.diff(rule.parse("22 2222 \n"))


# -- IPv6


def test_the_firewall_filters_ipv6_before_it_adds_rules():
    kinds = [type(part).__name__ for part in parts(firewall)]
    assert kinds.index("UfwIpv6") < kinds.index("UfwRule")


def test_ipv6_needs_a_rule_of_its_own():
    v4 = "### tuple ### allow tcp 443 0.0.0.0/0 any 0.0.0.0/0 in\n"
    v6 = "### tuple ### allow tcp 443 ::/0 any ::/0 in\n"
    rule = UfwRule(443)
    assert rule.changed(rule.parse(f"ipv6\n{v4}"))
    assert not rule.changed(rule.parse(f"ipv6\n{v4}{v6}"))
    assert not rule.changed(rule.parse(v4))
    assert "user6.rules" in rule.probe()


def test_another_rule_for_ipv4_stays_as_it_is():
    theirs = "### tuple ### allow tcp 443 0.0.0.0/0 any 0.0.0.0/0 in\n"
    ours = "### tuple ### allow tcp 443 ::/0 any ::/0 in comment=72656d6f74652d6a757079746572\n"
    rule, only = UfwRule(443), UfwOnly(())
    for step in (
        rule.apply(rule.parse(f"ipv6\n{theirs}")),
        only.apply(only.parse(f"\x0022\nipv6\n{theirs}{ours}")),
    ):
        assert "allow proto tcp from ::/0 to any port 443" in step
        assert "443/tcp" not in step


@pytest.mark.parametrize(("family", "live"), [("exit 0", "yes"), ("exit 1", "no")])
def test_a_firewall_without_ipv6_is_not_on(programs, family, live):
    programs(iptables="exit 0", ip6tables=family, systemctl="exit 0")
    probe = UfwEnabled().probe().replace("/proc/sys/net/ipv6", "/proc")
    assert f"LIVE={live}\n" in run(f"set +e\n{probe}").stdout


# -- the webroot


@pytest.mark.parametrize(
    "link",
    [".well-known", ".well-known/acme-challenge", ".well-known/acme-challenge/remote-jupyter"],
)
def test_no_link_in_the_webroot_is_followed(tmp_path, monkeypatch, link):
    monkeypatch.setattr(AcmeCertificate, "ATTEMPTS", f"{tmp_path}/state/tries", raising=False)
    monkeypatch.setattr(AcmeCertificate, "TRIES", f"{tmp_path}/state/tries", raising=False)
    victim, webroot = tmp_path / "victim", tmp_path / "webroot"
    victim.mkdir()
    (victim / "file").write_text("kept")
    place = webroot / link
    place.parent.mkdir(parents=True)
    place.symlink_to(victim / "file" if link.endswith("jupyter") else victim)
    certificate = AcmeCertificate("web", ("a.example",), "https://acme/dir", webroot=str(webroot))
    done = run(ChallengeProbe(certificate).apply({}))
    assert [path.name for path in victim.rglob("*")] == ["file"]
    assert (victim / "file").read_text() == "kept"
    if link.endswith("jupyter"):
        assert done.returncode == 0
        assert place.read_text() == f"{certificate.nonce}\n"
    else:
        assert "symbolic link" in done.stderr


# -- certificates


def site(*settings):
    """Return the text of Apache's site."""
    files = [part for part in parts(configure_apache, *settings) if isinstance(part, File)]
    [text] = [part.content for part in files if part.path.endswith("/jupyter.conf")]
    return text


@pytest.mark.parametrize(
    ("settings", "trusted"),
    [
        ([], False),
        (["tls.issuer=letsencrypt"], True),
        (["tls.issuer=letsencrypt", "tls.staging=yes"], False),
    ],
)
def test_browsers_remember_only_trusted_certificates_for_long(settings, trusted):
    lines = [line for line in site(*settings).splitlines() if "Strict-Transport-Security" in line]
    assert lines[0].endswith('"max-age=300"')
    assert len(lines) == 1 + trusted
    # A certificate of letsencrypt may still be missing, and the self-signed one be served.
    assert all("expr=%{SSL_SERVER_I_DN} != %{SSL_SERVER_S_DN}" in line for line in lines[1:])


def test_deleting_a_certificate_tells_what_browsers_remember():
    assert "HSTS" in CertbotCertAbsent("remote-jupyter").notice()


def test_an_unset_acme_ca_is_withdrawn():
    labels = [
        part.label for part in parts(issue_cert, "tls.issuer=letsencrypt") if hasattr(part, "label")
    ]
    assert any(label.startswith("CertificateAuthorityAbsent ") for label in labels)


# -- sshd


def test_sshd_gets_address_and_port_of_the_connection(programs):
    complain = "echo \"'Match LocalPort' in configuration but 'lport' not specified\" >&2; exit 255"
    programs(
        sshd=f'case "$*" in *laddr=192.0.2.10*lport=2222*) ;; *) {complain};; esac; echo port 2222',
        mkdir="exit 0",
    )
    settings = SshdSettings("ada", ("port 2222",))
    connection = "SSH_CONNECTION='198.51.100.7 50000 192.0.2.10 2222'\n"
    actual = settings.parse(run(connection + settings.probe()).stdout)
    assert not settings.changed(actual)

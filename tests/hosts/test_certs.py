"""Certificates of a real ACME server: issued, renewed and served, and what is served otherwise."""

import contextlib
import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from .fixtures.acme import BLOCKED
from .fixtures.faults import Running, is_one_failure
from .fixtures.hosts import NUMBERS
from .fixtures.sites import (
    CERTIFICATE,
    KEY,
    LE,
    Site,
    as_online,
    certificate_names,
    is_self_signed,
    renew_by_timer,
)
from .lab import base
from .releases import on
from .visitor import eventually

TRIES = "/var/lib/remote-jupyter/acme-tries"
CHALLENGE = "ChallengeProbe /var/www/html/.well-known/acme-challenge/remote-jupyter"
SITE = "File /etc/apache2/sites-available/jupyter.conf"

_sites = {}


def certbot_said(host):
    """Return the output of the last unit that ran certbot."""
    return host.nsenter("cat /run/remote-jupyter/remote-jupyter-certbot.log", check=False).stdout


@pytest.fixture
def site(suite, tell, lab, acme):
    """A converged server with a name but no DNS record yet, shared by all tests of a release."""
    if not _sites:
        packages = {line.split("/")[2] for one in base.SUITES for line in base._sources(one)}
        acme.pass_on(*packages)
        layers = {one: tell(one).layer for one in base.SUITES}
        with ThreadPoolExecutor() as pool:
            _sites.update(pool.map(lambda one: (one, made(one, layers[one], lab, acme)), layers))
    return _sites[suite]


def made(suite, layer, lab, acme):
    """A clone of a converged server, ready for a name."""
    host = lab.up(f"certs-{suite}-{os.getpid()}-{next(NUMBERS)}", suite, layer, owner=lab.me())
    return Site(host, acme, suite)


@pytest.fixture
def bare(site, issue):
    """The site with a DNS record and certbot, but without a certificate."""
    if site.host.nsenter("command -v certbot", check=False).returncode:
        issue(site)  # fails without a DNS record, after certbot and Apache's site are in place
    site.acme.name(site.name, site.host.address)
    site.host.nsenter(f"rm -f {TRIES}")
    assert issue(site, "delete-cert").status == 0
    assert is_self_signed(site.served())
    return site


@pytest.fixture
def certified(site, issue):
    """The site with a certificate."""
    site.acme.name(site.name, site.host.address)
    site.host.nsenter(f"rm -f {TRIES}")
    run = issue(site)
    assert run.status == 0, run.text
    return site


# -- the first one


def test_unknown_name_spends_no_attempt(site, issue):
    before = site.requests
    run = issue(site)
    says = f"{site.name} has no address in the DNS"
    assert is_one_failure(run, site.host, "issue-cert", "AcmeCertificate", says, site.host.address)
    assert "no attempt was made" in run.text
    assert site.requests == before
    assert is_self_signed(site.served())
    assert certificate_names(site.served()) == {site.name}


def test_first_certificate_is_rehearsed_issued_and_served(bare, issue):
    production, staging = len(bare.acme.production.requests), len(bare.acme.staging.requests)
    with bare.visitor(bare.installed).kernel() as run:
        assert run("x = 41; x + 1") == "42"
        first = issue(bare)
        assert run("x") == "41"
    assert first.status == 0, first.text
    assert first.changed == {CHALLENGE, f"AcmeCertificate {bare.name}", "install certificate"}
    assert certificate_names(bare.served()) == {bare.name}
    assert not is_self_signed(bare.served())
    visitor = bare.visitor()
    assert visitor.compute("6*7") == "42"
    headers = visitor.ask("GET", "/lab").headers
    assert headers.get_all("Server") == ["TornadoServer"]
    assert headers["Strict-Transport-Security"] == "max-age=63072000"
    asked = bare.acme.staging.requests[staging:], bare.acme.production.requests[production:]
    assert all(any("POST /order-plz" in line for line in lines) for lines in asked)
    log = certbot_said(bare.host)
    assert (
        log.index("rehearsing with")
        < log.index("Simulating")
        < log.index("Requesting a certificate")
    )

    before = bare.requests
    assert issue(bare).is_calm
    assert bare.requests == before
    key = bare.host.nsenter(f"stat -c '%U %a' {KEY}").stdout
    assert key == "root 600\n"


@on("trixie")
def test_staging_certificate_is_replaced_by_a_real_one(bare, issue):
    before = len(bare.acme.production.requests)
    trial = issue(bare, "issue-cert", "--staging")
    assert trial.status == 0, trial.text
    assert len(bare.acme.production.requests) == before, trial.text
    got = bare.served()
    assert certificate_names(got) == {bare.name}
    assert not is_self_signed(got)
    assert issue(bare, "issue-cert", "--staging").is_calm
    real = issue(bare)
    assert real.status == 0
    assert f"AcmeCertificate {bare.name}" in real.changed
    assert bare.served().issuer != got.issuer
    assert bare.visitor().compute("6*7") == "42"


def test_another_name_is_added_to_the_certificate(certified, issue):
    other = f"other.{certified.name}"
    certified.acme.name(other, certified.host.address)
    both = f"{certified.name},{other}"
    run = issue(certified, domains=both)
    assert run.status == 0, run.text
    assert run.changed == {
        SITE,
        CHALLENGE,
        f"AcmeCertificate {certified.name} {other}",
        "reload apache2",
        "install certificate",
    }
    assert certificate_names(certified.served()) == {certified.name, other}
    assert issue(certified, domains=both).is_calm
    assert issue(certified).status == 0
    assert certificate_names(certified.served()) == {certified.name}


# -- renewals


def test_timer_renews_while_a_kernel_runs(certified, issue):
    before = certified.served()
    with certified.visitor().kernel() as run:
        assert run("x = 41; x + 1") == "42"
        renew_by_timer(certified.host)
        assert eventually(lambda: certified.served().serial_number != before.serial_number, 5)
        assert run("x") == "41"
    assert certificate_names(certified.served()) == {certified.name}
    assert issue(certified).is_calm


def test_forced_renewal_while_a_kernel_runs(certified, issue):
    before = certified.served()
    with certified.visitor().kernel() as run:
        assert run("x = 41; x + 1") == "42"
        forced = issue(certified, "renew-cert")
        assert run("x") == "41"
    assert forced.status == 0, forced.text
    assert forced.changed == {f"RenewedCertificate {certified.name}", "install certificate"}
    assert certified.served().serial_number != before.serial_number
    assert issue(certified).is_calm


@on("bookworm")
def test_broken_apache_keeps_the_served_certificate(certified, issue):
    before, broken = certified.served(), "/etc/apache2/conf-enabled/broken.conf"
    certified.host.nsenter(f"echo 'Nonsense on' >{broken}")
    try:
        renew_by_timer(certified.host)
        assert certified.served() == before
        assert certified.visitor().compute("6*7") == "42"
    finally:
        certified.host.nsenter(["rm", broken])
    run = issue(certified)
    assert run.status == 0
    assert run.changed == {f"ServedCertificate {CERTIFICATE}"}
    assert certified.served().serial_number != before.serial_number
    assert issue(certified).is_calm


# The issuer is the same for both releases, so the other one's account is lost too.
def test_forgotten_account_is_registered_again(certified, issue):
    before = certified.served()
    certified.acme.production.remember_nothing()
    renew_by_timer(certified.host, fails=True)
    assert certified.served() == before
    run = issue(certified, "renew-cert")
    assert run.status == 0, run.text
    assert certified.served().serial_number != before.serial_number
    again = certified.served()
    renew_by_timer(certified.host)
    assert certified.served() != again
    kept = certified.host.nsenter(f"ls -d {LE}/accounts/*/dir.lost-*").stdout
    assert kept.count("\n") == 1
    assert certified.visitor().compute("6*7") == "42"
    assert issue(certified).is_calm


# -- nothing that was served before stops being served


@contextlib.contextmanager
def served_on(site):
    """Check that a block leaves the served certificate and a kernel as they were."""
    before = site.served()
    with site.visitor(site.installed).kernel() as run:
        assert run("x = 41; x + 1") == "42"
        yield
        assert run("x") == "41"
    assert site.served() == before


def tries(site):
    """Return how many attempts are counted."""
    return len(site.host.nsenter(f"cat {TRIES} 2>/dev/null || :").stdout.split())


@on("trixie")
def test_name_of_another_server_sends_no_request(bare, issue):
    other = next(one for suite, one in _sites.items() if one is not bare)
    cases = {
        (other.host.address,): f"leads to {other.host.address}, which is not this server (HTTP ",
        (
            bare.host.address,
            other.host.address,
        ): f"leads to {other.host.address}, which is not this server",
        (
            bare.acme.address,
        ): f"port 80 of {bare.acme.address} ({bare.name}) refuses connections from here",
        (bare.host.address, "2001:db8::1"): "leads to 2001:db8::1, which is not this server's",
    }
    before = bare.requests
    with served_on(bare):
        for addresses, says in cases.items():
            bare.acme.name(bare.name, *addresses)
            assert is_one_failure(
                issue(bare), bare.host, "issue-cert", f"AcmeCertificate {bare.name}: ", says
            )
    assert bare.requests == before
    assert tries(bare) == 0


@on("bookworm")
def test_closed_port_80_sends_no_request(bare, issue):
    before = bare.requests
    bare.host.nsenter("ufw insert 1 deny 80")
    try:
        with served_on(bare):
            says = f"port 80 of {bare.host.address} ({bare.name}) does not answer from here"
            assert is_one_failure(
                issue(bare),
                bare.host,
                "issue-cert",
                f"AcmeCertificate {bare.name}",
                says,
                "firewall",
            )
    finally:
        bare.host.nsenter("ufw delete deny 80")
    assert bare.requests == before
    assert tries(bare) == 0


@on("bookworm")
def test_wrong_clock_sends_no_request(bare, issue):
    before, date = bare.requests, "/usr/local/bin/date"
    wrong = '#!/bin/sh\n[ "$*" = +%s ] || exec /usr/bin/date "$@"\n'
    wrong += "echo $(($(/usr/bin/date +%s) - 7200))\n"
    bare.host.nsenter(f"cat >{date}; chmod 755 {date}", input=wrong)
    try:
        assert is_one_failure(
            issue(bare),
            bare.host,
            "issue-cert",
            "Check clock",
            "the server's clock is 120 minutes behind yours",
        )
    finally:
        bare.host.nsenter(["rm", date])
    assert bare.requests == before
    assert is_self_signed(bare.served())


@on("trixie")
def test_failed_rehearsal_spends_no_attempt(bare, issue):
    before = len(bare.acme.production.requests)
    with bare.acme.staging.gone(), served_on(bare):
        says = "the rehearsal failed; no attempt with the real server was made"
        assert is_one_failure(
            issue(bare), bare.host, "issue-cert", f"AcmeCertificate {bare.name}: apply failed", says
        )
    assert len(bare.acme.production.requests) == before
    assert tries(bare) == 0


@on("bookworm")
def test_failed_attempts_are_counted_and_limited(bare, issue):
    bare.acme.name(BLOCKED, bare.host.address)
    production = bare.acme.production
    with served_on(bare):
        with production.refusing(
            429, "rateLimited", "too many certificates already issued for this set"
        ):
            run = issue(bare)
            assert is_one_failure(
                run,
                bare.host,
                "issue-cert",
                "attempt 1 of 3 within an hour failed",
                "too many certificates",
            )
        with production.gone():
            run = issue(bare)
            assert is_one_failure(
                run, bare.host, "issue-cert", "attempt 2 of 3 within an hour failed"
            )
    run = issue(bare, domains=f"{bare.name},{BLOCKED}")
    assert is_one_failure(
        run,
        bare.host,
        "issue-cert",
        "attempt 3 of 3 within an hour failed",
        "rejectedIdentifier",
        BLOCKED,
    )
    assert is_self_signed(bare.served())
    assert issue(bare, issuer="self-signed").status == 0
    before = bare.requests
    with served_on(bare):
        run = issue(bare)
        says = "3 of 3 attempts within an hour failed", "try again in 60 minutes"
        assert is_one_failure(run, bare.host, "issue-cert", f"AcmeCertificate {bare.name}: ", *says)
        assert bare.requests == before
    assert issue(bare, max_attempts=4).status == 0
    assert tries(bare) == 0
    assert not is_self_signed(bare.served())


@on("trixie")
def test_fallback_continues_with_a_warning(bare, issue):
    with (
        bare.acme.production.refusing(429, "rateLimited", "too many certificates already issued"),
        served_on(bare),
    ):
        run = issue(bare, fallback=True)
        assert run.status == 0
        assert run.having("warning") == {f"AcmeCertificate {bare.name}"}
        assert "too many certificates" in run.text
        assert "attempt 1 of 3 within an hour failed" in run.text
    bare.acme.name(bare.name)
    run = issue(bare, fallback=True)
    assert run.status == 0
    assert run.having("warning") == {f"AcmeCertificate {bare.name}"}
    assert "no address in the DNS" in run.text
    assert tries(bare) == 1


@on("bookworm")
def test_waits_for_another_certbot(bare, operator, tmp_path):
    hold = "import fcntl, time; f = open('/etc/letsencrypt/.certbot.lock', 'w');"
    hold += " fcntl.lockf(f, fcntl.LOCK_EX); time.sleep(600)"
    bare.host.nsenter(["systemd-run", "-q", "--unit=test-holder", "python3", "-c", hold])
    run = Running(bare.host, ["issue-cert"], operator.env(**bare.env()), tmp_path / "run")
    try:
        assert eventually(lambda: "waiting for another certbot" in certbot_said(bare.host))
    finally:
        bare.host.nsenter("systemctl stop test-holder")
    assert run.ended(seconds=60).status == 0
    assert tries(bare) == 0
    assert not is_self_signed(bare.served())


def order(site):
    """Return how many certificates production was asked for."""
    return sum("order-plz" in line for line in site.acme.production.requests)


@on("trixie")
def test_certbot_outlives_a_killed_operator(bare, issue, operator, tmp_path):
    before = order(bare)
    with bare.acme.production.holding():
        first = Running(bare.host, ["issue-cert"], operator.env(**bare.env()), tmp_path / "run")
        assert eventually(lambda: order(bare) == before + 1)
        first.process.send_signal(signal.SIGKILL)
        first.ended(seconds=10)
    run = issue(bare)
    assert run.status == 0, run.text
    assert order(bare) == before + 1
    assert not is_self_signed(bare.served())
    assert issue(bare).is_calm


@on("bookworm")
def test_next_run_after_a_killed_certbot_succeeds(bare, issue, operator, tmp_path):
    before = order(bare)
    with bare.acme.production.holding():
        first = Running(bare.host, ["issue-cert"], operator.env(**bare.env()), tmp_path / "run")
        assert eventually(lambda: order(bare) == before + 1)
        bare.host.nsenter("systemctl kill -s KILL remote-jupyter-certbot")
        assert first.ended(seconds=10).status == 1
    # What certbot leaves when it is killed while it writes.
    bare.host.nsenter(
        f"mkdir -p {LE}/archive/remote-jupyter {LE}/renewal; : >{LE}/renewal/remote-jupyter.conf"
    )
    assert tries(bare) == 1
    assert is_self_signed(bare.served())
    assert issue(bare).status == 0
    assert tries(bare) == 0
    assert not is_self_signed(bare.served())


# -- status, verify, and back


def test_cert_status_names_certificate_and_renewal(certified, fab):
    said = fab(certified.host, "cert-status", env=certified.env()).stdout
    rows = dict(
        re.findall(rf"^{re.escape(certified.host.address)}  (\w[\w ]*?)  +(.*)$", said, re.M)
    )
    assert "Pebble" in rows["issuer"]
    assert certified.acme.production.url in rows["issuer"]
    assert rows["names"] == certified.name
    assert rows["days left"].startswith("89, until ")
    assert rows["served"] == "on port 443"
    assert re.match(r"certbot checks next on \w+ \d{4}-", rows["renewal"])


def test_full_setup_keeps_the_certificate(certified, issue):
    before = certified.served()
    assert issue(certified, "full-setup").status == 0
    assert issue(certified, "full-setup").is_calm
    assert certified.served() == before


@on("trixie")
def test_verify_reports_a_trusted_certificate(certified, operator):
    done = as_online(certified, operator, "verify")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"certificate: TLS 1\.3, 89 days left; browsers trust it", done.stdout)


def test_delete_cert_while_a_kernel_runs(certified, issue, fab):
    visitor = certified.visitor()
    with visitor.kernel() as run:
        assert run("x = 41; x + 1") == "42"
        deleted = issue(certified, "delete-cert")
        assert deleted.status == 0
        assert deleted.changed == {
            f"SelfSigned {CERTIFICATE}",
            "CertbotCertAbsent remote-jupyter",
            "reload apache2",
        }
        assert is_self_signed(certified.served())
        assert certificate_names(certified.served()) == {certified.name}
        visitor.tls.load_verify_locations(cadata=certified.installed)
        assert certified.visitor(certified.installed).compute("6*7") == "42"
        assert run("x") == "41"
    left = certified.host.nsenter(
        "certbot certificates 2>/dev/null; ls /etc/letsencrypt/archive"
    ).stdout
    assert "No certificates found" in left
    assert "remote-jupyter" not in left
    assert issue(certified, "delete-cert").is_calm
    assert issue(certified, issuer="self-signed").is_calm
    assert "itself" in fab(certified.host, "cert-status", env=certified.env()).stdout

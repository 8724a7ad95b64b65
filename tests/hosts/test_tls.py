"""What TLS of the site allows, its grade by testssl.sh, and certificates of the operator."""

import contextlib
import datetime
import json
import os
import ssl
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from .fixtures.hosts import NUMBERS
from .fixtures.sites import CERTIFICATE, KEY, Site
from .lab import base
from .visitor import PASSWORD, Line, Visitor

SITE = "File /etc/apache2/sites-available/jupyter.conf"

DAY = datetime.timedelta(days=1)
THEIRS = """<VirtualHost *:443>
    ServerName theirs.example.test
    DocumentRoot /srv
    SSLEngine on
    SSLCertificateFile /srv/cert.pem
    SSLCertificateKeyFile /srv/key.pem
</VirtualHost>
"""
_sites = {}


@pytest.fixture
def sites(tell, lab, acme):
    """A clone of a converged server of each release, with a name; common to all tests."""

    def make(suite):
        host = lab.up(
            f"tls-{suite}-{os.getpid()}-{next(NUMBERS)}", suite, layers[suite], owner=lab.me()
        )
        return Site(host, acme, f"tls-{suite}")

    if not _sites:
        layers = {one: tell(one).layer for one in base.SUITES}
        acme.pass_on(*{line.split("/")[2] for one in base.SUITES for line in base._sources(one)})
        with ThreadPoolExecutor() as pool:
            _sites.update(zip(base.SUITES, pool.map(make, base.SUITES), strict=True))
    return _sites


@pytest.fixture
def site(sites, suite, task):
    """The site of this release, with a self-signed certificate for its name."""
    run = task(
        sites[suite].host,
        "configure-apache",
        "configure-jupyter",
        **sites[suite].env(issuer="self-signed"),
    )
    assert run.status == 0, run.text
    return sites[suite]


# -- certificates that the operator brings


def bring(folder, name, days=90, key=None):
    """Write a certificate and its key; return the settings that name them, and the certificate."""
    own = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.timezone.utc)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "brought")])
    builder = x509.CertificateBuilder(
        subject, subject, own.public_key(), x509.random_serial_number()
    )
    builder = builder.not_valid_before(now + min(days, 0) * DAY - DAY).not_valid_after(
        now + days * DAY
    )
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), False)
    certificate = builder.sign(own, hashes.SHA256())
    paths = {
        "certificate": folder / f"{next(NUMBERS)}-cert.pem",
        "key": folder / f"{next(NUMBERS)}-key.pem",
    }
    paths["certificate"].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    paths["key"].write_bytes((key or own).private_bytes(serialization.Encoding.PEM, *plain))
    return {"issuer": "own", **paths}, certificate


def test_own_certificate_is_checked_before_use(site, fab, task, tmp_path):
    before, name = site.served(), site.name
    wrong = {
        "does not match": bring(tmp_path, name, key=ec.generate_private_key(ec.SECP256R1())),
        "expired on": bring(tmp_path, name, days=-1),
        f"is for other.example.test, not for {name}": bring(tmp_path, "other.example.test"),
    }
    for says, (settings, _) in wrong.items():
        done = fab(site.host, "issue-cert", env=site.env(**settings), check=False)
        assert done.returncode != 0, done.stdout + done.stderr
        assert says in done.stderr, done.stdout + done.stderr
        assert "changed" not in done.stdout, done.stdout + done.stderr
        assert site.served() == before
    settings, certificate = bring(tmp_path, name)
    run = task(site.host, "issue-cert", **site.env(**settings))
    assert run.status == 0, run.text
    assert run.changed == {
        f"File {KEY}",
        f"File {CERTIFICATE}",
        "reload apache2",
    }, run.text
    assert site.served() == certificate
    assert site.visitor(site.installed).compute("6*7") == "42"
    key = settings["key"].read_text()
    assert key not in run.text
    assert key.splitlines()[1] not in run.text
    assert task(site.host, "issue-cert", **site.env(**settings)).is_calm
    assert site.host.nsenter(f"stat -c '%U %a' {KEY}").stdout == "root 600\n"
    settings["certificate"] = wrong["expired on"][0]["certificate"]
    assert fab(site.host, "full-setup", env=site.env(**settings), check=False).returncode != 0
    assert site.served() == certificate


# -- what is allowed


def agreed(site, name, version, ciphers="ECDHE-ECDSA-AES128-GCM-SHA256"):
    """Return the version and cipher that a client limited to these gets, or None."""
    context = ssl._create_unverified_context()
    context.minimum_version = context.maximum_version = version
    context.set_ciphers(ciphers)
    with (
        contextlib.suppress(ssl.SSLError),
        contextlib.closing(Line(name, site.host.address, 443, context)) as line,
    ):
        line.connect()
        return line.sock.version(), line.sock.cipher()[0]
    return None


def test_modern_profile_is_tls_1_3_for_this_site_only(site, task):
    old, new = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
    # The first site is the default for clients that name none. No profile of ours has this cipher.
    path, cbc = "/etc/apache2/sites-available/000-theirs.conf", "ECDHE-ECDSA-AES128-SHA"
    site.host.nsenter(
        f"cp {CERTIFICATE} {KEY} /srv; cat >{path};"
        " a2ensite -q 000-theirs; systemctl reload apache2",
        input=THEIRS,
    )
    asked = [
        ("theirs.example.test", old, cbc),
        ("theirs.example.test", old),
        ("theirs.example.test", new),
    ]
    theirs = [agreed(site, *one) for one in asked]
    assert theirs[0] == ("TLSv1.2", cbc)
    assert None not in theirs
    assert agreed(site, site.name, old)[0] == "TLSv1.2"
    assert agreed(site, site.name, old, cbc) is None

    modern = site.env(issuer="self-signed", profile="modern")
    assert task(site.host, "configure-apache", **modern).changed == {SITE, "reload apache2"}
    assert task(site.host, "configure-apache", **modern).is_calm
    assert agreed(site, site.name, new)[0] == "TLSv1.3"
    assert agreed(site, site.name, old) is None
    visitor = Visitor(site.host.address, site.installed, site.name)
    assert visitor.log_in(PASSWORD) == 302
    assert visitor.compute("6*7") == "42"
    assert [agreed(site, *one) for one in asked] == theirs

    intermediate = site.env(issuer="self-signed")
    assert task(site.host, "configure-apache", **intermediate).changed == {SITE, "reload apache2"}
    assert task(site.host, "configure-apache", **intermediate).is_calm
    assert agreed(site, site.name, old)[0] == "TLSv1.2"
    assert agreed(site, site.name, old, cbc) is None
    assert [agreed(site, *one) for one in asked] == theirs
    site.host.nsenter(f"a2dissite -q 000-theirs; rm {path} /srv/*.pem; systemctl reload apache2")


# -- the grade

# All that the grade is made of; what is left out only plays browsers.
SCAN = "testssl --quiet --color 0 --warnings off --add-ca /root/roots.pem"
SCAN += " --jsonfile /root/{}.json -p -s -f -P -S -h -U {}"


def test_testssl_gives_the_best_grade(sites, task):
    scanner = sites["trixie"].host  # Debian 12's testssl.sh gives no grades
    scanner.nsenter(
        "apt-get update -q; export DEBIAN_FRONTEND=noninteractive;"
        " apt-get install -qy --no-install-recommends testssl.sh"
    )
    scanner.nsenter("cat >/root/roots.pem", input=sites["trixie"].acme.production.roots)

    def scan(suite):
        site = sites[suite]
        site.acme.name(site.name, site.host.address)
        site.acme.allow(site.name, "letsencrypt.org")
        run = task(site.host, "full-setup", **site.env())
        assert run.status == 0, run.text
        said = scanner.nsenter(
            SCAN.format(suite, f"https://{site.name}/jupyter/login"), check=False, timeout=400
        ).stdout
        found = json.loads(scanner.nsenter(["cat", f"/root/{suite}.json"]).stdout)
        grades = [one["finding"] for one in found if one["id"] == "overall_grade"]
        return (
            grades,
            {
                one["id"]
                for one in found
                if one["severity"] in ("LOW", "MEDIUM", "HIGH", "CRITICAL")
            },
            said,
        )

    with ThreadPoolExecutor() as pool:
        for grades, findings, said in pool.map(scan, base.SUITES):
            # The test authority names neither CRL nor OCSP.
            assert (grades, findings) == (["A+"], {"cert_revocation"}), said

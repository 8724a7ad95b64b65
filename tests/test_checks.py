"""Checks that judge what a host answers, and the operator's own files."""

import datetime
import ipaddress
import time
from pathlib import Path

import fabric
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fabric import Connection
from invoke import Config, Context, Exit

from fabfile.kit import task
from fabfile.kit.errors import RemoteError
from fabfile.kit.resources import check
from fabfile.kit.resources.check import ok
from fabfile.kit.shell import Answer
from fabfile.kit.task import CommandLine
from fabfile.local.certificate import own_pair
from fabfile.local.visit import Step
from fabfile.settings import schema
from fabfile.tasks import preflight as checks
from fabfile.tasks import service, ssh_keys
from fabfile.tasks import system as updating
from fabfile.tasks import verify as verifying
from fabfile.tasks.jupyter import no_overrides, outermost
from fabfile.tasks.ssh_keys import create_ssh_key
from fabfile.tasks.users import public_keys

GIB = 1 << 20
NOW = datetime.datetime.now(datetime.timezone.utc)
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIC59LAOpUHriZez1tTVohaUzk6ICnSQTlJlyZaGiWu/G ada@laptop"


# -- preflight


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_supported_machines_are_fine(machine):
    assert checks.architecture(f"{machine}\n") == ok()


@pytest.mark.parametrize("machine", ["armv7l", "i686", "riscv64", ""])
def test_other_machines_are_refused_by_name(machine):
    problem = checks.architecture(f"{machine}\n").problem
    assert problem.startswith(machine)
    assert "x86_64, aarch64" in problem


@pytest.mark.parametrize("system", ["debian 12", "debian 13", "ubuntu 22.04", "ubuntu 24.04"])
def test_supported_systems_are_fine(system):
    assert checks.distribution(f"{system}\n/run/systemd/system\n") == ok()


@pytest.mark.parametrize(
    "system", ["debian 11", "ubuntu 20.04", "fedora 43", "debian", "arch ", "", "raspbian 12"]
)
def test_other_systems_are_refused_by_name(system):
    problem = checks.distribution(f"{system}\n/run/systemd/system\n").problem
    assert (system.strip() or "unknown") in problem
    assert "debian 12" in problem
    assert "ubuntu 24.04" in problem


def test_a_system_without_systemd_is_refused():
    assert "systemd" in checks.distribution("debian 12\n").problem


@pytest.mark.parametrize(
    ("total", "swap", "problem", "warning"),
    [
        (4 * GIB, 0, False, False),
        (GIB * 7 // 10, 0, False, True),
        (GIB // 4, GIB // 4, False, True),
        (GIB // 4, 0, True, False),
    ],
)
def test_memory_and_swap_count_together(total, swap, problem, warning):
    judged = checks.memory(f"MemTotal: {total:>15} kB\nSwapTotal: {swap:>15} kB\n")
    assert (bool(judged.problem), bool(judged.warning)) == (problem, warning)


@pytest.mark.parametrize(
    ("free", "problem", "warning"),
    [(9 * GIB, False, False), (2 * GIB, False, True), (GIB, True, False)],
)
def test_room_on_the_disk_is_what_is_available(free, problem, warning):
    judged = checks.disk(f"/dev/vda1  {20 * GIB}  {10 * GIB}  {free}  50% /\n")
    assert (bool(judged.problem), bool(judged.warning)) == (problem, warning)


@pytest.mark.parametrize(
    ("ahead", "said"),
    [(0, ""), (200, ""), (-200, ""), (3600, "60 minutes ahead"), (-7200, "120 minutes behind")],
)
def test_a_clock_may_be_off_by_a_little(ahead, said):
    problem = check.clock(f"{time.time() + ahead:.0f}\n").problem
    assert (said in problem) if said else (problem == "")


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("", ""),
        ("apache2 612 apache2\napache2 613 apache2\n", ""),
        ("apache2 612 \n", ""),
        ("nginx 612 nginx\n", "taken by nginx (process 612 of nginx.service)"),
        ("python3 700 \n", "taken by python3 (process 700)"),
        ("apache2 612 apache2\nnginx 700 nginx\n", "nginx"),
    ],
)
def test_a_port_may_be_taken_by_its_own_service_only(output, said):
    problem = checks.port_judge(443, "apache2")(output).problem
    assert (said in problem) if said else (problem == "")


def test_another_apt_is_told_and_waited_for():
    assert checks.apt("", 300) == ok()
    verdict = checks.apt("812 unattended-upgr /var/lib/dpkg/lock-frontend\n", 300)
    assert verdict.problem == ""
    assert "unattended-upgr (process 812)" in verdict.warning
    assert "300 s" in verdict.warning


# -- Jupyter's other configuration


@pytest.mark.parametrize(
    "text",
    ["", "{}", '{"ServerApp": {"jpserver_extensions": {"jupyterlab": true}}}', " \n"],
)
def test_a_list_of_extensions_overrides_nothing(text):
    assert no_overrides(f"{text}\0jupyter_server_config.json\0") == ok()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"ServerApp": {"port": 1, "jpserver_extensions": {}}}', "ServerApp.port"),
        ('{"IdentityProvider": {"hashed_password": "x"}}', "IdentityProvider.hashed_password"),
        ("not json", "not a JSON object"),
        ("[1]", "not a JSON object"),
        ('{"ServerApp": 1}', "not a JSON object"),
    ],
)
def test_what_would_win_over_our_settings_is_named(text, said):
    problem = no_overrides(
        f"\0jupyter_server_config.json\0{text}\0jupyter_server_config.d/x.json\0"
    ).problem
    assert said in problem
    assert "jupyter_server_config.d/x.json" in problem


@pytest.mark.parametrize(
    ("folders", "kept"),
    [
        (("/home/a", "/home/a/x", "/opt"), ["/home/a", "/opt"]),
        (("/home/a/x", "/home/a"), ["/home/a"]),
        (("/a", "/ab"), ["/a", "/ab"]),
        (("/a", "/a"), ["/a"]),
    ],
)
def test_a_folder_inside_another_is_not_named_again(folders, kept):
    assert outermost(*folders) == kept


# -- what a server says, and when it says nothing


BOOTED = Answer(0, "one\n", "")


class Rebooting:
    """A root shell whose answers about the boot come from a list; the last one stays."""

    def __init__(self, *boots, order=BOOTED):
        self.boots, self.order, self.round_trips = list(boots), order, 0

    def batch(self, steps, stop=False):
        self.round_trips += 1
        if len(steps) == 2:
            return [BOOTED, self.order]
        if "is-system-running" in steps[0]:
            return [Answer(0, "running\n", "")]
        boot = self.boots.pop(0) if len(self.boots) > 1 else self.boots[0]
        return [Answer(0, boot, "")]

    def close(self):
        pass


@pytest.fixture
def clock(monkeypatch):
    """Let time pass only in sleep."""
    now = [0.0]
    monkeypatch.setattr(updating.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(
        updating.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds)
    )


def test_a_reboot_is_waited_for(clock):
    shell = Rebooting("one\n", "one\n", "two\n")
    assert updating.rebooted(lambda: shell) == (9.0, "running")


def test_a_server_that_does_not_reboot_is_given_up(clock):
    shell = Rebooting("one\n")
    with pytest.raises(RemoteError, match="600 s after"):
        updating.rebooted(lambda: shell)
    assert shell.round_trips <= 201


def test_a_refused_reboot_ends_the_wait(clock):
    shell = Rebooting("one\n", order=Answer(1, "", "denied"))
    with pytest.raises(RemoteError, match="the reboot failed: denied"):
        updating.rebooted(lambda: shell)


def test_a_log_cannot_write_to_the_terminal(monkeypatch, capsys):
    def ask_service(c, name, step, on_line):
        on_line("a\x1b]0;title\x07b")

    monkeypatch.setattr(service, "ask_service", ask_service)
    service.logs(Connection("web"))
    out = capsys.readouterr().out
    assert "title" in out
    assert not {"\x1b", "\x07"} & set(out)


def test_verify_leaves_the_file_of_all_hosts_to_the_end(tmp_path, monkeypatch):
    path = tmp_path / "verify.json"
    line = CommandLine()
    line.running = True
    monkeypatch.setattr(task, "command_line", line)
    monkeypatch.setattr(verifying, "steps", lambda c, s, secret: [Step("server", True, "runs")])
    for host in ("a", "b"):
        verifying.verify.body(Connection(host), json=str(path))
    assert path.read_text() == ""  # hosts run side by side, and none writes it
    assert [result["host"] for result in line.results[str(path)]] == ["a", "b"]


# -- keys


@pytest.mark.parametrize("exists", [False, True])
def test_a_dry_run_of_create_ssh_key_says_whether_it_would(tmp_path, exists):
    c = Context(Config({"run": {"dry": True}}))
    path = tmp_path / "id"
    if exists:
        path.touch()
        Path(f"{path}.pub").touch()
        create_ssh_key(c, path=str(path), no_passphrase=True)
        return
    with pytest.raises(Exit) as caught:
        create_ssh_key(c, path=str(path), no_passphrase=True)
    assert caught.value.code == 3
    assert not path.exists()


@pytest.mark.parametrize("authorized", [False, True])
def test_a_dry_run_of_copy_ssh_key_says_whether_it_would(tmp_path, monkeypatch, authorized):
    (tmp_path / "id.pub").write_text(f"{KEY}\n")
    monkeypatch.setattr(ssh_keys, "log_in", lambda c: None)
    monkeypatch.setattr(ssh_keys, "has_key", lambda transport, line: authorized)
    c = Connection("web", config=fabric.Config(overrides={"run": {"dry": True}}))
    if authorized:
        ssh_keys.copy_ssh_key(c, key=str(tmp_path / "id.pub"))
        return
    with pytest.raises(Exit) as caught:
        ssh_keys.copy_ssh_key(c, key=str(tmp_path / "id.pub"))
    assert caught.value.code == 3


def test_keys_are_taken_as_text_or_from_files(tmp_path):
    (tmp_path / "id.pub").write_text(f'# mine\n{KEY}\n\nfrom="10.0.0.0/8" {KEY}2\n')
    assert public_keys("user.authorized_keys", (KEY, str(tmp_path / "id.pub"))) == (
        KEY,
        KEY,
        f'from="10.0.0.0/8" {KEY}2',
    )


@pytest.mark.parametrize("what", ["nothing", "a folder", "no keys", "a private key", "bytes"])
def test_what_holds_no_public_key_is_refused(tmp_path, what):
    path = tmp_path / "id"
    if what == "a folder":
        path.mkdir()
    elif what != "nothing":
        path.write_bytes(
            {"no keys": b"hello\n", "bytes": b"\xff\xfe"}.get(
                what, b"-----BEGIN OPENSSH PRIVATE KEY-----\n"
            )
        )
    with pytest.raises(ValueError, match="user.authorized_keys: ") as caught:
        public_keys("user.authorized_keys", (str(path),))
    assert str(path) in str(caught.value)


# -- the operator's own certificate


@pytest.fixture
def own(tmp_path):
    """Write a certificate and key, and return what `own_pair` returns or says about them."""

    def make(
        hosts,
        names=("a.example", "192.0.2.1"),
        days=30,
        age=100,
        key=None,
        passphrase=None,
        certificate=None,
    ):
        private = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
        alternatives = [
            x509.IPAddress(ipaddress.ip_address(name)) if name[0].isdigit() else x509.DNSName(name)
            for name in names
        ]
        begun = NOW - datetime.timedelta(days=age)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(private.public_key())
        )
        builder = (
            builder.serial_number(1)
            .not_valid_before(begun)
            .not_valid_after(NOW + datetime.timedelta(days=days))
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), False)
        pem = builder.sign(private, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        way = (
            serialization.BestAvailableEncryption(passphrase)
            if passphrase
            else serialization.NoEncryption()
        )
        keyed = (key or private).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, way
        )
        (tmp_path / "cert.pem").write_bytes(certificate or pem + pem)  # the chain follows
        (tmp_path / "key.pem").write_bytes(keyed)
        tls = {"certificate": str(tmp_path / "cert.pem"), "key": str(tmp_path / "key.pem")}
        return own_pair(schema.checked({"tls": {**schema.defaults["tls"], **tls}}), hosts)

    return make


def test_an_own_certificate_comes_with_its_chain_and_key(own):
    certificate, key = own(["a.example", "192.0.2.1"])
    assert certificate.count("BEGIN CERTIFICATE") == 2
    assert "PRIVATE KEY" in key


@pytest.mark.parametrize(
    ("names", "host"), [(["*.example"], "a.example"), (["A.Example"], "a.example")]
)
def test_an_own_certificate_may_name_the_host_in_another_way(own, names, host):
    assert own([host], names=names)


@pytest.mark.parametrize(
    ("hosts", "options", "said"),
    [
        (["b.example"], {}, "not for b.example"),
        (["a.example", "b.example"], {}, "not for b.example"),
        (["a.b.example"], {"names": ["*.example"]}, "not for a.b.example"),
        (["192.0.2.2"], {}, "not for 192.0.2.2"),
        (["a.example"], {"names": []}, "not for a.example"),
        (["a.example"], {"days": -1}, "expired on"),
        (["a.example"], {"age": -1}, "is not valid before"),
        (["a.example"], {"key": ec.generate_private_key(ec.SECP256R1())}, "does not match"),
        (["a.example"], {"passphrase": b"hush"}, "without a passphrase"),
        (["a.example"], {"certificate": b"hello"}, "contains no PEM certificate"),
        (["a.example"], {"certificate": b"\xff"}, "is not a PEM file"),
    ],
)
def test_an_own_certificate_that_will_not_do_is_refused(own, hosts, options, said):
    with pytest.raises(ValueError, match="tls.(certificate|key): ") as caught:
        own(hosts, **options)
    assert said in str(caught.value)

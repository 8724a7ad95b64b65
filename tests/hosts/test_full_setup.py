"""full-setup turns real servers into Jupyter servers and keeps them so; verify proves it."""

import dataclasses
import json
import re
import socket
import ssl
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import argon2
import pytest
import websocket

from .fixtures.hosts import Server
from .lab import base
from .releases import in_turn
from .visitor import PASSWORD, Visitor, eventually

HOME = "/home/jupyter"
SITE = "/etc/apache2/sites-available/jupyter.conf"
PART = "/etc/apache2/remote-jupyter/jupyter.inc"
CERTIFICATE, KEY = "/etc/remote-jupyter/tls/cert.pem", "/etc/remote-jupyter/tls/key.pem"
USER_PASSWORD = "it's $HOME `id`"
DROP_IN = "/etc/ssh/sshd_config.d/00-remote-jupyter.conf"


def visit(server):
    """Return a visitor who trusts the certificate of the server."""
    return Visitor(server.address, server.ssh(f"cat {CERTIFICATE}").stdout)


@pytest.fixture
def visitor(server):
    """A visitor with a client of HTTP and websockets."""
    return visit(server)


# -- the story of a fresh host


def test_dry_run_on_a_bare_host_changes_nothing(story):
    assert story.foretold.status == 3
    assert story.foretold.trips == 1
    assert story.foretold.changed == set()
    assert story.before
    assert story.after == story.before


def test_first_run_does_what_the_dry_run_predicted(story):
    unknown = story.foretold.having("unknown")
    assert story.first.items == story.foretold.items
    assert story.first.changed - unknown == story.foretold.having("would change")
    assert unknown == {"Service apache2", "UfwIpv6"}
    handlers = story.foretold.having("would change", task="handlers")
    assert (
        story.first.having("changed", task="handlers")
        == handlers
        == {"reload apache2", "reload ssh"}
    )


def test_second_run_changes_nothing_in_one_round_trip(story):
    assert story.second.is_calm
    assert story.second.items == story.first.items
    assert re.search(r"  ok=\d+ changed=0 failed=0  1 round trip, \d+\.\d s\n$", story.second.out)
    assert story.last.is_calm


def test_only_the_generated_password_is_shown_once(story):
    runs = [story.foretold, story.first, story.second, story.last]
    text, reports = "".join(run.text for run in runs), json.dumps([run.report for run in runs])
    assert PASSWORD not in text
    assert json.dumps(PASSWORD)[1:-1] not in reports
    assert text.count(story.sudo_password) == 1
    assert story.sudo_password not in reports


def test_new_address_updates_what_contains_it(moved):
    _, run = moved
    config = f"{HOME}/.jupyter/jupyter_server_config.py"
    assert run.status == 0
    assert run.changed == {
        f"SelfSigned {CERTIFICATE}",
        f"File {SITE}",
        f"File {config}",
        "reload apache2",
        "restart jupyter",
    }


# -- what a server is then


def test_the_packages_are_installed(server, oracle):
    seen = oracle(server)
    packages = ["sudo", "python3-venv", "apache2", "openssl", "ufw", "openssh-server"]
    assert [name for name in packages if not seen.package(name).is_installed] == []


def test_jupyters_account_has_home_and_shell_but_no_sudo(server, oracle):
    user = oracle(server).user("jupyter")
    assert (user.home, user.shell) == (HOME, "/bin/bash")
    assert user.groups == ["jupyter"]
    assert server.ssh("sudo -l", user="jupyter", check=False).returncode == 1


def test_administrator_has_sudo_and_a_password(server, oracle):
    user = oracle(server).user("admin")
    assert (user.home, user.shell) == ("/home/admin", "/bin/bash")
    assert "sudo" in user.groups
    assert user.password.startswith("$6$")


def test_keys_of_root_let_the_login_user_in(server, oracle):
    seen = oracle(server)
    folder, keys = seen.file(f"{HOME}/.ssh"), seen.file(f"{HOME}/.ssh/authorized_keys")
    assert (folder.user, folder.group, folder.mode) == ("jupyter", "jupyter", 0o700)
    assert (keys.user, keys.group, keys.mode) == ("jupyter", "jupyter", 0o600)
    mine = keys.content_string.splitlines()
    assert mine
    assert set(mine) <= set(seen.file("/root/.ssh/authorized_keys").content_string.splitlines())


def test_administrator_needs_a_password_for_sudo(server, story):
    assert server.ssh("whoami", user="admin").stdout == "admin\n"
    assert server.ssh("sudo -n true", user="admin", check=False).returncode == 1
    sudo = server.ssh("sudo -S -p '' whoami", user="admin", input=f"{story.sudo_password}\n")
    assert sudo.stdout == "root\n"


def test_sshd_requires_keys(server, oracle):
    text = oracle(server).check_output("sshd -T -C user=root,host=localhost,addr=127.0.0.1")
    effective = dict(line.split(" ", 1) for line in text.splitlines())
    assert effective["passwordauthentication"] == "no"
    assert effective["kbdinteractiveauthentication"] == "no"
    assert effective["permitemptypasswords"] == "no"
    assert effective["permitrootlogin"] == "without-password"
    assert effective["pubkeyauthentication"] == "yes"
    assert effective["x11forwarding"] == "no"


def test_ssh_rejects_the_right_password(server, story, operator):
    ask = operator.home / "askpass"
    ask.write_text('#!/bin/sh\nprintf "%s\\n" "$PASSWORD"\n')
    ask.chmod(0o700)
    options = ["PreferredAuthentications=password,keyboard-interactive", "PubkeyAuthentication=no"]
    options += ["StrictHostKeyChecking=no", f"UserKnownHostsFile={operator.known_hosts}"]
    argv = [
        "ssh",
        "-F",
        "none",
        *(f"-o{option}" for option in options),
        f"admin@{server.address}",
        "whoami",
    ]
    env = operator.env(
        SSH_ASKPASS=str(ask), SSH_ASKPASS_REQUIRE="force", PASSWORD=story.sudo_password
    )
    done = subprocess.run(
        argv, env=env, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL
    )
    assert (done.returncode, done.stdout) == (255, "")
    assert "Permission denied (publickey)" in done.stderr


def test_environment_has_jupyterlab_and_notebook(server, oracle):
    seen = oracle(server)
    assert seen.file(f"{HOME}/jupyter-env/pyvenv.cfg").user == "jupyter"
    for program in ("lab", "notebook"):
        with seen.sudo("jupyter"):
            version = seen.check_output(f"{HOME}/jupyter-env/bin/jupyter {program} --version")
        assert re.fullmatch(r"\d+\.\d+\.\d+", version)


def test_jupyter_runs_as_login_user_on_loopback(server, oracle):
    seen = oracle(server)
    service = seen.service("jupyter")
    assert service.is_running
    assert service.is_enabled
    pid = service.systemd_properties["MainPID"]
    assert seen.process.get(pid=pid).user == "jupyter"
    listening = seen.check_output("ss -Hltnp").splitlines()
    assert [line.split()[3] for line in listening if f"pid={pid}," in line] == ["127.0.0.1:8888"]
    with pytest.raises(OSError):
        socket.create_connection((server.address, 8888), timeout=1)


def test_jupyter_files_are_private_and_password_is_argon2id(server, oracle):
    seen = oracle(server)
    modes = {"": 0o700, "/jupyter_server_config.py": 0o600, "/password-hash": 0o600}
    for path, mode in modes.items():
        file = seen.file(f"{HOME}/.jupyter{path}")
        assert (file.user, file.group, file.mode) == ("jupyter", "jupyter", mode), path
    scheme, _, stored = (
        seen.file(f"{HOME}/.jupyter/password-hash").content_string.strip().partition(":")
    )
    assert scheme == "argon2"
    assert stored.startswith("$argon2id$")
    assert argon2.PasswordHasher().verify(stored, PASSWORD)


def test_apache_has_modules_site_and_valid_configuration(server, oracle):
    seen = oracle(server)
    assert seen.service("apache2").is_running
    assert seen.service("apache2").is_enabled
    loaded = set(re.findall(r"(\w+)_module", seen.check_output("apache2ctl -M")))
    assert {"ssl", "proxy", "proxy_http", "headers", "rewrite"} <= loaded
    assert SITE in seen.check_output("apache2ctl -t -D DUMP_VHOSTS").replace(
        "sites-enabled", "sites-available"
    )
    assert seen.run("apache2ctl configtest").rc == 0


def test_served_certificate_names_the_server(server, oracle):
    seen = oracle(server)
    openssl = f"openssl x509 -noout -in {CERTIFICATE}"
    assert f"IP Address:{server.address}" in seen.check_output(f"{openssl} -ext subjectAltName")
    assert seen.run(f"{openssl} -checkend {360 * 86400}").rc == 0
    installed = seen.file(CERTIFICATE).content_string
    assert ssl.get_server_certificate((server.address, 443)).split() == installed.split()
    key = seen.file(KEY)
    assert (key.user, key.group, key.mode) == ("root", "root", 0o600)


def test_http_redirects_to_https_and_jupyter(server, oracle):
    curl = "curl -s -o /dev/null -w '%{{http_code}} %{{redirect_url}}' {}"
    outside = subprocess.run(
        ["sh", "-c", curl.format(f"http://{server.address}/jupyter/lab?a=b")], capture_output=True
    )
    assert outside.stdout.decode() == f"301 https://{server.address}/jupyter/lab?a=b"
    inside = oracle(server).check_output(
        f"{curl.format(f'https://{server.address}/')} --cacert {CERTIFICATE}"
    )
    assert inside == f"302 https://{server.address}/jupyter/"


def test_firewall_allows_only_ssh_and_web(server, oracle):
    status = oracle(server).check_output("ufw status verbose")
    assert status.startswith("Status: active\n")
    assert "deny (incoming)" in status
    rules = re.findall(r"^(\S+) +(\w+ \w+) +(\w+) *(?:#.*)?$", status, re.M)
    ports = {f"{getattr(server, 'port', 22)}/tcp", "80/tcp", "443/tcp"}
    assert sorted(rules) == sorted((port, "ALLOW IN", "Anywhere") for port in ports)
    listener = "systemd-run -q --unit=test-listener -p Type=exec python3 -m http.server 9000"
    ready = "until ss -Hltn | grep -q :9000; do sleep 0.1; done"
    server.ssh(f"{listener} && {ready}", timeout=20)
    try:
        with pytest.raises(TimeoutError):
            socket.create_connection((server.address, 9000), timeout=1)
    finally:
        server.ssh("systemctl stop test-listener")


# -- what a visitor meets


def test_visitor_has_a_kernel_and_a_terminal(visitor):
    assert visitor.ask("GET", "/api/contents").status == 403
    assert visitor.log_in(PASSWORD) == 302
    assert visitor.ask("GET", "/api/contents").status == 200
    assert visitor.compute("6*7") == "42"
    assert "42x" in visitor.type_in_terminal("echo $((6*7))x\r", until="42x")


def test_wrong_password_is_rejected(visitor):
    for wrong in ("wrong", "", PASSWORD[:-1]):
        assert visitor.log_in(wrong) == 401
    assert visitor.ask("GET", "/api/contents").status == 403


def test_guesses_at_the_password_wait_and_others_do_not(server, visitor, fab):
    def log_in(password):
        began = time.monotonic()
        return visit(server).log_in(password), time.monotonic() - began

    def log_in_from_another_address():
        ask = "curl -sk -b /tmp/jar -c /tmp/jar -o /dev/null -w '%{http_code}'"
        url = f"https://{server.address}/jupyter/login"
        form = '--data-urlencode password@- -d "_xsrf=$(sed -n "s/.*_xsrf.//p" /tmp/jar)"'
        return server.nsenter(f"{ask} {url}; {ask} {form} {url}; rm /tmp/jar", input=PASSWORD)

    assert visitor.log_in(PASSWORD) == 302
    with visitor.kernel() as run:
        assert {log_in("wrong")[0] for _ in range(5)} == {401}
        with ThreadPoolExecutor() as pool:
            guesses = [pool.submit(log_in, "wrong") for _ in range(3)]
            time.sleep(1)
            assert run("6*7") == "42"
            assert log_in_from_another_address().stdout.endswith("302")
            assert not all(guess.done() for guess in guesses)
            found = sorted(guess.result() for guess in guesses)
    assert {status for status, _ in found} == {401}
    assert [seconds > least for (_, seconds), least in zip(found, (2, 6, 14), strict=True)] == [
        True
    ] * 3
    status, seconds = log_in(PASSWORD)
    assert (status, seconds > 14) == (302, True)
    assert log_in("wrong")[1] < 14
    told = fab(server, "status").stdout
    assert re.search(r"failed logins: \d+ in 24 hours; \d+ of them from [0-9.]+$", told, re.M)


def test_cross_site_request_with_cookies_is_rejected(visitor):
    assert visitor.log_in(PASSWORD) == 302
    visitor.websocket("/api/events/subscribe").close()
    with visitor.started("terminals", "name") as name:
        for path in ("/api/events/subscribe", f"/terminals/websocket/{name}"):
            with pytest.raises(websocket.WebSocketBadStatusException) as refused:
                visitor.websocket(path, origin="https://evil.example")
            assert refused.value.status_code == 403
    stolen = visitor.ask(
        "POST", "/api/terminals", "{}", Origin="https://evil.example", **{"X-XSRFToken": ""}
    )
    assert stolen.status in (403, 404)


def test_foreign_host_name_with_cookies_is_rejected(visitor):
    assert visitor.log_in(PASSWORD) == 302
    for host in (
        "evil.example",
        "evil.example:443",
        f"{visitor.address}.evil.example",
        "localhost",
    ):
        for path in ("/login", "/api", "/api/contents"):  # the first two are open to all
            assert visitor.ask("GET", path, Host=host).status == 403
        with pytest.raises(websocket.WebSocketBadStatusException) as refused:
            visitor.websocket("/api/events/subscribe", origin=f"https://{host}", host=host)
        assert refused.value.status_code == 403


def test_cookies_are_secure(visitor):
    cookies = visitor.ask("GET", "/login").headers.get_all("Set-Cookie")
    form = f"password=wrong&_xsrf={visitor.cookies['_xsrf']}"
    assert visitor.log_in(PASSWORD) == 302
    cookies += visitor.ask("POST", "/login", form).headers.get_all("Set-Cookie") or []
    assert cookies
    assert all("Secure" in cookie for cookie in cookies)


# -- break one thing, and exactly that is repaired


@dataclasses.dataclass(frozen=True)
class Breakage:
    """What breaks, how, what full-setup changes then, a test that it is whole, and what to undo."""

    what: str
    how: str
    changed: set
    whole: str
    undo: str = ":"


def self_signed(days, names, reload="systemctl reload apache2"):
    """Shell text that puts another certificate, with its key, in place of ours."""
    return f"""
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
            -days {days} -subj /CN=test \
            -addext "subjectAltName={names}" -keyout {KEY} -out {CERTIFICATE} 2>&1
        {reload}
    """


OWN = "IP:$(hostname -I | cut -d' ' -f1)"
OTHER_HASH = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(
    "another password"
)
SERVED = "openssl s_client -connect 127.0.0.1:443 </dev/null 2>/dev/null | openssl x509 -noout"

BREAKAGES = [
    Breakage(
        "jupyter stopped",
        "systemctl stop jupyter",
        {"Service jupyter"},
        "systemctl is-active jupyter",
    ),
    Breakage(
        "jupyter disabled at boot",
        "systemctl disable jupyter",
        {"Service jupyter"},
        "systemctl is-enabled jupyter",
    ),
    Breakage(
        "apache stopped",
        "systemctl stop apache2",
        {"Service apache2"},
        "systemctl is-active apache2",
    ),
    Breakage(
        "a module disabled",
        "a2dismod -q headers; systemctl reload apache2 || :",
        {"ApacheModule headers", "reload apache2"},
        "apache2ctl -M | grep headers_module"
        " && curl -kIs https://127.0.0.1/ | grep -i strict-transport",
    ),
    Breakage(
        "the site disabled",
        "a2dissite -q jupyter; systemctl reload apache2",
        {"ApacheSite jupyter", "reload apache2"},
        "curl -ks https://127.0.0.1/",
    ),
    Breakage(
        "the site edited",
        f"sed -i 's/ProxyPreserveHost On/ProxyPreserveHost Off/' {PART}; systemctl reload apache2",
        {f"File {PART}", "reload apache2"},
        f"grep 'ProxyPreserveHost On' {PART}",
    ),
    Breakage(
        "a configuration that others may read",
        f"chmod 0644 {HOME}/.jupyter/jupyter_server_config.py",
        {f"File {HOME}/.jupyter/jupyter_server_config.py", "restart jupyter"},
        f"[ $(stat -c %a {HOME}/.jupyter/jupyter_server_config.py) = 600 ]",
    ),
    Breakage(
        "another password's hash",
        f"echo 'argon2:{OTHER_HASH}' >{HOME}/.jupyter/password-hash; systemctl restart jupyter",
        {f"PasswordFile {HOME}/.jupyter/password-hash"},
        f"! grep -F '{OTHER_HASH}' {HOME}/.jupyter/password-hash",
    ),
    Breakage(
        "a key removed",
        f": >{HOME}/.ssh/authorized_keys",
        {f"AuthorizedKeys {HOME}/.ssh/authorized_keys"},
        f"grep ssh- {HOME}/.ssh/authorized_keys",
    ),
    Breakage(
        "the administrator not in sudo",
        "gpasswd -d admin sudo",
        {"User admin"},
        "id -nG admin | grep -w sudo",
    ),
    Breakage(
        "the user in sudo",
        "gpasswd -a jupyter sudo",
        {"User jupyter"},
        "! id -nG jupyter | grep -w sudo",
    ),
    Breakage(
        "a rule deleted",
        "ufw delete allow 443/tcp",
        {"UfwRule 443"},
        "ufw status | grep -E '^443/tcp +ALLOW'",
    ),
    Breakage(
        "a rule overruled by an earlier one",
        "ufw insert 1 deny 443",
        {"UfwRule 443"},
        "ufw status | grep -m 1 -E '^443(/tcp)? ' | grep ALLOW",
        undo="ufw delete deny 443",
    ),
    Breakage("the firewall off", "ufw disable", {"UfwEnabled"}, "ufw status | grep -w active"),
    Breakage(
        "a certificate that soon expires",
        self_signed(20, OWN),
        {f"SelfSigned {CERTIFICATE}", "reload apache2"},
        f"{SERVED} -checkend {300 * 86400}",
    ),
    Breakage(
        "a certificate for another name",
        self_signed(365, "DNS:other.example"),
        {f"SelfSigned {CERTIFICATE}", "reload apache2"},
        f'{SERVED} -ext subjectAltName | grep "IP Address:$(hostname -I | cut -d" " -f1)"',
    ),
    Breakage(
        "password logins switched on",
        f"sed -i 's/^PasswordAuthentication no/PasswordAuthentication yes/' {DROP_IN};"
        " systemctl reload ssh",
        {f"File {DROP_IN}", "SshdSettings jupyter", "reload ssh"},
        "sshd -T | grep 'passwordauthentication no'",
    ),
    Breakage(
        "the notebook uninstalled",
        f"runuser -u jupyter -- {HOME}/jupyter-env/bin/pip uninstall -qy notebook",
        {"PipPackages jupyterlab notebook", "restart jupyter"},
        f"{HOME}/jupyter-env/bin/python -c 'import notebook'",
    ),
]


@in_turn("breakage", BREAKAGES, ids=lambda breakage: breakage.what)
def test_only_what_broke_is_repaired(server, full_setup, breakage):
    def is_whole():
        return server.ssh(breakage.whole, check=False).returncode == 0

    server.ssh(f"set -e\n{breakage.how}")
    is_broken = eventually(lambda: not is_whole(), seconds=3)
    run = full_setup(server)
    assert is_broken
    assert (run.status, run.changed) == (0, breakage.changed), run.text
    assert eventually(is_whole, seconds=3)
    assert visit(server).log_in(PASSWORD) == 302
    assert full_setup(server).is_calm
    server.ssh(breakage.undo)


# -- verify, which proves all that from outside


@pytest.fixture
def verify(fab, tmp_path):
    """Run verify: its exit status, its steps, and what it printed."""

    def run(host):
        file = tmp_path / "verify.json"
        done = fab(host, "verify", "--json", file, env={"JUPYTER_PASSWORD": PASSWORD}, check=False)
        [report] = json.loads(file.read_text())["hosts"]
        assert report["ok"] == (done.returncode == 0) == all(step["ok"] for step in report["steps"])
        return done.returncode, report["steps"], done.stdout

    return run


def test_verify_passes_on_a_good_server(server, verify):
    status, steps, out = verify(server)
    names = [step["name"] for step in steps]
    assert status == 0
    assert names[1:] == [
        "reachable",
        "certificate",
        "redirect",
        "login",
        "kernel",
        "terminal",
        "foreign origin",
    ]
    assert re.findall(r"  ok +([\w ]+): ", out) == names


FAULTS = {
    "jupyter stopped": ("systemctl stop jupyter", "configure-jupyter"),
    "apache stopped": ("systemctl stop apache2", "install-apache"),
    "a certificate not taken up": (self_signed(365, OWN, reload=":"), None),
    "another certificate in the site": (
        "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=x"
        " -keyout /srv/key.pem -out /srv/cert.pem 2>&1\n"
        f"sed -i 's#/etc/remote-jupyter/tls#/srv#' {SITE}; systemctl reload apache2",
        "configure-apache",
    ),
    "the firewall closed": ("ufw deny 443/tcp", "firewall"),
}


@in_turn("fault", FAULTS)
def test_verify_names_the_task_that_fixes_it(server, verify, fab, full_setup, fault):
    how, task = FAULTS[fault]
    server.ssh(f"set -e\n{how}")
    status, steps, out = verify(server)
    first = next((step for step in steps if not step["ok"]), {"fix": task})
    fab(server, first["fix"], env={"JUPYTER_PASSWORD": PASSWORD})
    after, _, text = verify(server)
    server.ssh("systemctl reload apache2")
    assert full_setup(server).is_calm
    assert (status, first["fix"]) == (1, task or first["fix"]), out
    assert re.search(rf"  failed +{first['name']}: .+; fix it with: {first['fix']}\b", out)
    assert after == 0, text


# -- ways to be root


@pytest.fixture
def person(server, lab):
    """Create users who may log in, for this test only: `person("ada", "ALL=(ALL) ALL")`."""
    made = []

    def make(name, sudoers=None):
        if name not in ("root", "admin"):
            made.append(f"userdel -rf {name}")
            made_up = f"useradd -m {name} && chpasswd"
            made_up += f" && cp -r ~/.ssh ~{name} && chown -R {name}: ~{name}/.ssh"
            server.ssh(made_up, input=f"{name}:{USER_PASSWORD}\n")
        if sudoers:
            made.append("rm /etc/sudoers.d/test")
            server.ssh(
                "umask 337; cat >/etc/sudoers.d/test; visudo -qc", input=f"{name} {sudoers}\n"
            )
        return Server(f"{name}@{server.address}", server.key)

    yield make
    for end in made:
        server.ssh(end)


@in_turn("name", ["root", "admin"])
def test_root_and_user_with_password_find_nothing_to_do(person, full_setup, story, name):
    env = {"SUDO_PASSWORD": story.sudo_password} if name == "admin" else {}
    assert full_setup(person(name), **env).is_calm


def test_user_with_passwordless_sudo_finds_nothing_to_do(person, full_setup):
    assert full_setup(person("admin", "ALL=(ALL:ALL) NOPASSWD: ALL")).is_calm


NO_ROOT = {
    "a wrong password": (
        "admin",
        {"SUDO_PASSWORD": "wrong"},
        "sudo does not accept this password for admin",
    ),
    "no password": (
        "admin",
        {},
        "sudo asks for the password of admin; give it in SUDO_PASSWORD",
    ),
    "no right": (
        "ada",
        {"SUDO_PASSWORD": USER_PASSWORD},
        "ada cannot become root: ada is not in the sudoers file",
    ),
}


@in_turn("case", NO_ROOT)
def test_missing_root_rights_are_reported_once(person, full_setup, case):
    name, env, error = NO_ROOT[case]
    run = full_setup(person(name), **env)
    assert (run.status, run.items, run.report["failed"]) == (1, [], 1)
    [line] = run.err.splitlines()
    assert error in line
    assert error in run.report["error"]


# -- one connection, several hosts, a reboot


def test_tasks_of_one_command_share_one_connection(server, fab):
    def logins():
        return int(
            server.ssh(
                "journalctl --sync; journalctl -o cat | grep -c '^Accepted publickey'"
            ).stdout
        )

    before = logins()
    fab(server, "create-user", "harden-ssh", "preflight")
    assert logins() - before == 2  # fab's, and that of the question itself


def test_two_hosts_converge_at_once(tell, new_host, fab, tmp_path):
    layers = {suite: tell(suite).layer for suite in base.SUITES}
    with ThreadPoolExecutor() as pool:
        hosts = list(pool.map(lambda suite: new_host(suite, lower=layers[suite]), layers))
    for changed in (5, 0):
        done = fab(
            hosts,
            "full-setup",
            "--report",
            tmp_path / "report.json",
            env={"JUPYTER_PASSWORD": PASSWORD},
        )
        recaps = re.findall(
            r"^(\S+)  ok=\d+ changed=(\d+) failed=0  \d round trip", done.stdout, re.M
        )
        assert sorted(recaps) == sorted((host.address, str(changed)) for host in hosts)
        reports = json.loads((tmp_path / "report.json").read_text())["hosts"]
        assert [(one["changed"], one["failed"]) for one in reports] == [(changed, 0)] * 2
    for host in hosts:
        assert visit(host).log_in(PASSWORD) == 302


def test_reboot_brings_everything_back(server, lab, oracle, visitor, full_setup):
    server.reboot()
    assert eventually(lambda: visitor.ask("GET", "/api").status == 200)
    assert visitor.log_in(PASSWORD) == 302
    assert visitor.compute("6*7") == "42"
    assert oracle(server).check_output("ufw status").startswith("Status: active\n")
    assert full_setup(server).is_calm

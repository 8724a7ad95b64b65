"""The configuration files that the tasks make from the settings."""

import ast
import ipaddress
import os
import re
import shlex
import shutil
import subprocess
import time

import jinja2
import pytest
from fabric import Config, Connection

from fabfile import configure_apache, configure_jupyter, harden_ssh
from fabfile.kit.quote import CONFIG
from fabfile.kit.resources import MARK, File
from fabfile.settings import schema
from fabfile.settings.templates import render
from fabfile.tasks.apache import path_judge

NASTY = '/srv/ada\'s "notes" $HOME %h \\n {{ x }} {% y %} ünï'


@pytest.fixture
def made(monkeypatch):
    """Return a function for the text of a file that a task makes, by task, path and settings."""
    for name in os.environ:
        if name.startswith(("FABRIC_", "JUPYTER_PASSWORD")):
            monkeypatch.delenv(name)

    def make(task, path, *settings, host="web.example.org"):
        c = Connection(host, "root", 22, Config(lazy=True))
        loaded = schema.load(c, dict(setting.split("=", 1) for setting in settings))
        [text] = [
            part.content
            for part in task.body(c, loaded)
            if isinstance(part, File) and part.path.endswith(path)
        ]
        return text

    return make


@pytest.mark.parametrize(
    "template", sorted(path.name for path in (CONFIG / "templates").glob("*.j2"))
)
def test_each_file_names_its_maker_in_its_first_line(template):
    lines = (CONFIG / "templates" / template).read_text(encoding="utf-8").splitlines()
    assert lines[lines[0].startswith("#!")].startswith("# {{ mark }}")
    assert MARK == "Made by remote-jupyter"


def test_a_missing_variable_is_an_error():
    with pytest.raises(jinja2.UndefinedError):
        render("sshd.conf.j2")


@pytest.mark.parametrize("path", ["jupyter.conf", "zz-remote-jupyter-tls.conf"])
def test_no_template_syntax_is_left(made, path):
    text = made(configure_apache, path)
    assert MARK in text.splitlines()[0]
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    assert not re.search(r"\{\{|\{%|\{#|\n\n\n|[ \t]\n", text)


# -- Jupyter's configuration, which is Python


def assigned(text):
    """Return what Jupyter's configuration assigns: literals as values, others as source."""
    found = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
            try:
                value = ast.literal_eval(node.value)
            except ValueError:
                value = ast.unparse(node.value)
            found[ast.unparse(node.targets[0]).removeprefix("c.")] = value
    return found


def test_jupyters_configuration_has_the_settings(made):
    found = assigned(
        made(
            configure_jupyter,
            "_config.py",
            "jupyter.port=9999",
            "jupyter.base_url=/a/b",
            "user.name=ada",
        )
    )
    assert found["ServerApp.port"] == 9999
    assert found["ServerApp.port_retries"] == 0
    assert found["ServerApp.base_url"] == "/a/b/"
    assert found["ServerApp.root_dir"] == "/home/ada/notebooks"
    assert found["ServerApp.ip"] == "127.0.0.1"
    assert found["ServerApp.local_hostnames"] == [
        "localhost",
        "web.example.org",
    ]
    assert found["PasswordIdentityProvider.hashed_password"].startswith("HASH.read_text(")
    assert found["PasswordIdentityProvider.password_required"] is True
    assert found["IdentityProvider.token"] == ""


def test_the_root_as_base_url_is_one_slash(made):
    assert (
        assigned(made(configure_jupyter, "_config.py", "jupyter.base_url=/"))["ServerApp.base_url"]
        == "/"
    )


def test_jupyters_configuration_quotes_special_characters(made):
    assert (
        assigned(made(configure_jupyter, "_config.py", f"jupyter.notebook_dir={NASTY}"))[
            "ServerApp.root_dir"
        ]
        == NASTY
    )


@pytest.mark.parametrize(
    ("domain", "remote"),
    [
        ("a.example,b.example", False),
        ("192.0.2.1", True),
        ("a.example,2001:db8::1", True),
        ("1.example", False),
    ],
)
def test_apache_checks_the_host_header_only_for_addresses(made, domain, remote):
    found = assigned(made(configure_jupyter, "_config.py", f"tls.domains={domain}"))
    assert found.get("ServerApp.allow_remote_access", False) is remote
    assert found["ServerApp.local_hostnames"] == ["localhost", *domain.split(",")]


# -- Jupyter's unit


def unit(text):
    """Return the settings of a unit, each with all its values."""
    found = {}
    for line in text.splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def words(value):
    """Return the words of a setting as systemd reads them; $ has no special meaning there."""
    return [word.replace("%%", "%") for word in shlex.split(value)]


def test_the_unit_quotes_special_characters(made):
    found = unit(made(configure_jupyter, "jupyter.service", f"jupyter.notebook_dir={NASTY}"))
    assert found["WorkingDirectory"] == [
        NASTY.replace("%", "%%")
    ]  # one path, the rest of the line, without quotes
    assert [words(value) for value in found["ReadWritePaths"]] == [["/home/jupyter"], [NASTY]]


def test_the_unit_runs_the_environments_program_as_the_user(made):
    settings = ("python.prefix=/opt/env", "user.name=ada", "jupyter.interface=notebook")
    found = unit(made(configure_jupyter, "jupyter.service", *settings))
    assert found["User"] == ["ada"]
    assert words(found["ExecStart"][0])[:2] == ["/opt/env/bin/jupyter", "notebook"]
    assert ["PATH=/opt/env/bin:/usr/local/bin:/usr/bin:/bin"] in [
        words(value) for value in found["Environment"]
    ]
    assert [words(value) for value in found["ReadWritePaths"]] == [["/home/ada"], ["/opt/env"]]


def test_the_unit_names_no_directory_twice(made):
    settings = ("user.home=/srv/ada", "jupyter.notebook_dir=/srv/ada/x", "python.prefix=/srv/adam")
    found = unit(made(configure_jupyter, "jupyter.service", *settings))
    assert [words(value) for value in found["ReadWritePaths"]] == [["/srv/ada"], ["/srv/adam"]]


@pytest.mark.parametrize("settings", [(), ("user.sudo=true",), ("jupyter.sudo=true",)])
def test_the_unit_protects_the_startup_files(made, settings):
    found = unit(made(configure_jupyter, "jupyter.service", "user.home=/srv/ada", *settings))
    read_only = [words(value)[0].removeprefix("-/srv/ada/") for value in found["ReadOnlyPaths"]]
    assert {".ssh", ".bashrc", ".bash_profile", ".zshenv", "bin"} <= {*read_only}
    assert [words(value) for value in found["BindPaths"]] == [
        ["-/srv/ada/.config"],
        ["-/srv/ada/.local"],
    ]


@pytest.mark.parametrize("runner", ["systemd", "tmux"])
def test_only_sudo_in_jupyter_opens_the_unit(made, runner):
    def options(*settings):
        return unit(
            made(configure_jupyter, "jupyter.service", f"jupyter.runner={runner}", *settings)
        )

    assert options() == options("user.sudo=true")
    assert options()["PrivateUsers"] == options()["PrivateTmp"] == ["yes"]
    assert "-/run/user" in options()["InaccessiblePaths"]
    assert {"PrivateUsers", "InaccessiblePaths"} & {*options("jupyter.sudo=true")} == set()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed here")
def test_systemd_accepts_every_line_of_the_unit(made, tmp_path):
    path = tmp_path / "jupyter.service"
    path.write_text(made(configure_jupyter, "jupyter.service", f"jupyter.notebook_dir={NASTY}"))
    said = subprocess.run(
        ["systemd-analyze", "verify", path], capture_output=True, text=True
    ).stderr
    assert not [
        line
        for line in said.splitlines()
        if f"{path.name}:" in line and "not executable" not in line
    ], said


# -- Apache's site


def site(made, *settings, **options):
    """Return the lines of the site for HTTP, and of the one for HTTPS."""
    text = made(configure_apache, "jupyter.conf", *settings, **options)
    match = re.fullmatch(
        r"(?s).*<VirtualHost \*:80>\n(.*)</VirtualHost>\n"
        r"\n<VirtualHost \*:443>\n(.*)</VirtualHost>\n",
        text,
    )
    return ([line.strip() for line in part.splitlines()] for part in match.groups())


def having(lines, directive):
    """Return what follows this directive in its lines, in order."""
    return [line.partition(" ")[2] for line in lines if line.partition(" ")[0] == directive]


@pytest.mark.parametrize(("base", "below"), [("/", ""), ("/jupyter", "/jupyter"), ("/a/b", "/a/b")])
def test_the_site_proxies_its_path_and_nothing_else(made, base, below):
    settings = (f"jupyter.base_url={base}", "jupyter.port=9999")
    _, https = site(made, *settings)
    part = [line.strip() for line in made(configure_apache, "/jupyter.inc", *settings).splitlines()]
    assert having(https, "IncludeOptional") == ["/etc/apache2/remote-jupyter/*.inc"]
    assert not having(https, "ProxyPass")
    [passed] = having(part, "ProxyPass")
    assert passed.split()[:2] == [base, f"http://127.0.0.1:9999{base}"]
    assert "upgrade=websocket" in passed.split()
    assert having(part, "ProxyPassReverse") == [f"{base} http://127.0.0.1:9999{base}"]
    assert having(part, "SetEnvIf")[0] == f'Request_URI "^{below}/" no-gzip'
    assert having(part, "RewriteRule") == ([f"^/$ {below}/ [R=302,L]"] if below else [])
    assert having(part, "ProxyPreserveHost") == ["On"]
    assert having(part, "<Location") == [f'"{base}">']


def test_in_another_site_the_root_stays_and_names_are_checked(made):
    part = made(configure_apache, "/jupyter.inc", "apache.site=www", "tls.domains=a.example")
    assert "RewriteRule" not in part
    assert "!~ /^(a\\.example)(:[0-9]+)?$/i" in part
    with pytest.raises(ValueError):
        made(configure_apache, "sites-available/jupyter.conf", "apache.site=www")


@pytest.mark.parametrize(
    ("mine", "other", "refused"),
    [
        ("/jupyter", "/jupyter", True),
        ("/jupyter", "/jupyter/ada", True),
        ("/jupyter/ada", "/jupyter", True),
        ("", "/ada", True),
        ("/ada", "/", True),
        ("/ada", "/adam", False),
    ],
)
def test_two_jupyters_need_separate_paths(mine, other, refused):
    problem = path_judge(mine)(f"{other} /etc/apache2/remote-jupyter/grace.inc\n").problem
    assert bool(problem) == refused
    assert not refused or "the Jupyter grace already has" in problem


def test_http_redirects_to_the_same_path_of_https(made):
    http, https = site(made, "tls.domains=a.example,b.example")
    assert [rule for rule in having(http, "RewriteRule") if "https" in rule] == [
        "^ https://a.example%{REQUEST_URI} [R=301,L,NE]"
    ]
    assert not having(http, "ProxyPass")
    assert not having(http, "SSLEngine")
    assert having(https, "SSLEngine") == ["on"]


@pytest.mark.parametrize(
    ("domain", "name", "aliases"),
    [
        ("a.example", "a.example", []),
        ("a.example,b.example,192.0.2.1", "a.example", ["b.example", "192.0.2.1"]),
        ("2001:db8::1", "[2001:db8::1]", []),
    ],
)
def test_both_sites_have_every_name(made, domain, name, aliases):
    for lines in site(made, f"tls.domains={domain}"):
        assert having(lines, "ServerName") == [name]
        assert having(lines, "ServerAlias") == aliases


def test_without_domains_the_name_is_the_host_of_the_command(made):
    http, _ = site(made, host="Web.Example.org")
    assert having(http, "ServerName") == ["web.example.org"]


@pytest.mark.parametrize(
    ("domain", "allowed", "refused"),
    [
        (
            "a.example",
            ["a.example", "A.EXAMPLE", "a.example:443"],
            ["b.example", "axexample", "a.example.evil", "xa.example", ""],
        ),
        (
            "a.example,b.example",
            ["a.example", "b.example:8443"],
            ["a.exampleb.example", "c.example"],
        ),
        ("192.0.2.1", ["192.0.2.1", "192.0.2.1:443"], ["192.0.211", "192.0.2.1.evil"]),
        ("2001:db8::1", ["[2001:db8::1]", "[2001:db8::1]:443"], ["2", "d", "[2001:db8::2]"]),
    ],
)
def test_requests_for_other_names_are_rejected(made, domain, allowed, refused):
    _, https = site(made, f"tls.domains={domain}")
    condition, rule = https[https.index("RewriteEngine On") :][2:4]
    pattern = re.fullmatch(r"RewriteCond %\{HTTP_HOST\} !(\S+) \[NC\]", condition)[1]
    assert rule == "RewriteRule ^ - [F,L]"
    assert all(re.search(pattern, host, re.I) for host in allowed)
    assert not any(re.search(pattern, host, re.I) for host in refused)


# -- sshd


@pytest.mark.parametrize(
    ("settings", "lines"),
    [
        ([], {"PermitRootLogin prohibit-password", "PasswordAuthentication no"}),
        (
            ["admin.name=ada", "ssh.permit_root_login=no", "ssh.password_authentication=yes"],
            {"PermitRootLogin no", "PasswordAuthentication yes"},
        ),
    ],
)
def test_sshds_configuration_has_the_settings(made, settings, lines):
    text = made(harden_ssh, "00-remote-jupyter.conf", *settings)
    found = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert lines <= set(found)
    assert len({line.split()[0] for line in found}) == len(found)
    assert "PermitOpen <permit-open>" in found  # of which the host knows more
    assert all(len(line.split()) == 2 for line in found if not line.startswith("PermitOpen"))


# -- guesses at Jupyter's password


@pytest.fixture
def attempts(made):
    """What Jupyter's configuration knows about logins, with a clock in `attempts.now`."""
    tree = ast.parse(made(configure_jupyter, "_config.py"))
    tree.body = [node for node in tree.body if getattr(node, "name", "") in ("Attempts", "network")]
    names = {"ip_address": ipaddress.ip_address, "time": time}
    exec(compile(tree, "configuration", "exec"), names)
    found = names["Attempts"](lambda: found.now)
    found.now = 1000.0
    return found


def waits(attempts, number, address="203.0.113.5"):
    """Try *number* times, one after the other, and return what each of them waits."""
    found = []
    for _ in range(number):
        found.append(attempts.wait(address))
        attempts.now += found[-1] or 0
    return found


def test_each_try_after_five_waits_longer(attempts):
    assert waits(attempts, 11) == [0] * 5 + [2, 4, 8, 16, 30, 30]


def test_tries_at_once_wait_too_and_then_are_rejected(attempts):
    found = [attempts.wait("203.0.113.5") for _ in range(100)]
    assert found == [0] * 5 + [2, 6, 14, 30] + [None] * 91
    attempts.now += 30
    assert attempts.wait("203.0.113.5") == 30


def test_other_addresses_do_not_wait(attempts):
    waits(attempts, 10)
    assert attempts.wait("203.0.113.6") == 0


def test_right_password_lets_an_address_start_again(attempts):
    waits(attempts, 10)
    attempts.forget("203.0.113.5")
    assert waits(attempts, 6) == [0] * 5 + [2]


def test_tries_are_forgotten_after_15_minutes(attempts):
    waits(attempts, 10)
    attempts.now += 899
    assert waits(attempts, 1) == [30]
    attempts.now += 901
    assert waits(attempts, 1) == [0]


def test_addresses_of_one_ipv6_network_count_together(attempts):
    assert [attempts.wait(f"2001:db8::{number}") for number in range(6)] == [0] * 5 + [2]
    assert attempts.wait("2001:db8:0:1::1") == 0
    assert [attempts.wait("::ffff:203.0.113.5") for _ in range(5)] == [0] * 5
    assert attempts.wait("203.0.113.5") == 2


def test_memory_for_addresses_is_bounded(attempts):
    for number in range(5000):
        attempts.wait(str(ipaddress.ip_address(number)))
    assert len(attempts.of) == 1000
    assert attempts.wait("not an address") == 0

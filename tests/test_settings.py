"""Settings: the table, where values come from, and what is rejected before any connection."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import fabric
import pytest
from invoke.util import yaml

from fabfile import create_user, firewall, full_setup
from fabfile.kit.quote import CONFIG
from fabfile.kit.settings import InvalidSetting, Schema, Setting
from fabfile.settings import schema, setup
from fabfile.settings.reference import defaults_file, rows
from fabfile.settings.table import HEAD

REPOSITORY = Path(__file__).parents[1]
FAB = Path(sys.executable).parent / "fab"
FILE = (CONFIG / "defaults.yml").read_text(encoding="utf-8")
DEFAULTS = schema.defaults
DOTTED = list(schema.settings)
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIC59LAOpUHriZez1tTVohaUzk6ICnSQTlJlyZaGiWu/G ada@laptop"


@pytest.fixture(autouse=True)
def nothing_given(monkeypatch):
    """Remove the settings of the person who runs the tests."""
    for name in os.environ:
        if name.startswith(("FABRIC_", "INVOKE_", "JUPYTER_", "USER_PASSWORD", "SUDO_PASSWORD")):
            monkeypatch.delenv(name)


@pytest.fixture
def given(tmp_path):
    """Return a function that makes a context of the text of a settings file: `given("user: …")`."""

    def make(text="{}"):
        path = tmp_path / "settings.yml"
        path.write_text("remote_jupyter:\n" + "\n".join(f"  {line}" for line in text.splitlines()))
        config = fabric.Config(lazy=True, runtime_path=str(path))
        config.load_runtime()
        return SimpleNamespace(config=config)

    return make


def value(settings, dotted):
    group, name = dotted.split(".")
    return getattr(getattr(settings, group), name)


def tree(dotted, item):
    """Return settings with one value, as YAML."""
    group, name = dotted.split(".")
    return yaml.safe_dump({group: {name: item}}, allow_unicode=True, width=1000)


# -- the table, and the file of defaults that it generates


def test_the_file_of_defaults_is_generated():
    assert defaults_file(schema, HEAD) == FILE, "generate it with: inv defaults"


def test_the_file_of_defaults_holds_every_default():
    assert yaml.safe_load(FILE) == {"remote_jupyter": DEFAULTS}


def test_the_defaults_are_valid(given):
    settings = schema.load(given())
    assert settings.user.name == DEFAULTS["user"]["name"]
    assert settings.jupyter.port == 8888
    for dotted, setting in schema.settings.items():
        found = value(settings, dotted)
        assert isinstance(found, type(setting.rule(found)))


@pytest.mark.parametrize("dotted", DOTTED)
def test_each_setting_is_explained_in_the_file(dotted):
    _, name = dotted.split(".")
    assert len(schema.help(dotted)) > 15
    assert schema.help(dotted).endswith(".")
    above = re.findall(rf"((?:^    # .*\n)+)    {name}:", FILE, re.M)
    assert schema.help(dotted) in [
        comment.replace("    # ", "").replace("\n", " ").strip() for comment in above
    ]


def test_no_line_of_the_file_of_defaults_is_too_long():
    assert max(map(len, FILE.splitlines())) <= 100


def test_each_group_of_settings_is_in_one_piece():
    groups = [dotted.partition(".")[0] for dotted in DOTTED]
    assert groups == sorted(groups, key=list(DEFAULTS).index)


def test_the_reference_has_a_row_for_each_setting():
    found = {row.name: row for row in rows(schema)}
    assert list(found) == DOTTED
    assert found["jupyter.port"] == (
        "jupyter.port",
        "8888",
        "a whole number from 1024 to 65535",
        "FABRIC_REMOTE_JUPYTER_JUPYTER_PORT",
        schema.help("jupyter.port"),
    )
    assert found["python.packages"].default == "[jupyterlab, notebook]"
    assert not [name for name, row in found.items() if not row.valid]


def test_the_promised_settings_exist():
    promised = """
        user.name user.sudo user.shell user.authorized_keys ssh.password_authentication
        ssh.permit_root_login firewall.enabled firewall.allow python.distribution python.version
        python.prefix python.url python.sha256 python.accept_terms python.upload python.update
        python.packages jupyter.access jupyter.interface jupyter.port jupyter.base_url
        jupyter.notebook_dir jupyter.runner apache.modules tls.issuer tls.domains tls.email
        tls.acme_server tls.days tls.certificate tls.key
    """
    assert set(promised.split()) <= set(DOTTED)


# -- precedence


def test_a_file_wins_over_the_defaults(given):
    settings = schema.load(given("user: {name: grace}"))
    assert settings.user.name == "grace"
    assert settings.user.sudo is False


def test_the_environment_wins_over_a_file(given, monkeypatch):
    monkeypatch.setenv("FABRIC_REMOTE_JUPYTER_USER_NAME", "env")
    assert schema.load(given("user: {name: file, shell: /bin/sh}")).user.name == "env"
    assert schema.load(given("user: {name: file, shell: /bin/sh}")).user.shell == "/bin/sh"


def test_a_flag_wins_over_the_environment(given, monkeypatch):
    monkeypatch.setenv("FABRIC_REMOTE_JUPYTER_USER_NAME", "env")
    assert create_user.settings(given("user: {name: file}"), {"user": "flag"}).user.name == "flag"
    assert create_user.settings(given("user: {name: file}"), {"user": None}).user.name == "env"


def test_only_its_flag_turns_off_a_switch_that_is_on(given):
    assert create_user.settings(given(), {"sudo": True}).user.sudo is True
    assert create_user.settings(given(), {"sudo": False}).user.sudo is False
    assert create_user.settings(given("user: {sudo: true}"), {"sudo": False}).user.sudo is True


@pytest.mark.parametrize(
    ("text", "ports"), [("8080", (8080,)), ("8080, 9090", (8080, 9090)), ("", ())]
)
def test_commas_separate_a_list_in_the_environment_or_a_flag(given, monkeypatch, text, ports):
    assert (
        firewall.settings(given("firewall: {allow: [1, 2]}"), {"allow": text}).firewall.allow
        == ports
    )
    monkeypatch.setenv("FABRIC_REMOTE_JUPYTER_FIREWALL_ALLOW", text)
    assert schema.load(given("firewall: {allow: [1, 2]}")).firewall.allow == ports


@pytest.mark.parametrize(
    ("text", "meant"),
    [("false", False), ("no", False), ("0", False), ("true", True), ("YES", True)],
)
def test_a_switch_in_the_environment_means_what_it_says(given, monkeypatch, text, meant):
    monkeypatch.setenv("FABRIC_REMOTE_JUPYTER_FIREWALL_ENABLED", text)
    assert schema.load(given()).firewall.enabled is meant


def test_one_load_does_not_change_the_next(given):
    schema.load(given("user: {name: file}"), {"user.shell": "/bin/sh"})
    settings = schema.load(given())
    assert settings.user.name == DEFAULTS["user"]["name"]
    assert settings.user.shell == ""


# -- unknown keys


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("user: {nam: ada}", ("remote_jupyter.user.nam:", "did you mean name?")),
        ("usr: {name: ada}", ("remote_jupyter.usr:", "did you mean user?")),
        ("jupyter: {baseurl: /x}", ("remote_jupyter.jupyter.baseurl:", "did you mean base_url?")),
        ("zzzz: 1", ("remote_jupyter.zzzz:", "known settings: user, admin, ssh, firewall")),
        ("user: ada", ("remote_jupyter.user: 'ada'", "name", "shell")),
        ("user:", ("remote_jupyter.user: None", "name", "shell")),
        ("user: [name]", ("remote_jupyter.user: ['name']", "name", "shell")),
        ("user: {name: {first: ada}}", ("remote_jupyter.user.name:", "{'first': 'ada'}")),
    ],
)
def test_an_unknown_key_is_rejected_with_the_nearest_one(given, text, said):
    with pytest.raises(InvalidSetting) as caught:
        schema.load(given(text))
    for words in said:
        assert words in str(caught.value)


def test_a_key_that_is_a_number_is_rejected():
    with pytest.raises(InvalidSetting, match="remote_jupyter.user.1: unknown setting"):
        schema.load(SimpleNamespace(config={"remote_jupyter": {"user": {1: "ada"}}}))


def test_an_unknown_variable_is_rejected_with_the_nearest_one(given, monkeypatch):
    monkeypatch.setenv("FABRIC_REMOTE_JUPYTER_USER_NAM", "ada")
    with pytest.raises(
        InvalidSetting, match="FABRIC_REMOTE_JUPYTER_USER_NAM: .*FABRIC_REMOTE_JUPYTER_USER_NAME"
    ):
        schema.load(given())


# -- values


BAD = {
    "user.name": [
        "root", "", "Ada", "1ada", "a b", "a" * 32, "ada;id", "../x", "ada\n", None, ["ada"], True,
        "ünï",
    ],
    "user.home": ["relative", "/", "/a/../b", "/a b", "/a:b", "/a/", "//a", "/a\nb", "/a%b"],
    "user.shell": ["bash", "/bin/ba sh", "/bin/sh;id", ["/bin/sh"]],
    "user.adopt": ["maybe", None],
    "admin.name": ["root", "Ada", "a b", "-a", "a" * 32],
    "admin.authorized_keys": [["two\nlines"]],
    "admin.adopt": ["maybe", None],
    "user.passwordless_sudo": ["maybe", None],
    "user.copy_root_keys": ["maybe", None],
    "user.remove_keys": [["two\nlines"]],
    "ssh.permit_open": [0, "http"],
    "ssh.rollback_timeout": [9, 3601, "soon"],
    "user.sudo": ["maybe", "", 2, None, [True]],
    "user.authorized_keys": [["a\nb"], [""], [True], [["x"]]],
    "ssh.password_authentication": ["perhaps", None],
    "ssh.permit_root_login": ["without-password", "maybe", "", None, 0, ["no"]],
    "firewall.enabled": ["sometimes"],
    "firewall.allow": [
        "http", "0", "65536", "-1", "80 81", [70000], [True], 3.5, {"a": 1}, "80,,81",
    ],
    "apt.lock_timeout": ["soon", -1, 3601, True, None, 1.5],
    "python.distribution": ["python", "", None],
    "python.version": ["../x", "a b", "-1"],
    "python.prefix": ["relative", "/a/../b", "/a b", "~ada/x", "/", "/a:b", "~/"],
    "python.url": ["ftp://x", "file:///x", "https://a b", "x"],
    "python.sha256": ["abc", "g" * 64, "A" * 64],
    "python.accept_terms": ["of course"],
    "python.upload": ["perhaps"],
    "python.update": ["daily"],
    "python.packages": [
        "-r x", "--index-url=x", "jupyterlab; rm", "a b c", "git+https://x", "/tmp/x", [None],
        "==7",
    ],
    "jupyter.access": ["nginx", "", None],
    "jupyter.interface": ["labs", "retro", ""],
    "jupyter.port": [
        80, 1023, 65536, 0, -1, "eighty", "8888x", 8888.5, "", None, True, [8888], "0x1F90",
    ],
    "jupyter.base_url": [
        "jupyter", "", "/a b", "/a//b", "/a?b", "/ä", '/a"b', "/a#b", "//x/", None, "/a\n",
    ],
    "jupyter.notebook_dir": ["relative", "/a/../b", "/..", "/a/..", "/a\nb", "~", "//a", "/a/"],
    "jupyter.runner": ["docker", ""],
    "jupyter.name": [
        "", "Ada", "ada", "ssh", "jupyter-", "jupyter a", "jupyter/a", "jupyter-" + "a" * 31,
    ],
    "jupyter.sudo": ["maybe", "", None],
    "jupyter.devices": ["nvidia", "/dev/a b", ["/dev/x;"], "/etc/passwd"],
    "jupyter.memory": ["4 G", "0", "4", "4g", "0%", "101%", "G"],
    "apache.site": ["a/b", "a b", "x.conf", "-x"],
    "apache.modules": ["SSL", "mod ssl", "../x", ["ssl;"], [""], "a,,b"],
    "tls.issuer": ["nobody", "", None],
    "tls.domains": [
        "a b", "-a.example", "a..b", "x_y.example", "http://a", "a/b", "a" * 64, "*.a", ["a\nb"],
        "a:443",
    ],
    "tls.email": ["ada", "ada@", "a b@c", "@c"],
    "tls.acme_server": ["ftp://x", "x"],
    "tls.acme_staging": ["ftp://x", "x"],
    "tls.acme_ca": ["a\nb", ["x"]],
    "tls.staging": ["perhaps", None],
    "tls.max_attempts": [0, 51, "many", True, None],
    "tls.fallback": ["perhaps", None],
    "tls.profile": ["old", "", None],
    "tls.days": [0, 30, 3651, "many", True, None],
    "tls.certificate": ["a\nb", ["x"], True],
    "tls.key": ["a\nb", ["x"]],
}  # fmt: skip
GOOD = {
    "user.name": [("ada", "ada"), ("_x-1", "_x-1"), ("a" * 31, "a" * 31)],
    "user.home": [("/srv/ada", "/srv/ada"), ("", "")],
    "user.sudo": [("no", False), ("on", True), (False, False), (1, True)],
    "user.authorized_keys": [
        (KEY, (KEY,)),
        ([f'from="a,b" {KEY}'], (f'from="a,b" {KEY}',)),
        ([], ()),
        ("~/.ssh/id.pub", ("~/.ssh/id.pub",)),
    ],
    "ssh.permit_root_login": [
        ("no", "no"), (False, "no"), (True, "yes"), ("prohibit-password", "prohibit-password"),
    ],
    "ssh.password_authentication": [("off", False), (True, True)],
    "firewall.allow": [
        ([80, "81"], (80, 81)), (8080, (8080,)), ("1,65535", (1, 65535)), (None, ()),
    ],
    "python.prefix": [("~/env", "~/env"), ("/opt/jupyter", "/opt/jupyter"), ("", "")],
    "python.packages": [
        (["notebook>=7,<8", "a[b,c]~=1.0"], ("notebook>=7,<8", "a[b,c]~=1.0")),
        (["jupyterlab==4.*"], ("jupyterlab==4.*",)),
        ("jupyterlab, notebook", ("jupyterlab", "notebook")),
    ],
    "jupyter.port": [(1024, 1024), ("65535", 65535)],
    "jupyter.base_url": [("/", "/"), ("/a/b/", "/a/b/"), ("/~ada/x.y_z-1", "/~ada/x.y_z-1")],
    "jupyter.notebook_dir": [
        ("/srv/a b's $x", "/srv/a b's $x"), ("~/ünï", "~/ünï"), ("/a..b/c", "/a..b/c"),
    ],
    "tls.domains": [
        ("Jupyter.Example.org.", ("jupyter.example.org",)),
        (["a.example", "2001:DB8::1", "192.0.2.1"], ("a.example", "2001:db8::1", "192.0.2.1")),
        ("a.example, b.example", ("a.example", "b.example")),
        ("localhost", ("localhost",)),
    ],
    "tls.days": [(31, 31), ("3650", 3650)],
}  # fmt: skip


def test_a_password_in_a_url_is_rejected_and_not_shown(given):
    for dotted in ("python.url", "tls.acme_server"):
        with pytest.raises(InvalidSetting) as caught:
            schema.load(given(tree(dotted, "https://ada:s3cret@mirror.example/A.sh")))
        assert "contains no password" in str(caught.value)
        assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("dotted", DOTTED)
def test_a_bad_value_is_rejected_with_what_would_be_valid(given, dotted):
    for bad in BAD[dotted]:
        with pytest.raises(InvalidSetting) as caught:
            pytest.fail(
                f"{dotted}: {bad!r} became {value(schema.load(given(tree(dotted, bad))), dotted)!r}"
            )
        start, _, valid = str(caught.value).partition(" is not valid: ")
        assert start == f"remote_jupyter.{dotted}: {bad!r}", caught.value
        assert valid.strip(), caught.value


@pytest.mark.parametrize("dotted", GOOD)
def test_a_good_value_is_converted(given, dotted):
    for good, meant in GOOD[dotted]:
        found = value(schema.load(given(tree(dotted, good))), dotted)
        assert found == meant
        assert type(found) is type(meant)


def test_yes_and_no_in_yaml_are_understood(given):
    assert (
        schema.load(
            given("ssh: {permit_root_login: no, password_authentication: yes}")
        ).ssh.permit_root_login
        == "no"
    )
    assert (
        schema.load(
            given("ssh: {permit_root_login: no, password_authentication: yes}")
        ).ssh.password_authentication
        is True
    )


@pytest.mark.parametrize("dotted", DOTTED)
def test_every_rule_rejects_a_trailing_newline(dotted):
    for item in (
        "x",
        "/x",
        "a@b",
        "8080",
        "https://x",
        "a" * 64,
        str(schema.default(dotted)),
    ):
        try:
            assert "\n" not in str(schema.settings[dotted].rule(item + "\n"))
        except ValueError:
            pass


def test_a_schema_is_for_any_key(monkeypatch):
    other = Schema("other", [Setting("a.b", 1, int, "What b is.")])
    monkeypatch.setenv("FABRIC_OTHER_A_B", "5")
    assert other.load(SimpleNamespace(config={})).a.b == 5
    assert other.help("a.b") == "What b is."
    assert other.default("a.b") == 1
    assert other.flag("a.b") == "b"
    assert defaults_file(other, "Head.") == "# Head.\nother:\n  a:\n    # What b is.\n    b: 1\n"


def test_each_switch_that_is_on_explains_how_to_turn_it_off():
    for dotted, setting in schema.settings.items():
        assert bool(setting.help_off) == (setting.default is True), dotted


def test_each_flag_of_a_task_has_the_help_of_its_setting():
    assert full_setup.help["user"] == schema.help("user.name")
    assert full_setup.help["base_url"] == schema.help("jupyter.base_url")


def test_the_table_names_the_flag_of_a_setting():
    flags = {"server": "tls.acme_server", "remove_key": "user.remove_keys", "port": "jupyter.port"}
    for flag, dotted in flags.items():
        assert schema.flag(dotted) == flag

    @setup("tls.domains", "firewall.enabled", path="python.prefix", help={"yes": "Do not ask."})
    def made(c, s, yes=False):
        """Make something."""
        yield

    assert made.flags == {
        "domain": "tls.domains",
        "enabled": "firewall.enabled",
        "path": "python.prefix",
    }
    assert made.help["no_enabled"] == "Leave the firewall as it is."
    assert made.help["yes"] == "Do not ask."


def test_setup_works_without_parentheses():
    @setup
    def made(c, s):
        """Make something."""
        yield

    assert made.name == "made"
    assert made.flags == {}


# -- renamed settings, and settings in the wrong place of a file


@pytest.mark.parametrize(
    ("former", "name"),
    [
        ("tls.domain", "tls.domains"),
        ("tls.tries", "tls.max_attempts"),
        ("ssh.undo_after", "ssh.rollback_timeout"),
    ],
)
def test_a_former_name_is_answered_with_the_new_one(given, monkeypatch, former, name):
    with pytest.raises(InvalidSetting) as caught:
        schema.load(given(tree(former, 20)))
    assert str(caught.value) == f"remote_jupyter.{former}: renamed to {name}"
    monkeypatch.setenv(schema.variable(former), "20")
    with pytest.raises(InvalidSetting) as caught:
        schema.load(given())
    assert str(caught.value) == f"{schema.variable(former)}: renamed to {schema.variable(name)}"


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("jupyter: {port: 99}", "  jupyter:\n    port: 99"),
        ("jupyter:\n  prt: 99", "  jupyter:\n    prt: 99"),
        ("tls.days: 99", "  tls:\n    days: 99"),
        ("tls: {tries: 2}", "  tls:\n    tries: 2"),
        ("remote_jupyter: {user: {name: ada}}\nuser: {name: ada}", "  user:\n    name: ada"),
        ("python: {url: 'https://ada:s3cret@x'}", "  python:\n    url: https://...@x"),
    ],
)
def test_a_file_without_our_key_is_rejected(tmp_path, text, right):
    config = fabric.Config(lazy=True, runtime_path=str(tmp_path / "s.yml"))
    (tmp_path / "s.yml").write_text(text)
    config.load_runtime(merge=False)
    with pytest.raises(InvalidSetting) as caught:
        schema.load(SimpleNamespace(config=config))
    assert str(caught.value) == (
        f"{tmp_path}/s.yml: settings belong under the key remote_jupyter:\nremote_jupyter:\n{right}"
    )


@pytest.mark.parametrize(
    "text",
    ["user: ada", "port: 2222", "timeouts: {connect: 5}", "apt: {mirror: x}", "mine: {a: 1}"],
)
def test_a_file_with_keys_of_others_is_accepted(tmp_path, text):
    config = fabric.Config(lazy=True, runtime_path=str(tmp_path / "s.yml"))
    (tmp_path / "s.yml").write_text(text)
    config.load_runtime()
    assert schema.load(SimpleNamespace(config=config)).user.name == "jupyter"


# -- the whole command line


@pytest.fixture(scope="module")
def listener():
    """A socket that listens, so that a connection to it would be noticed."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener


@pytest.fixture
def run_case(run_fab, listener, tmp_path):
    """Return a function that runs a case of CASES, in a home of its own."""

    def run(case):
        words, env, files, _ = CASES[case]
        for file, text in files.items():
            (tmp_path / file).write_bytes(text.encode() if isinstance(text, str) else text)
        port = str(listener.getsockname()[1])
        argv = [word.replace("HERE", str(tmp_path)).replace("PORT", port) for word in words]
        env = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"} | env
        return run_fab(*argv, env=env), argv, env

    return run


HOST = ("-H", "127.0.0.1:PORT")
CASES = {
    # name: words, environment, files, what the error says
    "flag": (
        (*HOST, "create-user", "--user", "root"),
        {},
        {},
        ("remote_jupyter.user.name: 'root'", "other than root"),
    ),
    "flag-of-a-later-task": (
        (*HOST, "install-apache", "configure-jupyter", "--port", "80"),
        {},
        {},
        ("remote_jupyter.jupyter.port: '80'", "from 1024 to 65535"),
    ),
    "environment": (
        (*HOST, "full-setup"),
        {"FABRIC_REMOTE_JUPYTER_TLS_DAYS": "5"},
        {},
        ("tls.days: '5'", "from 31 to 3650"),
    ),
    "unknown-variable": (
        (*HOST, "full-setup"),
        {"FABRIC_REMOTE_JUPYTER_TLS_DAY": "5"},
        {},
        ("FABRIC_REMOTE_JUPYTER_TLS_DAY:", "FABRIC_REMOTE_JUPYTER_TLS_DAYS"),
    ),
    "file": (
        (*HOST, "-f", "HERE/s.yml", "full-setup"),
        {},
        {"s.yml": "remote_jupyter:\n  user:\n    nam: ada\n"},
        ("remote_jupyter.user.nam:", "did you mean name?"),
    ),
    "own-file": (
        (*HOST, "full-setup"),
        {},
        {".fabric.yml": "remote_jupyter: {user: {name: Ada}}\n"},
        ("remote_jupyter.user.name: 'Ada'", "lower-case letters"),
    ),
    "list-in-file-and-environment": (
        (*HOST, "-f", "HERE/s.yml", "firewall"),
        {"FABRIC_REMOTE_JUPYTER_FIREWALL_ALLOW": "80,http"},
        {"s.yml": "remote_jupyter: {firewall: {allow: [1]}}\n"},
        ("remote_jupyter.firewall.allow: '80,http'", "whole number"),
    ),
    "file-without-our-key": (
        (*HOST, "-f", "HERE/s.yml", "full-setup"),
        {},
        {"s.yml": "jupyter: {port: 99}\n"},
        ("s.yml: settings belong under", "remote_jupyter:\n  jupyter:\n    port: 99"),
    ),
    "file-without-our-key-for-a-plain-task": (
        (*HOST, "-f", "HERE/s.yml", "tunnel"),
        {},
        {"s.yml": "jupyter: {port: 99}\n"},
        ("s.yml: settings belong under", "remote_jupyter:\n  jupyter:\n    port: 99"),
    ),
    "file-without-our-key-but-one-of-fabric": (
        (*HOST, "-f", "HERE/s.yml", "full-setup"),
        {},
        {"s.yml": "user: {name: ada}\n"},
        ("s.yml: settings belong under", "remote_jupyter:\n  user:\n    name: ada"),
    ),
    "file-that-fabric-cannot-merge": (
        (*HOST, "-f", "HERE/s.yml", "full-setup"),
        {},
        {"s.yml": "run: 5\n"},
        ("-f ", "s.yml"),
    ),
    "own-file-without-our-key": (
        (*HOST, "full-setup"),
        {},
        {".fabric.yml": "tls: {issuer: own}\n"},
        (".fabric.yml: settings belong under", "remote_jupyter:\n  tls:\n    issuer: own"),
    ),
    "file-that-is-no-yaml": (
        (*HOST, "-f", "HERE/s.yml", "full-setup"),
        {},
        {"s.yml": "a: [b\n"},
        ("-f ", "s.yml"),
    ),
    "file-of-another-kind": (
        (*HOST, "-f", "HERE/s.txt", "full-setup"),
        {},
        {"s.txt": "a: b\n"},
        ("-f ", "s.txt"),
    ),
    "file-that-is-no-text": (
        (*HOST, "-f", "HERE/s.yml", "full-setup"),
        {},
        {"s.yml": b"a: \xff\xfe\n"},
        ("-f ", "s.yml"),
    ),
    "file-that-is-no-mapping": (
        (*HOST, "-f", "HERE/s.yml", "full-setup"),
        {},
        {"s.yml": "- a\n"},
        ("-f ", "s.yml"),
    ),
    "no-file": (
        (*HOST, "-f", "HERE/none.yml", "full-setup"),
        {},
        {},
        ("-f ", "none.yml", "no such file"),
    ),
    "host-with-a-port-too-high": (
        ("-H", "host:99999", "full-setup"),
        {},
        {},
        ("-H host:99999:", "[user@]host[:port]"),
    ),
    "host-with-port-0": (("-H", "host:0", "full-setup"), {}, {}, ("-H host:0:",)),
    "host-with-a-space": (("-H", "a b", "full-setup"), {}, {}, ("-H a b:",)),
    "host-without-a-host": (("-H", "@x", "full-setup"), {}, {}, ("-H @x:",)),
    "host-of-no-letters": (("-H", "a..b", "full-setup"), {}, {}, ("-H a..b:",)),
    "host-like-an-option": (
        ("-H", "127.0.0.1:PORT,-oProxyCommand=x", "full-setup"),
        {},
        {},
        ("-H -oProxyCommand=x:",),
    ),
    "host-between-two-commas": (
        ("-H", "127.0.0.1:PORT,,x", "full-setup"),
        {},
        {},
        ("[user@]host[:port]",),
    ),
    "no-host": (("full-setup",), {}, {}, ("full", "-H")),
    "own-certificate-not-named": (
        (*HOST, "issue-cert", "--issuer", "own"),
        {},
        {},
        ("tls.certificate:", "PEM file"),
    ),
    "keys-that-are-none": (
        (*HOST, "create-user", "--authorized-keys", "HERE/none.pub"),
        {},
        {},
        ("user.authorized_keys:", "none.pub"),
    ),
    "private-key": (
        (*HOST, "create-user", "--authorized-keys", "HERE/id"),
        {},
        {"id": "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n-----END OPENSSH PRIVATE KEY-----\n"},
        ("user.authorized_keys:", "is not a public key"),
    ),
    "password": (
        (*HOST, "configure-jupyter"),
        {"JUPYTER_PASSWORD": "hush\x07"},
        {},
        ("JUPYTER_PASSWORD:", "control character"),
    ),
    "password-file": (
        (*HOST, "configure-jupyter"),
        {"JUPYTER_PASSWORD_FILE": "/none"},
        {},
        ("JUPYTER_PASSWORD_FILE=/none:",),
    ),
    "report-that-cannot-be-written": (
        (*HOST, "full-setup", "--report", "HERE/none/r.json"),
        {},
        {},
        ("--report", "none/r.json"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_request_exits_with_status_2(run_case, case):
    done, *_ = run_case(case)
    assert done.returncode == 2, done
    for words in CASES[case][3]:
        assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 5, done.stderr
    assert "hush" not in done.stderr + done.stdout
    assert done.stdout == ""


@pytest.mark.parametrize("case", CASES)
def test_no_wrong_request_reaches_a_host(run_case, listener, case):
    run_case(case)
    with pytest.raises(BlockingIOError):
        listener.accept()


def test_the_installed_program_says_the_same(run_case):
    expected, argv, env = run_case("flag")
    done = subprocess.run([FAB, *argv], cwd=REPOSITORY, env=env, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == expected.stderr

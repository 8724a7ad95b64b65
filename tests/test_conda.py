"""What of the installation of conda needs no server: which file, whose terms, what conda is asked for."""

import hashlib
import http.server
import os
import re
import sys
import threading

import pytest
from invoke import Config, Exit

from fabfile import install_anaconda, remove_anaconda
from fabfile.kit.errors import RemoteError
from fabfile.kit.quote import Shell
from fabfile.kit.resources import Download, DownloadBegun, Source
from fabfile.kit.resources.check import ok
from fabfile.kit.resources.download import size
from fabfile.kit.resources.upload import fetched
from fabfile.resources import Agreement, Terms
from fabfile.resources import conda_terms as terms
from fabfile.resources.conda_packages import specification
from fabfile.resources.installers import DISTRIBUTIONS, MACHINES, sources
from fabfile.resources.pip import fits
from fabfile.settings import schema
from fabfile.tasks.python import no_anaconda_channels

SUM = "ab" * 32


class Host:
    """A connection that nobody opens."""

    host, port, user, original_host = "web.example.org", 22, "root", "web.example.org"

    def __init__(self, dry=False):
        self.config = Config(overrides={"run": {"dry": dry}}, lazy=True)
        self.config.merge()


def plan(*settings, dry=False, task=install_anaconda, **mine):
    """The resources that a task yields with these settings, by their kinds' names."""
    c = Host(dry)
    loaded = schema.load(c, dict(setting.split("=", 1) for setting in settings))
    parts = [part for part in task.body(c, loaded, **mine) if hasattr(part, "probe")]
    return {type(part).__name__: part for part in parts}


@pytest.fixture(autouse=True)
def nobody_else(monkeypatch):
    """No settings of whoever runs the tests, and nobody has answered yet."""
    for name in list(os.environ):
        if name.startswith("FABRIC_"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(terms, "_answers", {})


# -- which file


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_the_default_installer_is_known_with_its_checksum_for_every_machine(name):
    found = {source.machine: source for source in sources(name)}
    assert set(found) == set(MACHINES)
    for machine, source in found.items():
        assert re.fullmatch(r"[0-9a-f]{64}", source.sha256)
        assert source.name.endswith(f"-Linux-{machine}.sh")
        assert source.url.startswith("https://")
        assert "latest" not in source.url


def test_an_address_follows_from_distribution_version_and_machine():
    [one] = sources("miniforge", "26.7.2-0")
    host = "https://github.com/conda-forge/miniforge/releases/download"
    assert one.url == f"{host}/26.7.2-0/Miniforge3-26.7.2-0-Linux-x86_64.sh"
    assert one.machine == "x86_64"
    assert one.path == "/var/cache/remote-jupyter/281b0ac7d550-Miniforge3-26.7.2-0-Linux-x86_64.sh"


def test_a_version_that_is_not_known_needs_its_checksum():
    with pytest.raises(
        ValueError,
        match="python.version: the SHA-256 of Anaconda 2026.07-1 is not known.*2025.12-2",
    ):
        sources("anaconda", "2026.07-1")
    assert {one.machine for one in sources("anaconda", "2026.07-1", sha256=SUM)} == set(MACHINES)
    [arm] = sources("miniconda", "py314_26.7.1-1", sha256=SUM)
    assert arm.machine == "aarch64"


def test_a_checksum_that_is_not_the_known_one_is_refused():
    with pytest.raises(ValueError, match="python.sha256: Anaconda 2025.12-2 has another SHA-256"):
        sources("anaconda", sha256=SUM)


def test_an_address_needs_a_checksum_and_the_name_of_a_script():
    with pytest.raises(
        ValueError, match="python.sha256: set it to the SHA-256 of the file at python.url"
    ):
        sources("anaconda", url="https://m.example/A.sh")
    with pytest.raises(ValueError, match="does not end in .sh"):
        sources("anaconda", url="https://m.example/A.exe", sha256=SUM)
    [one] = sources("anaconda", url="https://m.example/A-aarch64.sh?x=1", sha256=SUM)
    assert (one.machine, one.name) == ("aarch64", "A-aarch64.sh")


def test_each_distribution_has_a_folder_of_its_own_and_is_asked_for_what_it_needs():
    found = {name: plan(f"python.distribution={name}")["CondaPrefix"] for name in DISTRIBUTIONS}
    assert {one.path for one in found.values()} == {
        f"/home/jupyter/{name}3" for name in DISTRIBUTIONS
    }
    assert all(one.disk and one.memory and one.glibc for one in found.values())
    own = plan("python.url=https://m.example/A.sh", f"python.sha256={SUM}")["CondaPrefix"]
    assert not own.disk
    assert not own.glibc


def test_the_systems_python_needs_no_installer():
    assert set(plan("python.distribution=venv")) == {"Package", "User", "Venv", "PipPackages"}
    assert "PipUpdates" in plan("python.distribution=venv", "python.update=yes")


def test_updates_are_made_on_request_only():
    assert "CondaUpdates" not in plan()
    assert plan("python.update=yes")["CondaUpdates"].packages == ("conda", "pip", "setuptools")


# -- terms


def test_only_what_has_terms_asks_for_them():
    assert {"Terms", "ChannelTerms"} <= set(plan()) & set(plan("python.distribution=miniconda"))
    assert not {"Terms", "ChannelTerms"} & set(plan("python.distribution=miniforge"))
    assert "Check" in plan("python.distribution=miniforge")


def agreed(answer, monkeypatch, asks=True):
    """What a yes to some terms is when somebody types *answer* at a terminal, and how often it was asked for."""
    asked = []
    monkeypatch.setattr(sys.stdin, "isatty", lambda: answer is not None, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: asked.append(question) or answer)
    resource = Terms(
        "X", "https://x.example/terms", Agreement("Do you?", asks=asks), Shell("false"), "or take Y"
    )
    seen = resource.parse("needed\n")
    return [resource.conflict(seen) for _ in range(3)], asked, resource.agreement.holds()


@pytest.mark.parametrize(
    ("answer", "holds"), [("yes", True), ("y", True), ("no", False), ("", False)]
)
def test_a_person_is_asked_once_for_all_hosts(monkeypatch, answer, holds):
    refusals, asked, held = agreed(answer, monkeypatch)
    assert len(asked) == 1
    assert held is holds
    assert all((why is None) is holds for why in refusals)


def test_without_a_terminal_the_refusal_says_what_to_do(monkeypatch):
    refusals, asked, held = agreed(None, monkeypatch)
    assert not asked
    assert not held
    assert "https://x.example/terms" in refusals[0]
    assert "or take Y" in refusals[0]


def test_where_it_is_installed_nobody_is_asked():
    resource = plan("python.distribution=anaconda")["Terms"]
    assert resource.conflict(resource.parse("needless\n")) is None
    assert not resource.parse("needless\n")["warning"]
    assert plan("python.accept_terms=yes")["Terms"].conflict(resource.parse("needed\n")) is None


def test_a_dry_run_warns_of_terms_and_asks_nobody(monkeypatch):
    monkeypatch.setattr("builtins.input", lambda _: pytest.fail("asked"))
    resource = plan(dry=True)["Terms"]
    seen = resource.parse("needed\n")
    assert resource.conflict(seen) is None
    assert "accept_terms" in seen["warning"]


def test_a_condarc_that_brings_terms_is_reported():
    assert no_anaconda_channels("") == ok()
    assert "come from /a, /b;" in no_anaconda_channels("/a\n/b\n").warning


# -- removal


def test_removal_asks_and_takes_no_for_an_answer(monkeypatch):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: "no")
    with pytest.raises(Exit, match="Nothing was changed"):
        plan(task=remove_anaconda)
    assert plan(task=remove_anaconda, yes=True)["CondaAbsent"].path == "/home/jupyter/anaconda3"
    with pytest.raises(ValueError, match="not a venv"):
        plan("python.distribution=venv", task=remove_anaconda, yes=True)


# -- what conda is asked for


@pytest.mark.parametrize(
    ("pip", "conda"),
    [
        ("jupyterlab", "jupyterlab"),
        ("jupyterlab==4.*", "jupyterlab=4"),
        ("notebook==7.5.1", "notebook==7.5.1"),
        ("notebook>=7,<8", "notebook<8,>=7"),
        ("notebook~=7.1", "notebook~=7.1"),
        ("notebook===7.1", "notebook==7.1"),
    ],
)
def test_a_requirement_is_said_as_conda_has_it(pip, conda):
    assert specification(pip) == conda


@pytest.mark.parametrize(("version", "holds"), [("7.5.1", True), ("6.5", False), ("2024.x", False)])
def test_a_version_that_pip_would_not_understand_is_not_taken_for_right(version, holds):
    from packaging.requirements import Requirement

    assert fits(Requirement("notebook>=7"), version) is holds
    assert fits(Requirement("notebook"), version)


# -- progress


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("dlstatus:52428800:1073741824:10485760", "50.0 MiB of 1.00 GiB, 10.0 MiB/s, 97 s left"),
        ("dlstatus:52428800::1024", "50.0 MiB, 1 KiB/s"),
        ("dlstatus:0:1024:0", "0 B of 1 KiB, 0 B/s"),
        ("curl: (18) transfer closed; again in 1 s", "curl: (18) transfer closed; again in 1 s"),
    ],
)
def test_a_download_shows_how_far_how_fast_and_how_long(line, shown):
    assert Download("x", (Source("https://x/x.sh", SUM),), Shell("false")).progress(line) == shown


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1500, "1 KiB"), (5 << 20, "5.0 MiB"), (3 << 30, "3.00 GiB")]
)
def test_sizes_are_for_people(count, text):
    assert size(count) == text


def test_what_begins_and_what_waits_are_about_the_same_file():
    found = plan()
    assert isinstance(found["DownloadBegun"], DownloadBegun)
    assert (
        found["DownloadBegun"].sources == found["Download"].sources == found["CondaPrefix"].sources
    )
    assert set(plan("python.upload=yes")) == set(plan()) - {
        "Download",
        "DownloadBegun",
        "ChannelTerms",
    } | {"Upload"}


# -- the operator's own download


@pytest.fixture
def web(tmp_path):
    """A web server and its folder."""
    folder = tmp_path / "web"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        """Files of that folder, in silence."""

        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def log_message(self, *_):
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_the_operators_copy_is_checked_kept_and_taken_again(web, tmp_path, monkeypatch):
    folder, address = web
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data = b"#!/bin/sh\n" * 1000
    (folder / "x.sh").write_bytes(data)
    source = Source(f"{address}/x.sh", hashlib.sha256(data).hexdigest())
    path = fetched(source)
    assert path.read_bytes() == data
    (folder / "x.sh").unlink()
    assert fetched(source) == path
    path.write_bytes(b"spoilt")
    with pytest.raises(RemoteError, match="cannot be downloaded"):
        fetched(source)


def test_the_operators_copy_of_another_file_does_not_stay(web, tmp_path, monkeypatch):
    folder, address = web
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (folder / "x.sh").write_bytes(b"<html>")
    with pytest.raises(RemoteError, match="gave another file"):
        fetched(Source(f"{address}/x.sh", SUM))
    assert list((tmp_path / "cache/remote-jupyter").iterdir()) == []

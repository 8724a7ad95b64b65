"""Installers, terms, requirements and damaged packages, as far as they need no server."""

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
from fabfile.resources import Agreement, Terms, distributions
from fabfile.resources import conda_terms as terms
from fabfile.resources.conda_packages import specification
from fabfile.resources.installers import DISTRIBUTIONS, MACHINES, sources
from fabfile.resources.pip import fits, installation
from fabfile.settings import schema
from fabfile.tasks.python import no_anaconda_channels

SUM = "ab" * 32


class Host:
    """A connection that is never opened."""

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
def clean_environment(monkeypatch):
    """Remove the settings of whoever runs the tests, and all answers."""
    for name in list(os.environ):
        if name.startswith("FABRIC_"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(terms, "_answers", {})


# -- installers


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_default_installer_has_a_checksum_for_every_machine(name):
    found = {source.machine: source for source in sources(name)}
    assert set(found) == set(MACHINES)
    for machine, source in found.items():
        assert re.fullmatch(r"[0-9a-f]{64}", source.sha256)
        assert source.name.endswith(f"-Linux-{machine}.sh")
        assert source.url.startswith("https://")
        assert "latest" not in source.url


def test_url_of_an_installer():
    [one] = sources("miniforge", "26.7.2-0")
    host = "https://github.com/conda-forge/miniforge/releases/download"
    assert one.url == f"{host}/26.7.2-0/Miniforge3-26.7.2-0-Linux-x86_64.sh"
    assert one.machine == "x86_64"
    assert one.path == "/var/cache/remote-jupyter/281b0ac7d550-Miniforge3-26.7.2-0-Linux-x86_64.sh"


def test_unknown_version_needs_a_checksum():
    with pytest.raises(
        ValueError,
        match="python.version: the SHA-256 of Anaconda 2026.07-1 is not known.*2025.12-2",
    ):
        sources("anaconda", "2026.07-1")
    assert {one.machine for one in sources("anaconda", "2026.07-1", sha256=SUM)} == set(MACHINES)
    [arm] = sources("miniconda", "py314_26.7.1-1", sha256=SUM)
    assert arm.machine == "aarch64"


def test_wrong_checksum_is_rejected():
    with pytest.raises(ValueError, match="python.sha256: Anaconda 2025.12-2 has another SHA-256"):
        sources("anaconda", sha256=SUM)


def test_custom_url_needs_a_checksum_and_a_script():
    with pytest.raises(
        ValueError, match="python.sha256: set it to the SHA-256 of the file at python.url"
    ):
        sources("anaconda", url="https://m.example/A.sh")
    with pytest.raises(ValueError, match="does not end in .sh"):
        sources("anaconda", url="https://m.example/A.exe", sha256=SUM)
    [one] = sources("anaconda", url="https://m.example/A-aarch64.sh?x=1", sha256=SUM)
    assert (one.machine, one.name) == ("aarch64", "A-aarch64.sh")


def test_each_distribution_has_its_folder_and_requirements():
    found = {name: plan(f"python.distribution={name}")["CondaPrefix"] for name in DISTRIBUTIONS}
    assert {one.path for one in found.values()} == {
        f"/home/jupyter/{name}3" for name in DISTRIBUTIONS
    }
    assert all(one.disk and one.memory and one.glibc for one in found.values())
    own = plan("python.url=https://m.example/A.sh", f"python.sha256={SUM}")["CondaPrefix"]
    assert not own.disk
    assert not own.glibc


def test_venv_needs_no_installer():
    assert set(plan("python.distribution=venv")) == {"Package", "User", "Venv", "PipPackages"}
    assert "PipUpdates" in plan("python.distribution=venv", "python.update=yes")


def test_updates_are_installed_on_request_only():
    assert "CondaUpdates" not in plan()
    assert plan("python.update=yes")["CondaUpdates"].packages == ("conda", "pip", "setuptools")


# -- terms


def test_only_distributions_with_terms_ask_for_acceptance():
    assert {"Terms", "ChannelTerms"} <= set(plan()) & set(plan("python.distribution=miniconda"))
    assert not {"Terms", "ChannelTerms"} & set(plan("python.distribution=miniforge"))
    assert "Check" in plan("python.distribution=miniforge")


def agreed(answer, monkeypatch, asks=True):
    """Return the conflicts, the questions and the result if the operator answers *answer*."""
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
def test_operator_is_asked_once_for_all_hosts(monkeypatch, answer, holds):
    refusals, asked, held = agreed(answer, monkeypatch)
    assert len(asked) == 1
    assert held is holds
    assert all((why is None) is holds for why in refusals)


def test_refusal_without_a_terminal_says_what_to_do(monkeypatch):
    refusals, asked, held = agreed(None, monkeypatch)
    assert not asked
    assert not held
    assert "https://x.example/terms" in refusals[0]
    assert "or take Y" in refusals[0]


def test_installed_distribution_asks_no_question():
    resource = plan("python.distribution=anaconda")["Terms"]
    assert resource.conflict(resource.parse("needless\n")) is None
    assert not resource.parse("needless\n")["warning"]
    assert plan("python.accept_terms=yes")["Terms"].conflict(resource.parse("needed\n")) is None


def test_dry_run_warns_about_terms_without_asking(monkeypatch):
    monkeypatch.setattr("builtins.input", lambda _: pytest.fail("asked"))
    resource = plan(dry=True)["Terms"]
    seen = resource.parse("needed\n")
    assert resource.conflict(seen) is None
    assert "accept_terms" in seen["warning"]


def test_condarc_with_anaconda_channels_is_reported():
    assert no_anaconda_channels("") == ok()
    assert "come from /a, /b;" in no_anaconda_channels("/a\n/b\n").warning


# -- removal


def test_removal_stops_after_the_answer_no(monkeypatch):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: "no")
    with pytest.raises(Exit, match="Nothing was changed"):
        plan(task=remove_anaconda)
    assert plan(task=remove_anaconda, yes=True)["CondaAbsent"].path == "/home/jupyter/anaconda3"
    with pytest.raises(ValueError, match="not a venv"):
        plan("python.distribution=venv", task=remove_anaconda, yes=True)


# -- requirements


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
def test_requirement_in_the_syntax_of_conda(pip, conda):
    assert specification(pip) == conda


@pytest.mark.parametrize(("version", "holds"), [("7.5.1", True), ("6.5", False), ("2024.x", False)])
def test_invalid_version_fits_no_specifier(version, holds):
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
def test_progress_of_a_download(line, shown):
    assert Download("x", (Source("https://x/x.sh", SUM),), Shell("false")).progress(line) == shown


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1500, "1 KiB"), (5 << 20, "5.0 MiB"), (3 << 30, "3.00 GiB")]
)
def test_sizes_have_readable_units(count, text):
    assert size(count) == text


def test_all_parts_of_a_download_have_the_same_sources():
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


# -- download to the operator's machine


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


def test_local_copy_is_checked_kept_and_reused(web, tmp_path, monkeypatch):
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


def test_local_copy_of_another_file_is_deleted(web, tmp_path, monkeypatch):
    folder, address = web
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (folder / "x.sh").write_bytes(b"<html>")
    with pytest.raises(RemoteError, match="gave another file"):
        fetched(Source(f"{address}/x.sh", SUM))
    assert list((tmp_path / "cache/remote-jupyter").iterdir()) == []


# -- damaged packages


@pytest.fixture
def site(tmp_path):
    """A folder with a package, what it requires, and one that has nothing to do with it."""
    for name, requires in (("app", "lib>=1; python_version > '3'"), ("lib", ""), ("other", "")):
        module, info = tmp_path / f"{name}.py", tmp_path / f"{name}-1.0.dist-info"
        module.write_text("x = 1\n")
        info.mkdir()
        needs = f"Requires-Dist: {requires}\n" if requires else ""
        (info / "METADATA").write_text(f"Name: {name}\n{needs}\nRequires-Dist: text\n")
        (info / "INSTALLER").write_text("pip\n")
        digest = distributions.sha256(str(tmp_path), module.name)
        (info / "RECORD").write_text(f"{module.name},{digest},6\n{info.name}/RECORD,,\n")
    return tmp_path


def found(site, capsys, *names, **how):
    """Return the lines that the check prints."""
    distributions.main(str(site), names or ("app>=1",), **how)
    return capsys.readouterr().out.splitlines()


def test_intact_packages_have_no_damage(site, capsys):
    assert found(site, capsys, contents=True) == ["checked"]


@pytest.mark.parametrize("name", ["app", "lib"])
def test_emptied_module_is_found(site, capsys, name):
    (site / f"{name}.py").write_text("")
    assert found(site, capsys) == [f"damaged pip {name} 1.0", "checked"]


def test_changed_content_is_found_on_request(site, capsys):
    (site / "lib.py").write_text("x = 2\n")
    assert found(site, capsys) == ["checked"]
    assert found(site, capsys, contents=True) == ["damaged pip lib 1.0", "checked"]


def test_emptied_record_is_damage(site, capsys):
    (site / "lib-1.0.dist-info/RECORD").write_text("")
    assert found(site, capsys) == ["damaged pip lib 1.0", "checked"]


def test_missing_requirement_is_found(site, capsys):
    (site / "lib-1.0.dist-info/METADATA").write_text("Requires-Dist: gone (>=2)\n\n")
    assert found(site, capsys) == ["missing gone", "checked"]


def test_unrelated_and_editable_packages_are_skipped(site, capsys):
    (site / "other.py").write_text("")
    (site / "app.py").write_text("")
    (site / "app-1.0.dist-info/direct_url.json").write_text("{}")
    assert found(site, capsys) == ["checked"]
    assert found(site, capsys, "*") == ["damaged pip other 1.0", "checked"]


@pytest.mark.parametrize(
    ("output", "state"),
    [
        ("stamped\nknown inode 1\nchecked\n", "complete"),
        ("checked\n", "interrupted"),
        ("stamped\nknown begun\nchecked\n", "interrupted"),
        ("stamped\nknown inode 1\n", "interrupted"),
        ("stamped\ndamaged pip lib 1.0\nchecked\n", "damaged: lib"),
        ("stamped\nknown damaged pip lib 1.0\ndamaged pip lib 1.0\nchecked\n", "complete"),
    ],
)
def test_state_of_an_installation(output, state):
    assert installation(output) == {"installation": state}

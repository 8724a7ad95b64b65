"""Root's work in a user's home, run as root, with `nobody` as an attacking user."""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from fabfile.kit.quote import Shell
from fabfile.kit.resources import (
    MARK,
    AuthorizedKeys,
    Directory,
    File,
    FileAbsent,
    MovedAside,
    Source,
    Upload,
    download,
    upload,
)
from fabfile.kit.resources import home as home_resources
from fabfile.resources import (
    Agreement,
    ChannelTerms,
    CondaAbsent,
    CondaInit,
    CondaPackages,
    CondaPrefix,
    CondaUpdates,
    PipPackages,
    PipUpdates,
    Venv,
)

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can act as another user")
USER = "nobody"
KEY = f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{'A' * 43} ada@laptop"
SECRET = "only root may read this"


@pytest.fixture
def home():
    """A home of `nobody`, which other users may enter."""
    folder = Path(tempfile.mkdtemp(prefix="home-"))
    folder.chmod(0o755)
    shutil.chown(folder, USER)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def victim(tmp_path):
    """A directory of root's with a secret, which the user may not enter."""
    (tmp_path / "secret").write_text(f"{MARK}\n{KEY}\n{SECRET}\n")
    (tmp_path / "authorized_keys").write_text(f"{KEY} {SECRET}\n")
    (tmp_path / "folder").mkdir()
    for name in ("secret", "authorized_keys"):
        (tmp_path / name).chmod(0o600)
    return tmp_path


def run(code, start="", **options):
    """Run shell code as a step is run, with two descriptors open as the lock's are."""
    text = f"exec 8>/dev/null 9>/dev/null\n{start}\n(set -e\n{code}\n)"
    return subprocess.run(
        ["/bin/sh"], input=text, capture_output=True, text=True, timeout=50, **options
    )


def as_owner(code, **options):
    """Run code as the user."""
    return run(home_resources.as_owner(USER, code, **options))


def state(folder):
    """Return the owner, mode and content of everything in *folder*."""
    return {
        path: (path.stat().st_uid, path.stat().st_mode, path.is_file() and path.read_text())
        for path in sorted(folder.rglob("*"))
    }


def resources(home):
    """Return one resource of each kind whose path goes through HOME/link."""
    return {
        "File": File(f"{home}/link/secret", f"{MARK}\nnew\n", USER),
        "FileAbsent": FileAbsent(f"{home}/link/secret", owner=USER),
        "MovedAside": MovedAside(f"{home}/link/secret", f"{home}/link/kept", USER),
        "Directory": Directory(f"{home}/link/folder", USER, mode="0777"),
        "AuthorizedKeys": AuthorizedKeys(USER, str(home), (KEY,), removed=(KEY,), needed=False),
    }


KINDS = ["File", "FileAbsent", "MovedAside", "Directory", "AuthorizedKeys"]


class TestLinks:
    """A link in the home that leads to a directory of root's."""

    @pytest.fixture(autouse=True)
    def link(self, home, victim):
        for name in ("link", ".ssh"):
            (home / name).symlink_to(victim)

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_probe_does_not_follow_it(self, home, kind):
        answer = run(resources(home)[kind].probe())
        assert SECRET not in answer.stdout
        assert "there" not in answer.stdout
        assert "ours" not in answer.stdout
        assert "root" not in answer.stdout

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_change_does_not_follow_it(self, home, victim, kind):
        before = state(victim)
        actual = {
            "File": {"content": None},
            "AuthorizedKeys": {"missing keys": KEY, "surplus keys": ""},
        }
        run(resources(home)[kind].apply(actual.get(kind, {})))
        assert state(victim) == before

    def test_keys_are_not_copied_from_it(self, home, stand_in):
        keys = AuthorizedKeys("root", "/nonexistent", copied_from=USER, needed=False)
        answer = run(keys.probe(), stand_in)
        assert answer.returncode == 0
        assert SECRET not in answer.stdout

    def test_an_uploaded_file_is_not_read_through_it(self, home, stand_in, monkeypatch):
        cache = tempfile.mkdtemp()
        for module in (download, upload):
            monkeypatch.setattr(module, "CACHE", cache)
        source = Source("https://example.org/secret", "ab" * 32)
        monkeypatch.setattr(upload, "fetched", lambda source: Path(__file__))
        monkeypatch.setattr(upload, "sent", lambda c, local, name: "link/secret")
        connection = SimpleNamespace(user=USER)
        resource = Upload("secret", (source,), Shell("false"), connection=connection)
        # The file would be readable by everyone while its checksum is computed.
        watch = f'sha256sum() {{ cat "{cache}"/*; }}'
        answer = run(resource.apply({"file": None, "sum": source.sha256}), f"{stand_in}\n{watch}")
        assert answer.returncode
        assert SECRET not in answer.stdout
        shutil.rmtree(cache)


@pytest.fixture
def stand_in(home):
    """Shell code that gives `nobody` the home of the test, for its children too."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    line = f"{USER}:x:65534:65534::{home}:/bin/sh"
    (folder / "getent").write_text(f"#!/bin/sh\necho {line}\n")
    (folder / "getent").chmod(0o755)
    yield f'PATH="{folder}:$PATH"'
    shutil.rmtree(folder)


class TestFiles:
    """What the user puts in the place of a file."""

    def test_a_huge_file_is_not_read_to_its_end(self, home):
        (home / ".ssh").mkdir()
        with open(home / ".ssh/authorized_keys", "w") as file:
            file.truncate(50_000_000)
        shutil.chown(home / ".ssh/authorized_keys", USER)
        answer = run(AuthorizedKeys(USER, str(home), (KEY,)).probe())
        assert len(answer.stdout) < 2_000_000

    def test_a_file_that_the_owner_cannot_read_is_a_conflict(self, home):
        (home / "file").write_text(SECRET)
        (home / "file").chmod(0o600)
        resource = File(str(home / "file"), "new\n", USER)
        actual = resource.parse(run(resource.probe()).stdout)
        assert "cannot read is in the place" in resource.conflict(actual)

    def test_a_file_of_root_is_replaced_by_one_of_the_user(self, home):
        (home / "file").write_text("old\n")
        resource = File(str(home / "file"), "new\n", USER, check="true")
        answer = run(resource.apply({"content": "old\n"}))
        assert answer.returncode == 0, answer.stderr
        assert (home / "file").owner() == USER
        assert os.listdir(home) == ["file"]

    def test_a_directory_of_root_in_a_home_is_a_conflict(self, home):
        (home / "folder").mkdir()
        resource = Directory(str(home / "folder"), USER)
        actual = resource.parse(run(resource.probe()).stdout)
        assert f"run: chown {USER}: {home}/folder" in resource.conflict(actual)

    def test_a_directory_below_one_of_root_gets_its_owner(self, tmp_path):
        resource = Directory(f"{tmp_path}/a/b", USER, mode="0750")
        assert run(resource.apply({})).returncode == 0
        assert (tmp_path / "a/b").owner() == USER
        assert (tmp_path / "a").owner() == "root"


def environments(prefix):
    """Return one resource of each kind that looks at an environment of the user."""
    sources = (Source("https://example.org/conda.sh", "ab" * 32),)
    return {
        "Venv": Venv(prefix, USER),
        "PipPackages": PipPackages(prefix, USER, ("jupyterlab",)),
        "PipUpdates": PipUpdates(prefix, USER, ("pip",)),
        "CondaPrefix": CondaPrefix(prefix, USER, "conda", sources),
        "CondaPackages": CondaPackages(prefix, USER, ("jupyterlab",)),
        "CondaUpdates": CondaUpdates(prefix, USER, ("conda",)),
        "CondaAbsent": CondaAbsent(prefix, USER),
        "CondaInit": CondaInit(prefix, USER),
        "ChannelTerms": ChannelTerms(prefix, USER, (), Agreement("")),
    }


class TestEnvironments:
    """What the user puts in an environment."""

    @pytest.mark.parametrize("kind", environments(""))
    def test_a_link_does_not_show_what_root_may_read(self, home, victim, stand_in, kind):
        for name in ("conda-1-0.json", "pip-1.dist-info/RECORD", "history", "pyvenv.cfg"):
            (victim / name).parent.mkdir(exist_ok=True)
            (victim / name).write_text(SECRET)
        (home / "bin").mkdir()
        (home / "bin/python3").write_text("#!/bin/sh\n")
        (home / "bin/python").symlink_to("python3")
        (home / "lib/python3").mkdir(parents=True)
        for name in ("conda-meta", "lib/python3/site-packages"):
            (home / name).symlink_to(victim)
        for name in ("pyvenv.cfg", ".bashrc", "bin/conda"):
            (home / name).symlink_to(victim / "secret")
        answer = run(environments(str(home))[kind].probe(), stand_in)
        assert "-1" not in answer.stdout
        assert SECRET not in answer.stdout
        assert "root" not in answer.stdout

    @pytest.mark.parametrize("kind", environments(""))
    def test_a_pipe_does_not_stop_a_run(self, home, stand_in, kind):
        (home / "conda-meta/tos/x").mkdir(parents=True)
        (home / "conda-meta/history").write_text("x")
        (home / "bin").mkdir()
        for name in ("conda-meta/tos/x/y.json", "bin/conda", "bin/python", ".bashrc", ".zshrc"):
            os.mkfifo(home / name)
        begun = time.monotonic()
        run(environments(str(home))[kind].probe(), stand_in)
        assert time.monotonic() - begun < 15

    @pytest.mark.parametrize("kind", environments(""))
    def test_a_program_runs_as_the_user_without_the_lock(self, home, stand_in, kind):
        (home / "conda-meta").mkdir()
        (home / "conda-meta/history").write_text("x")
        (home / "bin").mkdir()
        (home / "ran").mkdir()
        (home / "ran").chmod(0o777)
        program = f"#!/bin/sh\n(id -un; ls /proc/self/fd) >{home}/ran/$$\n"
        for name in ("conda", "python", "pip"):
            (home / "bin" / name).write_text(program)
            (home / "bin" / name).chmod(0o755)
        run(environments(str(home))[kind].probe(), stand_in)
        for path in (home / "ran").iterdir():
            user, *descriptors = path.read_text().split()
            assert user == USER
            assert not {"8", "9"} & set(descriptors)


class TestAsOwner:
    """The primitive."""

    def test_it_runs_as_the_user_and_its_groups(self):
        assert as_owner("id -un; id -gn; id -Gn").stdout == "nobody\nnogroup\nnogroup\n"

    def test_the_status_and_both_outputs_come_back(self):
        answer = as_owner("echo out; echo err >&2; exit 7")
        assert (answer.returncode, answer.stdout, answer.stderr) == (7, "out\n", "err\n")

    def test_a_failure_ends_the_code(self):
        assert as_owner("false; echo on").stdout == ""

    def test_no_descriptor_is_inherited(self):
        code = "for fd in 3 4 5 6 7 8 9; do [ ! -e /proc/$$/fd/$fd ] || echo $fd; done"
        assert as_owner(code).stdout == ""

    def test_the_input_is_empty(self):
        assert as_owner("readlink /proc/self/fd/0; cat").stdout == "/dev/null\n"

    def test_root_cannot_come_back(self):
        assert "NoNewPrivs:\t1" in as_owner("cat /proc/self/status").stdout

    def test_the_environment_is_the_users(self, monkeypatch):
        monkeypatch.setenv("TOKEN", SECRET)
        assert SECRET not in as_owner("env").stdout

    def test_the_code_is_in_no_argument_list(self):
        answer = as_owner("word=xyzzy; grep -l xy[z]zy /proc/[0-9]*/cmdline 2>/dev/null || :")
        assert answer.stdout == ""

    @pytest.mark.parametrize("stubborn", ["", "trap '' TERM; ", "kill -STOP $$; "])
    def test_it_ends_after_its_time(self, stubborn):
        began = time.monotonic()
        answer = as_owner(f"{stubborn}while :; do sleep 1; done", seconds=1)
        assert answer.returncode == 1
        assert "gave up after 1 s" in answer.stderr
        assert time.monotonic() - began < 10

    def test_a_pipe_does_not_hang_it(self, home):
        os.mkfifo(home / "fifo")
        (home / "fifo").chmod(0o644)
        assert as_owner(f"cat {home}/fifo", seconds=1).returncode == 1

    def test_its_output_is_limited(self):
        answer = as_owner("cat /dev/zero", size=1000)
        assert answer.returncode
        assert len(answer.stdout) == 1000
        assert "more than 1000 bytes" in answer.stderr

    def test_a_missing_user_has_an_answer(self):
        answer = run(home_resources.as_owner("no-such-user", "echo on", no_user="echo absent"))
        assert answer.stdout == "absent\n"
        assert run(home_resources.as_owner("no-such-user", "echo on")).returncode == 1

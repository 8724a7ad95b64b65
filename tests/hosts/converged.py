"""Servers that full-setup has converged: built once for each release, then cloned, with what fab said meanwhile."""

import dataclasses
import json
import os
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest

from .conftest import NUMBERS, TEST_HOST
from .visitor import PASSWORD

USER_PASSWORD = "Sudo: it's $HOME `id`"

_stories = {}
_clones = {}


@dataclasses.dataclass(frozen=True)
class Run:
    """What `fab` did on one host."""

    status: int
    out: str
    err: str
    report: dict

    @property
    def text(self):
        """Everything that it printed."""
        return self.out + self.err

    @property
    def trips(self):
        """How often it asked the host."""
        return self.report["round_trips"]

    def having(self, *statuses, task=None):
        """The resources (and handlers) that ended in one of these statuses."""
        parts = [part for part in self.report["tasks"] if task in (None, part["task"])]
        return {
            row["resource"]
            for part in parts
            for row in part["resources"]
            if row["status"] in statuses
        }

    @property
    def changed(self):
        """What it changed, handlers that ran included."""
        return self.having("changed")

    @property
    def items(self):
        """Every resource that it named, without handlers."""
        tasks = [part for part in self.report["tasks"] if part["task"] != "handlers"]
        return [(part["task"], row["resource"]) for part in tasks for row in part["resources"]]

    @property
    def is_calm(self):
        """Whether nothing was to be done, and one question was enough to know."""
        return (
            self.status == 0
            and self.having("ok") == {name for _, name in self.items}
            and self.trips == 1
        )


@pytest.fixture
def full_setup(fab, tmp_path):
    """Run full-setup with a report: `full_setup(host, "--dry")`; environment variables by name."""

    def run(host, *flags, **env):
        file = tmp_path / f"report-{next(NUMBERS)}.json"
        env = {"JUPYTER_PASSWORD": PASSWORD} | env
        done = fab(host, *flags, "full-setup", "--report", file, env=env, check=False)
        if not file.exists():
            pytest.fail(f"no report; status {done.returncode}\n{done.stdout}\n{done.stderr}")
        [report] = json.loads(file.read_text())["hosts"]
        return Run(done.returncode, done.stdout, done.stderr, report)

    return run


@dataclasses.dataclass
class Story:
    """How a fresh host became a layer: each run, and the host's files around the dry one."""

    layer: str
    before: set
    foretold: Run
    after: set
    first: Run
    second: Run
    last: Run

    @property
    def sudo_password(self):
        """The user's password, which was generated and shown."""
        [line] = [line for line in self.first.out.splitlines() if "(for sudo) is now:" in line]
        return line.partition("is now: ")[2].split()[0]


def files(host):
    """Every file, with what is known of it, but for the marks that a login leaves."""
    skipped = r"\( -path /var/log -o -path /run \) -prune"
    find = rf"find / -xdev {skipped} -o -printf '%p %M %u:%g %s %T@ %l\n'; find /run/remote-jupyter 2>/dev/null || :"
    return set(host.nsenter(find).stdout.splitlines())


@pytest.fixture
def tell(request, layer, full_setup, shared):
    """Tell the story of a fresh host of a release, the same one to all tests."""

    def live(suite):
        def converge(host):
            before, foretold, after = files(host), full_setup(host, "--dry"), files(host)
            runs = [full_setup(host), full_setup(host), full_setup(host, "--dry")]
            assert runs[0].status == 0, runs[0].text
            told.write_bytes(pickle.dumps([before, foretold, after, *runs]))

        told = shared / f"story-{suite}"
        _stories[suite] = Story(
            layer(suite, "converged", converge), *pickle.loads(told.read_bytes())
        )

    def story(suite):
        if suite not in _stories:
            items = [
                item
                for item in request.session.items
                if {"server", "tell"} & set(item.fixturenames)
            ]
            wanted = {
                item.callspec.params.get("suite", suite)
                for item in items
                if hasattr(item, "callspec")
            }
            new = sorted({suite, *wanted} - set(_stories))
            _stories.update(dict.fromkeys(new))
            with ThreadPoolExecutor() as pool:  # they wait for downloads, mostly
                list(pool.map(live, new))
        if not _stories[suite]:
            pytest.fail("full-setup failed on a fresh host, as another test tells", pytrace=False)
        return _stories[suite]

    return story


@pytest.fixture
def story(tell, suite):
    """The story of a fresh host of each release."""
    return tell(suite)


@pytest.fixture
def moved(story, suite, lab, full_setup):
    """A clone of the converged layer, common to all tests, and the run that its new address made necessary."""
    if suite not in _clones:
        name = f"clone-{suite}-{os.getpid()}-{next(NUMBERS)}"
        host = lab.up(name, suite, story.layer, owner=lab.me())
        _clones[suite] = host, full_setup(host)
    return _clones[suite]


@pytest.fixture
def server(request, suite, full_setup):
    """A converged server, common to all tests, which leave it as it was; perhaps the one that TEST_HOST names."""
    if not TEST_HOST:
        return request.getfixturevalue("moved")[0]
    host = request.getfixturevalue("host")
    if suite not in _clones:
        _clones[suite] = host, full_setup(host, USER_PASSWORD=USER_PASSWORD)
    return host


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """After a test that failed the next one gets a clone of its own: nobody knows what is left of the other."""
    report = yield
    if report.failed and "server" in item.fixturenames:
        _clones.pop(item.callspec.params["suite"], None)
    return report

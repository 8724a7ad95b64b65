"""install-anaconda with a test installer and a test mirror: from fresh to removed, each fault."""

import os
import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from . import installer as made
from .fixtures.faults import is_one_failure, is_one_refusal, nothing_changes, state
from .fixtures.hosts import NUMBERS
from .lab import base
from .releases import on
from .visitor import PASSWORD, eventually

HOME = "/home/jupyter"
P = f"{HOME}/anaconda3"
CACHE, RECORDS = "/var/cache/remote-jupyter", "/var/lib/remote-jupyter/conda"
NAME = "Anaconda3-2026.01-1-Linux-x86_64.sh"
PYTHON = "DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends python3"
INSTALL = {f"CondaPrefix {P}", f"CondaInit {P}", "restart jupyter"}
FRESH = INSTALL | {"DownloadBegun Anaconda3-2026.01-1", "Download Anaconda3-2026.01-1"}
TERMS = f"ChannelTerms {P}"
ANACONDA = {"FABRIC_REMOTE_JUPYTER_PYTHON_DISTRIBUTION": "anaconda"}
SMALL = made.installer(ballast=4 << 20)


@pytest.fixture(scope="session")
def ground(layer):
    """A fresh server that has the system's Python, as cloud images do: the layer of it."""
    return lambda suite: layer(
        suite, "python", lambda host: host.nsenter(f"apt-get update -q && {PYTHON}", timeout=300)
    )


@pytest.fixture(scope="module")
def mirror(lab):
    """The mirror for all tests in this file."""
    first = lab.up(
        f"mirror-{os.getpid()}-{next(NUMBERS)}", "bookworm", owner=lab.me()
    )  # for the bridge to be there
    server = made.mirror_of(lab)
    yield server
    server.stop()
    first.down()


@pytest.fixture(autouse=True)
def well(request):
    """Reset the mirror before each test."""
    if "mirror" in request.fixturenames:
        server = request.getfixturevalue("mirror")
        server.well()
        server.asked.clear()


_hosts = {}


@pytest.fixture
def plain(suite, lab, ground):
    """A server with a login user and no conda, shared by this file and cleaned for each test."""
    if suite not in _hosts:
        host = _hosts[suite] = lab.up(
            f"conda-{suite}-{os.getpid()}", suite, ground(suite), owner=lab.me()
        )
        host.nsenter("useradd -m -s /bin/bash jupyter")
    host = _hosts[suite]
    yield host
    host.nsenter("systemctl stop 'remote-jupyter-*'; rm -f /run/go", check=False)
    host.nsenter(
        f"rm -rf {HOME}/..?* {HOME}/.[!.]* {HOME}/* {CACHE} {RECORDS} /etc/conda;"
        f" cp -a /etc/skel/. {HOME}"
    )
    host.nsenter(f"chown -R jupyter: {HOME}")


@pytest.fixture
def install(plain, task, mirror):
    """Run install-anaconda with the small installer or other *data*: `install("--dry")`."""

    def run(*words, data=SMALL, **env):
        return task(plain, *words, "install-anaconda", **mirror.add(NAME, data) | env)

    return run


def versions(host):
    """Return the packages and versions in conda-meta."""
    return dict(
        line.rsplit("-", 2)[:2]
        for line in host.nsenter(f"ls {P}/conda-meta | grep json").stdout.split()
    )


def is_whole(host):
    """Return whether a conda of the user answers, in the user's login shell too."""
    info = host.nsenter(f"runuser -u jupyter -- {P}/bin/conda info --json").stdout
    owner = host.nsenter(f"stat -c '%U %a' {P}; find {P} ! -user jupyter").stdout
    return f'"root_prefix": "{P}"' in info and owner == "jupyter 755\n" and not leftovers(host)


def leftovers(host):
    """Return what an unfinished download or installation leaves behind."""
    return host.nsenter(
        f"find {CACHE} {P}/install_tmp {P}/preconda.tar.bz2 2>/dev/null", check=False
    ).stdout


# -- from the first run to the last


def test_plan_names_file_and_size_and_changes_nothing(plain, install, mirror):
    with nothing_changes(plain):
        run = install("--dry")
    assert run.status == 3
    assert run.trips == 1
    assert f"http://{mirror.address}:{mirror.port}/{NAME} (4.0 MiB)" in run.out, run.text
    assert run.having("would change") == FRESH
    assert run.having("unknown") == {TERMS, "CondaPackages jupyterlab notebook"}
    assert mirror.fetched() == []
    assert mirror.fetched("HEAD") == [0]


def test_install_repeat_repair_update_and_remove(plain, install, task, fab, mirror):
    before = state(plain)
    first = install()
    assert first.status == 0, first.text
    assert first.changed == FRESH | {TERMS}, first.text
    assert is_whole(plain)
    assert mirror.fetched() == [0]
    assert plain.nsenter(f"grep -c 'conda initialize' {HOME}/.bashrc").stdout == "2\n"
    assert install().is_calm

    plain.nsenter(f"cp /etc/skel/.bashrc {HOME}")
    assert install().changed == {f"CondaInit {P}"}
    plain.nsenter(f"rm {P}/conda-meta/notebook-*.json; echo mine >>{HOME}/.profile")
    run = install()
    assert run.changed == {"CondaPackages jupyterlab notebook", "restart jupyter"}
    assert versions(plain)["notebook"] == "7.5.0"
    assert versions(plain)["conda"] == "26.5.3"
    assert install().is_calm

    dry = install("--dry", FABRIC_REMOTE_JUPYTER_PYTHON_UPDATE="yes")
    assert dry.status == 3
    assert "+conda 26.5.3 -> 26.7.1" in dry.out
    assert "+setuptools 80.9 -> 81.0" in dry.out
    run = install(FABRIC_REMOTE_JUPYTER_PYTHON_UPDATE="yes")
    assert run.changed == {"CondaUpdates conda pip setuptools"}
    assert versions(plain)["conda"] == "26.7.1"
    assert install(FABRIC_REMOTE_JUPYTER_PYTHON_UPDATE="yes").is_calm
    assert mirror.fetched() == [0]

    asked = fab(plain, "remove-anaconda", env=ANACONDA, check=False)
    assert asked.returncode == 2
    assert "--yes" in asked.stderr
    assert is_whole(plain)
    assert task(plain, "--dry", "remove-anaconda", "--yes", **ANACONDA).status == 3
    assert is_whole(plain)
    run = task(plain, "remove-anaconda", "--yes", **ANACONDA)
    assert run.status == 0, run.text
    assert run.changed == {f"CondaAbsent {P}"}, run.text
    changed = rf"{HOME}( d|/\.(conda/tos|conda d|bashrc|profile))|/var/(lib|cache) d|/run|/tmp"
    left = [line for line in state(plain) - before if not re.match(changed, line)]
    assert left == []
    plain.nsenter(f"cmp {HOME}/.bashrc /etc/skel/.bashrc")
    assert task(plain, "remove-anaconda", "--yes", **ANACONDA).is_calm


# -- the download


def is_clean(host):
    """Return whether nothing of an installer or of a conda is on the server."""
    return host.nsenter(f"find {CACHE} {P} ! -type d 2>/dev/null", check=False).stdout == ""


HTML = b"<!DOCTYPE html><html><title>Sign in</title></html>" * 9
WRONG = {
    "another file": (SMALL[:-1] + b"X", "another file"),
    "a page": (HTML, "an HTML page"),
    "an empty file": (b"", "an empty file"),
    "the first half": (SMALL[: len(SMALL) // 2], f"another file ({len(SMALL) // 2} bytes"),
}


@on("bookworm")
@pytest.mark.parametrize("what", WRONG)
def test_wrong_download_is_deleted_and_never_run(plain, install, mirror, what):
    mirror.instead[NAME], says = WRONG[what]
    run = install()
    assert is_one_failure(
        run, plain, "install-anaconda", "Download", f"{NAME} gave {says}", "nothing of it was run"
    )
    assert is_clean(plain)
    assert "skipped" in run.out


@on("trixie")
@pytest.mark.parametrize("status", [404, 403])
def test_refused_download_is_not_retried(plain, install, mirror, status):
    mirror.status = status
    run = install()
    assert is_one_failure(
        run, plain, "install-anaconda", f"the server answered {status}; is the address right?"
    )
    assert is_clean(plain)
    assert len(mirror.fetched()) <= 2


@on("bookworm")
def test_interrupted_download_resumes(plain, install, mirror):
    mirror.breaks = [1 << 20, 2 << 20, 3 << 20]
    assert install().status == 0
    assert mirror.fetched() == [0, 1 << 20, 2 << 20, 3 << 20]
    assert is_whole(plain)


@on("trixie")
def test_download_starts_over_without_ranges(plain, install, mirror):
    mirror.breaks, mirror.resumes = [1 << 20], False
    assert install().status == 0
    assert is_whole(plain)


@on("trixie")
def test_download_waits_for_a_restarted_mirror(plain, install, mirror):
    mirror.rate = 4 << 20
    with ThreadPoolExecutor() as pool:
        run = pool.submit(install)
        assert eventually(lambda: mirror.fetched())
        mirror.stop()
        mirror.breaks = [0]
        time.sleep(2)
        mirror.rate = 0
        mirror.start()
        assert run.result().status == 0
    assert is_whole(plain)


@on("bookworm")
def test_old_partial_download_is_not_reused(plain, install, mirror):
    digest = mirror.add(NAME, SMALL)["FABRIC_REMOTE_JUPYTER_PYTHON_SHA256"][:12]
    plain.nsenter(
        f"mkdir {CACHE}; head -c 100000 /dev/urandom >{CACHE}/{digest}-{NAME}.part;"
        f" touch {CACHE}/old.sh.part"
    )
    assert install().status == 0
    assert is_whole(plain)
    assert mirror.fetched() == [100000, 0]


@on("bookworm")
def test_the_proxy_of_the_server_is_used(plain, install, mirror):
    plain.nsenter(f"echo 'http_proxy=\"http://{mirror.address}:{mirror.port}\"' >/etc/environment")
    settings = mirror.settings(f"http://mirror.invalid/{NAME}", SMALL)
    try:
        assert install(**settings).status == 0
        assert is_whole(plain)
    finally:
        plain.nsenter("rm /etc/environment")


@on("trixie")
def test_upload_when_the_server_cannot_download(plain, install, mirror, operator):
    mirror.add(NAME, SMALL)
    mirror.breaks = [1 << 20]
    only_here = mirror.settings(f"http://127.0.0.1:{mirror.port}/{NAME}", SMALL) | {
        "FABRIC_REMOTE_JUPYTER_PYTHON_UPLOAD": "yes"
    }
    dry = install("--dry", **only_here)
    assert dry.status == 3
    assert "by way of this machine" in dry.out
    assert mirror.fetched() == []
    run = install(**only_here)
    assert run.status == 0, run.text
    assert run.changed == INSTALL | {"Upload Anaconda3-2026.01-1"}, run.text
    assert is_whole(plain)
    assert mirror.fetched() == [0, 1 << 20]
    assert plain.nsenter("ls -A /root/.cache/remote-jupyter", check=False).stdout == ""
    assert install(**only_here).is_calm
    plain.nsenter(f"rm -rf {P} {RECORDS}")
    [kept] = (operator.home / ".cache/remote-jupyter").iterdir()
    kept.write_bytes(b"spoilt")
    assert install(**only_here).status == 0
    assert len(mirror.fetched()) == 3


# -- a run that ends in the middle


def unit(host, name):
    """Return the running instance of a long step, or an empty string."""
    show = f"systemctl show -P ActiveState -P InvocationID remote-jupyter-{name}"
    active, _, instance = host.nsenter(show).stdout.strip().partition("\n")
    return instance if active in ("active", "activating") else ""


@pytest.fixture
def begun(plain, mirror, running):
    """Start install-anaconda with this installer and go on."""
    return lambda data: running(plain, "install-anaconda", env=mirror.add(NAME, data))


@on("bookworm")
def test_download_outlives_the_connection(plain, install, begun, mirror):
    mirror.rate = 1 << 20
    first = begun(SMALL)
    assert eventually(lambda: mirror.fetched())
    instance = unit(plain, "download")
    first.process.kill()
    plain.nsenter("pkill -f '^sshd: root' || :", check=False)
    assert instance
    assert unit(plain, "download") == instance
    mirror.rate = 0
    run = install()
    assert run.status == 0
    assert is_whole(plain)
    assert mirror.fetched() == [0]


@on("trixie")
def test_installation_outlives_the_connection(plain, install, begun):
    data = made.installer(gates="8")
    first = begun(data)
    assert eventually(lambda: plain.nsenter(f"ls {P}/.installer.info", check=False).stdout)
    instance = unit(plain, "conda")
    first.process.kill()
    with ThreadPoolExecutor() as pool:
        run = pool.submit(install, data=data)
        time.sleep(3)
        assert instance
        assert unit(plain, "conda") == instance
        assert not run.done()
        plain.nsenter("touch /run/go")
        assert run.result().status == 0
    assert is_whole(plain)
    assert versions(plain)["conda"] == "26.5.3"
    assert plain.nsenter(f"wc -l <{HOME}/.conda/environments.txt").stdout == "1\n"
    assert install(data=data).is_calm


GATES = [("bookworm", "2"), ("trixie", "8"), ("bookworm", "13"), ("trixie", "15")]


@pytest.mark.parametrize(("suite", "gate"), GATES, indirect=["suite"])
def test_killed_installer_is_repaired(plain, install, begun, gate):
    first = begun(made.installer(gates=gate))
    mark = {
        "2": "install_tmp",
        "8": ".installer.info",
        "13": "bin/conda",
        "15": "conda-meta/conda-26.5.3-0.json",
    }[gate]
    assert eventually(lambda: plain.nsenter(f"ls {P}/{mark}", check=False).stdout)
    time.sleep(0.3)
    if gate in ("13", "15"):
        assert (
            plain.nsenter(
                f"runuser -u jupyter -- {P}/bin/conda info --json", check=False
            ).returncode
            == 0
        )
    plain.nsenter("systemctl kill -s KILL remote-jupyter-conda")
    assert is_one_failure(
        first.ended(seconds=20), plain, "install-anaconda", f"CondaPrefix {P}: apply failed"
    )
    assert "made anew" in install("--dry").out
    run = install()
    assert run.status == 0, run.text
    assert is_whole(plain), run.text
    assert install().is_calm


# -- foreign files, or too little space

FOREIGN = {
    "a file": (f"touch {P}", "a file"),
    "a folder": (f"mkdir {P}; touch {P}/thesis", "a folder that is no conda"),
    "a link": (f"mkdir /srv/x; ln -s /srv/x {P}", "a symbolic link"),
    "a damaged conda": (
        f"mkdir -p {P}/conda-meta; echo x >{P}/conda-meta/history",
        "a conda that is not whole",
    ),
    "a half-made one that we did not begin": (
        f"mkdir -p {P}/install_tmp {P}/conda-meta",
        "a conda that is not whole",
    ),
}


@on("bookworm")
@pytest.mark.parametrize("what", FOREIGN)
def test_foreign_files_are_kept(plain, install, what):
    plant, says = FOREIGN[what]
    plain.nsenter(f"runuser -u jupyter -- sh -c '{plant}'" if "srv" not in plant else plant)
    with nothing_changes(plain):
        run = install()
    assert is_one_refusal(
        run, plain, "install-anaconda", f"CondaPrefix {P}: there is {says}, which is left alone"
    )
    plain.nsenter("rm -rf /srv/x")


@on("trixie")
def test_only_a_conda_of_the_user_is_adopted(plain, install, task):
    assert install().status == 0
    plain.nsenter(f"rm -r {RECORDS}; chown -R daemon {P}")
    with nothing_changes(plain):
        run = install()
    assert is_one_refusal(
        run, plain, "install-anaconda", "there is a conda of daemon, which is left alone"
    )
    plain.nsenter(f"chown -R jupyter {P}")
    assert install().is_calm
    with nothing_changes(plain):
        run = task(plain, "remove-anaconda", "--yes", **ANACONDA)
    assert is_one_refusal(run, plain, "remove-anaconda", "was not installed by us")


@on("trixie")
def test_complete_installation_is_never_removed(plain, install, task):
    assert install().status == 0
    # As an update by the installer (-u) that was killed leaves it.
    plain.nsenter(
        f"runuser -u jupyter -- sh -ec 'cd {P}; mkdir -p install_tmp envs/mine;"
        " touch envs/mine/thesis postconda.tar.bz2'"
    )
    with nothing_changes(plain):
        run = install()
    assert is_one_refusal(
        run, plain, "install-anaconda", f"CondaPrefix {P}: there is a conda that is not whole"
    )
    plain.nsenter(f"cd {P}; rmdir install_tmp; rm postconda.tar.bz2")
    assert install().is_calm

    plain.nsenter(
        f"mv {P} {P}.kept; runuser -u jupyter -- cp -a {P}.kept {P}"
    )  # another program at the same place
    with nothing_changes(plain):
        run = task(plain, "remove-anaconda", "--yes", **ANACONDA)
    assert is_one_refusal(run, plain, "remove-anaconda", "was not installed by us")


@on("bookworm")
def test_fresh_installation_is_updated_at_once(plain, install):
    run = install(FABRIC_REMOTE_JUPYTER_PYTHON_UPDATE="yes")
    assert run.status == 0, run.text
    assert run.changed == FRESH | {
        TERMS,
        "CondaUpdates conda pip setuptools",
    }, run.text
    assert versions(plain)["conda"] == "26.7.1"
    assert install(FABRIC_REMOTE_JUPYTER_PYTHON_UPDATE="yes").is_calm


@on("trixie")
def test_curl_is_installed_before_the_download(plain, install, mirror):
    plain.nsenter("DEBIAN_FRONTEND=noninteractive apt-get purge -qy curl", timeout=120)
    with nothing_changes(plain):
        dry = install("--dry")
    assert dry.status == 3
    assert f"/{NAME} (the size is unknown until curl is installed)" in dry.out
    assert mirror.fetched() == mirror.fetched("HEAD") == []
    run = install()
    # What is small is there before the packages are.
    both = run.changed | {"Download Anaconda3-2026.01-1"}
    assert run.status == 0, run.text
    assert both == FRESH | {TERMS, "Package ca-certificates curl"}, run.text
    rows = [name for _, name in run.items]
    assert rows.index("DownloadBegun Anaconda3-2026.01-1") < rows.index(
        "Package ca-certificates curl"
    )
    assert is_whole(plain)
    assert install().is_calm


@on("bookworm")
def test_too_small_disk_starts_nothing(plain, install):
    big = install(data=made.installer(size=900 << 20))
    assert is_one_failure(
        big, plain, "install-anaconda", f"MiB are free for {P}, and 921700 MiB are needed"
    )
    old = install(data=made.installer(glibc="2.99"))
    assert is_one_failure(old, plain, "install-anaconda", "is too old", "which needs 2.99")
    other = install(data=made.installer(machine="aarch64"))
    assert is_one_failure(
        other, plain, "install-anaconda", "this installer is for aarch64, and the server is x86_64"
    )
    assert plain.nsenter(f"ls -A {P}", check=False).returncode != 0
    assert install().status == 0
    assert is_whole(plain)


@on("trixie")
def test_disk_that_fills_up_is_reported(plain, install):
    plain.small(CACHE, "2M")
    try:
        run = install()
        assert is_one_refusal(
            run, plain, "install-anaconda", f"are free below {CACHE}, and the file has 4.0 MiB"
        )
    finally:
        plain.nsenter(f"umount {CACHE}")
    assert install().status == 0


@on("trixie")
def test_noexec_is_fine_for_tmp_but_not_for_home(plain, install):
    plain.nsenter("mount -t tmpfs -o noexec tmp /tmp")
    try:
        assert install().status == 0
        assert is_whole(plain)
    finally:
        plain.nsenter("umount /tmp")
    plain.nsenter(
        f"rm -rf {P} {RECORDS}; mkdir -p /mnt/noexec;"
        " mount -t tmpfs -o noexec,size=64M lab /mnt/noexec"
    )
    try:
        elsewhere = {"FABRIC_REMOTE_JUPYTER_PYTHON_PREFIX": "/mnt/noexec/conda"}
        assert is_one_refusal(
            install(**elsewhere), plain, "install-anaconda", "/mnt/noexec, which is mounted noexec"
        )
    finally:
        plain.nsenter("umount /mnt/noexec")


@on("bookworm")
def test_other_processors_are_rejected(plain, task, fab, mirror):
    plain.nsenter(
        "cd /usr/bin; mv uname uname.kept;"
        " printf '#!/bin/sh\\necho riscv64\\n' >uname; chmod 755 uname"
    )
    known = ANACONDA | {"FABRIC_REMOTE_JUPYTER_PYTHON_ACCEPT_TERMS": "yes"}
    try:
        run = task(plain, "install-anaconda", **known)
    finally:
        plain.nsenter("mv /usr/bin/uname.kept /usr/bin/uname")
    assert is_one_refusal(
        run,
        plain,
        "install-anaconda",
        "riscv64 is not supported",
        "exists for x86_64 and aarch64",
    )


@on("bookworm")
def test_prefix_in_a_folder_of_root_belongs_to_the_user(plain, install, task):
    elsewhere = {"FABRIC_REMOTE_JUPYTER_PYTHON_PREFIX": "/srv/conda"}
    assert install(**elsewhere).status == 0
    assert (
        plain.nsenter("stat -c %U /srv/conda /srv/conda/bin/conda").stdout == "jupyter\njupyter\n"
    )
    assert install(**elsewhere).is_calm
    assert task(plain, "remove-anaconda", "--yes", **ANACONDA, **elsewhere).status == 0
    assert plain.nsenter("ls /srv").stdout == ""


# -- terms, channels, shells


@on("trixie")
def test_no_download_before_terms_are_accepted(plain, install, full_setup, mirror):
    no = {"FABRIC_REMOTE_JUPYTER_PYTHON_ACCEPT_TERMS": "no"}
    with nothing_changes(plain):
        run, dry = install(**no), install("--dry", **no)
    assert is_one_refusal(
        run,
        plain,
        "install-anaconda",
        "anaconda.com/legal/terms",
        "accept_terms",
        "Miniforge, which has none",
    )
    assert dry.status == 3
    assert dry.having("warning") == {"Terms Anaconda3-2026.01-1"}
    assert mirror.fetched() == []
    assert plain.nsenter(f"ls {HOME}/.conda", check=False).returncode != 0
    with nothing_changes(plain):
        run = full_setup(plain, FABRIC_REMOTE_JUPYTER_USER_NAME="ada", **ANACONDA)
    assert is_one_refusal(
        run,
        plain,
        "full-setup",
        "anaconda.com/legal/terms",
        "accept_terms",
        "Miniforge, which has none",
    )


@on("bookworm")
def test_channel_terms_follow_the_operator(plain, install):
    no = {"FABRIC_REMOTE_JUPYTER_PYTHON_ACCEPT_TERMS": "no"}
    lacks = made.installer("Miniconda3", versions=made.VERSIONS)
    assert install(data=lacks, FABRIC_REMOTE_JUPYTER_PYTHON_PACKAGES="pip").status == 0
    plain.nsenter(f"rm -r {HOME}/.conda/tos")
    run = install(data=lacks, **no)
    assert is_one_failure(
        run,
        plain,
        "install-anaconda",
        "CondaPackages",
        "CondaToSNonInteractiveError",
        "accept_terms",
    )
    assert plain.nsenter(f"ls {HOME}/.conda/tos", check=False).returncode != 0
    run = install(data=lacks)
    assert run.changed == {TERMS, "CondaPackages jupyterlab notebook", "restart jupyter"}
    assert versions(plain)["conda"] == "26.5.3"
    assert versions(plain)["jupyterlab"] == "4.5.0"
    assert install(data=lacks, **no).is_calm


@on("trixie")
def test_miniforge_has_no_terms_unless_condarc_adds_some(plain, install, mirror):
    forge = {
        "FABRIC_REMOTE_JUPYTER_PYTHON_DISTRIBUTION": "miniforge",
        "FABRIC_REMOTE_JUPYTER_PYTHON_ACCEPT_TERMS": "no",
    }
    data = made.installer(
        "Miniforge3", versions={n: v for n, v in made.VERSIONS.items() if "tos" not in n}
    )
    plain.nsenter(
        f"runuser -u jupyter -- sh -c 'printf \"channels:\\n  - defaults\\n\" >{HOME}/.condarc'"
    )
    mirror.add("Miniforge3.sh", data)
    forge = mirror.settings(f"http://{mirror.address}:{mirror.port}/Miniforge3.sh", data) | forge
    run = install(**forge)
    assert run.status == 0
    assert run.having("warning") == {"Check channels"}
    assert f"whose terms then apply, come from {HOME}/.condarc;" in run.out
    assert not [name for _, name in run.items if "Terms" in name]
    assert (
        plain.nsenter(f"runuser -u jupyter -- {HOME}/miniforge3/bin/conda --version").stdout
        == "conda 26.5.3\n"
    )


@on("bookworm")
def test_shell_file_stays_owned_by_the_user(plain, install):
    plain.nsenter(f"rm {HOME}/.bashrc")
    assert install().status == 0
    assert plain.nsenter(f"stat -c '%U %G' {HOME}/.bashrc").stdout == "jupyter jupyter\n"
    other = f"{HOME}/other/bin/conda"
    plain.nsenter(
        f"mkdir -p {HOME}/other/bin; cp {P}/bin/conda {other};"
        f" sed -i 's#{P}#{HOME}/other#' {HOME}/.bashrc"
    )
    before = plain.nsenter(f"cat {HOME}/.bashrc").stdout
    run = install()
    assert run.status == 0
    assert run.having("warning") == {f"CondaInit {P}"}
    assert "keeps using the conda at" in run.out
    assert plain.nsenter(f"cat {HOME}/.bashrc").stdout == before
    plain.nsenter(f"rm -r {HOME}/other")
    assert install().changed == {f"CondaInit {P}"}


# -- the whole server


@pytest.fixture(scope="module")
def whole(lab, ground, mirror):
    """A server for each release, and a mirror with the installer of a real environment."""

    def make(suite):
        host = lab.up(f"whole-{suite}-{os.getpid()}", suite, ground(suite), owner=lab.me())
        # Each release has an address of its own, so that both can be asked for at once.
        return host, mirror.add(
            f"{suite}-{NAME}", made.installer(env=made.environment(lab, suite, ground(suite)))
        )

    with ThreadPoolExecutor() as pool:
        hosts = dict(zip(base.SUITES, pool.map(make, base.SUITES), strict=True))
    yield hosts
    for host, _ in hosts.values():
        host.down()


def test_full_setup_with_anaconda_on_both_releases(whole, full_setup, fab):
    def story(suite):
        host, env = whole[suite]
        first = full_setup(host, **env)
        verified = fab(host, "verify", env=env | {"JUPYTER_PASSWORD": PASSWORD}, check=False)
        return first, verified, full_setup(host, **env)

    with ThreadPoolExecutor() as pool:
        stories = dict(zip(whole, pool.map(story, whole), strict=True))
    for suite, (first, verified, second) in stories.items():
        assert first.status == 0, first.text
        assert verified.returncode == 0, verified.stdout
        assert second.is_calm, (suite, second.text)
        shown = (
            whole[suite][0]
            .nsenter("systemctl show -P ExecStart jupyter | grep -o 'path=[^ ]*'")
            .stdout
        )
        assert shown == f"path={P}/bin/jupyter\n"
        # The download was over before apt was: all that is left is to see that it ended.
        rows = [row for part in first.report["tasks"] for row in part["resources"]]
        assert [row["seconds"] for row in rows if row["resource"].startswith("Download ")][0] < 3


def test_jupyter_moves_to_another_distribution(whole, full_setup, mirror):
    host, env = whole["trixie"]
    name = "Miniforge3-26.3.2-3-Linux-x86_64.sh"
    [data] = [data for kept, data in mirror.files.items() if kept.startswith("trixie-")]
    forge = mirror.add(name, data) | {"FABRIC_REMOTE_JUPYTER_PYTHON_DISTRIBUTION": "miniforge"}
    assert full_setup(host, **env).status == 0
    run = full_setup(host, **forge)
    assert run.status == 0, run.text
    assert run.having("warning") == {f"CondaInit {HOME}/miniforge3"}, run.text
    again = full_setup(host, **forge)
    assert again.status == 0, again.text
    assert again.changed == set(), again.text
    assert again.trips == 1, again.text
    shown = host.nsenter("systemctl show -P ExecStart jupyter | grep -o 'path=[^ ]*'").stdout
    assert shown == f"path={HOME}/miniforge3/bin/jupyter\n"
    assert host.nsenter(f"ls {P}/bin/jupyter").stdout


def test_removal_stops_the_service(whole, task):
    host, _ = whole["bookworm"]
    run = task(host, "remove-anaconda", "--yes", **ANACONDA)
    assert run.status == 0, run.text
    assert (
        host.nsenter(
            "systemctl is-active jupyter; systemctl is-enabled jupyter", check=False
        ).stdout
        == "inactive\ndisabled\n"
    )

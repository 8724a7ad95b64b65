"""Faults during a run: one clear error, what worked keeps working, the next run continues."""

import contextlib
import http.client
import signal
import ssl
import time

import pytest

from .fixtures.converged import ADMIN
from .fixtures.faults import failures, is_one_failure, nothing_changes
from .releases import on
from .visitor import eventually

HOME = "/home/jupyter"
JUPYTER = f"{HOME}/.jupyter"
CONFIG, HASH = f"{JUPYTER}/jupyter_server_config.py", f"{JUPYTER}/password-hash"
KEYS = f"{HOME}/.ssh/authorized_keys"
TLS = "/etc/remote-jupyter/tls"
SITES = "/etc/apache2/sites-available"
SITE = f"{SITES}/jupyter.conf"
DROP_IN = "/etc/ssh/sshd_config.d/00-remote-jupyter.conf"


def head(host):
    """Return the headers of Apache's answers for Jupyter."""
    context = ssl._create_unverified_context()
    with contextlib.closing(
        http.client.HTTPSConnection(host.address, context=context, timeout=10)
    ) as line:
        line.request("GET", "/jupyter/api")
        answer = line.getresponse()
        assert answer.status == 200
        assert b"version" in answer.read()
        return dict(answer.getheaders())


# -- another program holds apt's lock

HOLD = """
import fcntl, sys, time
file = open(sys.argv[1], "w")
fcntl.lockf(file, fcntl.LOCK_EX)
time.sleep(float(sys.argv[2]))
"""


@pytest.mark.parametrize(
    ("suite", "lock"),
    [("bookworm", "/var/lib/dpkg/lock-frontend"), ("trixie", "/var/lib/apt/lists/lock")],
    indirect=["suite"],
)
def test_waits_for_another_apt_and_names_it(new_host, suite, lock, task):
    host = new_host(suite)
    host.nsenter("SUDO_FORCE_REMOVE=yes dpkg --purge sudo")

    def hold(seconds):
        host.nsenter(
            ["systemd-run", "-q", "--unit=holder", "python3", "-c", HOLD, lock, str(seconds)]
        )
        assert eventually(
            lambda: (
                str((host.root / lock[1:]).stat().st_ino) in host.nsenter("cat /proc/locks").stdout
            )
        )

    hold(600)
    impatient = ADMIN | {"FABRIC_REMOTE_JUPYTER_APT_LOCK_TIMEOUT": "2"}
    warned = task(host, "preflight", **impatient)
    assert warned.status == 0
    assert warned.having("warning") == {"Check apt"}
    pid = host.nsenter("systemctl show -P MainPID holder").stdout.strip()
    assert f"python3 (process {pid}) holds apt's lock; apt waits for it up to 2 s" in warned.out
    run = task(host, "create-admin", **impatient)
    holder = f"python3 (process {pid}) is still at work with packages after 2 s"
    assert is_one_failure(
        run, host, "create-admin", "Package sudo: apply failed", holder, "apt.lock_timeout"
    )
    assert "skipped      User admin" in run.out
    assert "admin:" not in (host.root / "etc/passwd").read_text()

    host.nsenter("systemctl stop holder")
    hold(3)
    assert task(host, "create-admin", **ADMIN).status == 0
    assert host.nsenter("systemctl is-active holder", check=False).stdout == "inactive\n"
    assert (host.root / "usr/bin/sudo").exists()
    assert task(host, "create-admin", **ADMIN).is_calm


# -- the disk is full


@contextlib.contextmanager
def full(host, folder):
    """Put the content of *folder* on a full disk during a block."""
    host.nsenter(f"cp -a {folder} /mnt/kept")
    host.small(folder, "256k")
    try:
        host.nsenter(f"cp -a /mnt/kept/. {folder}; head -c 1M /dev/zero 2>&1 >{folder}/filler || :")
        assert "100%" in host.nsenter(["df", folder]).stdout
        yield
    finally:
        host.nsenter(f"umount {folder}; rm -r /mnt/kept")


def listing(host, folder):
    """Return the content of a folder, byte for byte."""
    return host.nsenter(
        f"ls -lA --time-style=full-iso {folder}; find {folder} -type f -exec sha256sum {{}} +"
    ).stdout


@pytest.mark.parametrize(
    ("suite", "folder", "spoil", "task_name", "resource", "handlers"),
    [
        (
            "trixie",
            SITES,
            f"echo '# older' >>{SITE}",
            "configure-apache",
            f"File {SITE}",
            {"reload apache2"},
        ),
        (
            "bookworm",
            JUPYTER,
            f"echo '# older' >>{CONFIG}",
            "configure-jupyter",
            f"File {CONFIG}",
            {"restart jupyter"},
        ),
        (
            "trixie",
            JUPYTER,
            f"echo older >{HASH}",
            "configure-jupyter",
            f"PasswordFile {HASH}",
            set(),
        ),
        (
            "bookworm",
            "/etc/ssh/sshd_config.d",
            f"echo '# older' >>{DROP_IN}",
            "harden-ssh",
            f"File {DROP_IN}",
            {"reload ssh"},
        ),
        (
            "trixie",
            f"{HOME}/.ssh",
            f"chmod 644 {KEYS}",
            "create-user",
            f"AuthorizedKeys {KEYS}",
            set(),
        ),
        (
            "bookworm",
            TLS,
            f"chmod 644 {TLS}/key.pem",
            "issue-cert",
            f"SelfSigned {TLS}/cert.pem",
            {"reload apache2"},
        ),
    ],
    indirect=["suite"],
)
def test_full_disk_leaves_the_old_file(
    used, full_setup, folder, spoil, task_name, resource, handlers
):
    used.nsenter(spoil)
    with full(used, folder):
        before = listing(used, folder)
        dry, run = full_setup(used, "--dry"), full_setup(used)
        assert listing(used, folder) == before
        assert head(used)
    assert dry.status == 3
    assert dry.having("would change") == {resource} | handlers
    assert is_one_failure(run, used, task_name, f"{resource}: apply failed: ")
    assert "the disk is full" in run.out or "No space left on device" in run.out
    assert "$argon2" not in run.text
    assert "$6$" not in run.text
    assert full_setup(used).changed == {resource} | handlers
    assert full_setup(used).is_calm


# -- Apache or sshd does not want it


@pytest.mark.parametrize(
    ("suite", "plant", "resource", "changed"),
    [
        ("trixie", f"echo '# older' >>{SITE}", f"File {SITE}", {f"File {SITE}"}),
        (
            "bookworm",
            f"rm {SITE} /etc/apache2/sites-enabled/jupyter.conf",
            f"File {SITE}",
            {f"File {SITE}", "ApacheSite jupyter"},
        ),
        (
            "trixie",
            "rm /etc/apache2/sites-enabled/jupyter.conf",
            "ApacheSite jupyter",
            {"ApacheSite jupyter"},
        ),
        (
            "bookworm",
            "rm /etc/apache2/mods-enabled/headers.load",
            "ApacheModule headers",
            {"ApacheModule headers"},
        ),
    ],
    indirect=["suite"],
)
def test_what_apache_rejects_is_rolled_back(used, full_setup, plant, resource, changed):
    broken = "/etc/apache2/conf-enabled/broken.conf"
    used.nsenter(f"{plant}; echo 'Nonsense on' >{broken}")
    try:
        # a2ensite and a2dissite leave marks of what an admin did, and folders have new times.
        with nothing_changes(
            used,
            but=r"/etc/apache2/(sites-available|(sites|mods)-enabled) d|/var/lib/apache2|/run/",
        ):
            dry, run = full_setup(used, "--dry"), full_setup(used)
        assert head(used)
    finally:
        used.nsenter(["rm", broken])
    task = "enable-apache-modules" if "Module" in resource else "configure-apache"
    assert is_one_failure(
        run,
        used,
        task,
        resource,
        f"Syntax error on line 1 of {broken}",
        "Invalid command 'Nonsense'",
    )
    assert dry.status == 3
    assert dry.having("would change") == changed | {"reload apache2"}
    assert full_setup(used).changed == changed | {"reload apache2"}
    assert full_setup(used).is_calm
    assert head(used)


# Folders know when something was in them, as what undoes the change was.
ARMED = (
    r"(/etc/ssh/sshd_config\.d|/etc/systemd/system(/multi-user\.target\.wants)?"
    r"|/var/lib/remote-jupyter) d|/run/"
)
SETTINGS = "SshdSettings jupyter"


@pytest.mark.parametrize(
    ("suite", "plant", "changed"),
    [("bookworm", f"echo '# older' >>{DROP_IN}", set()), ("trixie", f"rm {DROP_IN}", {SETTINGS})],
    indirect=["suite"],
)
def test_what_sshd_rejects_is_rolled_back(used, full_setup, plant, changed):
    broken = "/etc/ssh/sshd_config.d/99-broken.conf"
    used.nsenter(f"{plant}; echo 'Nonsense yes' >{broken}")
    # As if it had been there before sshd began.
    used.nsenter("sleep 0.1; cp /run/sshd.pid /run/pid; mv /run/pid /run/sshd.pid")
    try:
        with nothing_changes(used, but=ARMED):
            run = full_setup(used)
        assert used.ssh("id -u").stdout == "0\n"
    finally:
        used.nsenter(["rm", broken])
    says = f"{broken}: line 1: Bad configuration option: Nonsense"
    assert is_one_failure(run, used, "harden-ssh", f"File {DROP_IN}: apply failed: ", says)
    assert full_setup(used).changed == {f"File {DROP_IN}", "reload ssh"} | changed
    assert full_setup(used).is_calm


@on("trixie")
def test_drop_in_that_sshd_does_not_read_is_reported(used, full_setup):
    config = "/etc/ssh/sshd_config"
    used.nsenter(f"sed -i.kept '/^Include/d' {config}; rm {DROP_IN}; systemctl reload ssh")
    try:
        dry, run = full_setup(used, "--dry"), full_setup(used)
        assert used.ssh("id -u").stdout == "0\n"
    finally:
        used.nsenter(f"mv {config}.kept {config}; systemctl reload ssh")
    assert dry.status == 3
    assert {f"File {DROP_IN}", SETTINGS} <= dry.having("would change")
    assert is_one_failure(
        run, used, "harden-ssh", SETTINGS, "sshd does not take up: ", "does not include"
    )
    assert full_setup(used).changed == {f"File {DROP_IN}", SETTINGS, "reload ssh"}
    assert full_setup(used).is_calm


# -- the change is made, and the service does not take it up


@on("trixie")
def test_next_run_repeats_a_failed_reload(used, full_setup):
    folder = "/run/systemd/system/apache2.service.d"
    used.nsenter(
        f"echo 'Header always set X-Older yes' >>{SITE}; systemctl reload apache2;"
        f" mkdir -p {folder}"
    )
    used.nsenter(
        f"printf '[Service]\\nExecReload=\\nExecReload=/bin/false\\n' >{folder}/fault.conf;"
        " systemctl daemon-reload"
    )
    try:
        run = full_setup(used)
    finally:
        used.nsenter(f"rm -r {folder}; systemctl daemon-reload")
    assert is_one_failure(run, used, "handlers", "reload apache2: ", "has not picked it up")
    assert run.changed == {f"File {SITE}"}
    assert "X-Older" in head(used)
    dry, again = full_setup(used, "--dry"), full_setup(used)
    assert dry.status == 3
    assert dry.having("would change") == {"reload apache2"} == again.changed
    assert again.status == 0
    assert "X-Older" not in head(used)
    assert full_setup(used).is_calm


@on("bookworm")
def test_pending_handlers_follow_the_current_settings(used, full_setup):
    with full(used, JUPYTER):
        run = full_setup(used, FABRIC_REMOTE_JUPYTER_JUPYTER_BASE_URL="/elsewhere")
    assert is_one_failure(run, used, "configure-jupyter", f"File {CONFIG}: apply failed: ")
    assert full_setup(used).changed <= {"restart jupyter"}
    assert full_setup(used).is_calm
    assert head(used)


# -- the connection or the operator goes away


# Python runs such a line of a .pth file at its start, unless it is told not to read them.
WAIT_IN_PIP = (
    "import os, sys, time; [time.sleep(0.1) for _ in iter(lambda: {'pip', 'install'} <="
    " set(sys.orig_argv) and not os.path.exists('/run/go'), False)]\n"
)


@pytest.fixture
def gate(used):
    """notebook is to be installed again, and pip waits with that until `gate()`."""
    site = f"{HOME}/jupyter-env/lib/python3*/site-packages"
    used.nsenter(f"rm -r {site}/notebook-*.dist-info")
    used.nsenter(f"cat >$(echo {site})/gate.pth", input=WAIT_IN_PIP)
    yield lambda: used.nsenter("touch /run/go")
    used.nsenter(f"touch /run/go; rm {site}/gate.pth")
    eventually(lambda: not unit(used, "pip"))
    used.nsenter("rm /run/go")


def unit(host, name):
    """Return the running instance of a long step, or an empty string."""
    show = f"systemctl show -P ActiveState -P InvocationID remote-jupyter-{name}"
    state, _, instance = host.nsenter(show).stdout.strip().partition("\n")
    return instance if state in ("active", "activating") else ""


@on("trixie")
def test_next_run_resumes_after_a_dead_connection(used, gate, running, full_setup, oracle):
    first = running(used, "full-setup")
    assert eventually(lambda: unit(used, "pip"))
    instance, began = unit(used, "pip"), time.monotonic()
    used.cut()
    try:
        run = first.ended(seconds=90)
    finally:
        used.plug()
    assert time.monotonic() - began < 60
    assert is_one_failure(
        run,
        used,
        "install-anaconda",
        "PipPackages jupyterlab notebook",
        "The connection ended in the middle",
    )
    assert "skipped" in run.out
    assert unit(used, "pip") == instance

    second = running(used, "full-setup")
    assert eventually(lambda: " waiting " in second.out or " running " in second.out)
    time.sleep(1)
    assert unit(used, "pip") == instance
    assert second.process.poll() is None
    gate()
    assert second.ended(seconds=60).status == 0
    assert "notebook" in oracle(used).pip.get_packages(pip_path=f"{HOME}/jupyter-env/bin/pip")
    assert full_setup(used).is_calm


@on("bookworm")
def test_apt_outlives_a_killed_operator(new_host, suite, running, task, oracle):
    host = new_host(suite)
    host.nsenter("SUDO_FORCE_REMOVE=yes dpkg --purge sudo")
    wait = 'DPkg::Pre-Invoke { "touch /run/at; until [ -e /run/go ]; do sleep 0.1; done"; };'
    host.nsenter("cat >/etc/apt/apt.conf.d/99gate", input=wait)
    first = running(host, "create-admin", env=ADMIN)
    assert eventually(lambda: host.nsenter("ls /run/at", check=False).stdout)
    first.process.send_signal(signal.SIGKILL)
    first.ended(seconds=10)
    assert unit(host, "apt")
    warned = task(host, "preflight")
    assert warned.status == 0
    assert warned.having("warning") == {"Check apt"}
    assert "apt-get (process " in warned.out
    host.nsenter("touch /run/go")
    assert eventually(lambda: oracle(host).package("sudo").is_installed)
    assert task(host, "create-admin", **ADMIN).status == 0
    assert oracle(host).user("admin").exists
    assert task(host, "create-admin", **ADMIN).is_calm


@on("bookworm")
def test_ctrl_c_reports_what_was_done(used, gate, running, full_setup):
    used.nsenter(f"chmod 755 {HOME}/.ssh; echo '# older' >>{SITE}")
    first = running(used, "full-setup")
    assert eventually(lambda: unit(used, "pip"))
    first.process.send_signal(signal.SIGINT)
    run = first.ended(seconds=10)
    assert run.status == 1
    assert "Traceback" not in run.text
    [line] = run.err.splitlines()
    assert line.startswith(f"{used.address}  Interrupted")
    assert "Run the same command again" in line
    assert f"changed      Directory {HOME}/.ssh" in run.out
    assert [at for at, _ in failures(run, used)] == ["install-anaconda"]
    left = [line for line in run.out.splitlines() if " skipped  " in line]
    assert [
        line
        for line in left
        if line.startswith(f"{used.address}  configure-apache ") and f"File {SITE}" in line
    ]
    assert not [line for line in left if "PipPackages" in line or f"{HOME}/.ssh" in line]
    assert unit(used, "pip")
    gate()
    again = full_setup(used)
    assert again.status == 0
    assert {f"File {SITE}", "reload apache2"} <= again.changed
    assert full_setup(used).is_calm

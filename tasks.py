"""Tasks for the development of remote-jupyter: `inv --list`."""

import os
import re
import secrets
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from invoke import Collection, Exit, task
from invoke.main import program

import fabfile
from fabfile.local.commandline import answer_mistakes
from tests.hosts import lab, pythons

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
DEBIAN = Path("/etc/debian_version").exists()
HERE_IS_ENOUGH = DEBIAN and os.geteuid() == 0
NEED = "booting servers needs root on Debian or Ubuntu"

LAB_PACKAGES = [
    "debian-archive-keyring",
    "iproute2",
    "mmdebstrap",
    "nftables",
    "openssh-client",
    "systemd-container",
]
TEST_PACKAGES = [*LAB_PACKAGES, "chromium", "chromium-driver", "libnss3-tools", "pebble", "rsync"]

REQUIREMENTS = """\
# The exact version of every package that remote-jupyter needs, for running and for its tests.
# Install with:  pip install --no-deps --require-hashes -r requirements.txt
# Made by:       inv requirements [--upgrade], from pyproject.toml
"""


@task(name="up", help={"suite": f"a Debian release: {' or '.join(lab.base.SUITES)}"})
def lab_up(c, name, suite="bookworm"):
    """Boot a Debian server on this machine, until lab.down."""
    _prepare(LAB_PACKAGES)
    _show(lab.up(name, suite))


@task(name="ssh", help={"user": "the user to log in as"})
def lab_ssh(c, name, user="root"):
    """Log in to a server, or run: inv lab.ssh NAME -- COMMAND."""
    _prepare()
    host = lab.find(name)
    command = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []
    sys.exit(
        subprocess.run(host.ssh_argv(" ".join(command), user)).returncode
    )  # joined as ssh itself does


@task(name="list")
def lab_list(c):
    """List the servers of the lab, with the SSH key for each."""
    _prepare()
    lab.sweep()
    for host in lab.hosts():
        _show(host)


# Invoke requires every positional argument; with --all there is none.
@task(
    name="down",
    positional=[] if "--all" in sys.argv else ["name"],
    help={"all": "every server of the lab"},
)
def lab_down(c, name=None, all=False):
    """Remove a server and everything that belongs to it."""
    _prepare()
    if bool(name) == all:
        raise Exit("lab.down needs the name of a server, or --all", 2)
    lab.sweep()
    lab.down_all() if all else lab.down(name)


@task(name="build")
def lab_build(c):
    """Build the base systems of all releases, in parallel."""
    _prepare(LAB_PACKAGES)
    code = "import sys; from tests.hosts import lab; lab.build(sys.argv[1])"
    build = [sys.executable, "-c", code]
    running = [subprocess.Popen([*build, suite], cwd=HERE) for suite in lab.base.SUITES]
    if any([process.wait() for process in running]):
        raise Exit(code=1)


@task
def lint(c):
    """Check style, types and shell text, generated text too."""
    checks = ["ruff check .", "ruff format --check .", "mypy", "python -m tests.shell_texts"]
    running = [
        subprocess.Popen([str(BIN / words[0]), *words[1:]], cwd=HERE)
        for words in map(str.split, checks)
    ]
    if any([check.wait() for check in running]):
        raise Exit("Fix the problems above.", 1)


@task(pre=[lint])
def test(c):
    """Lint, and run all tests that this machine can run.

    TEST_HOST=root@SERVER tests on that server instead of in the lab, and changes it.
    """
    pytest = [sys.executable, "-m", "pytest"]
    if os.environ.get("TEST_HOST"):
        print(
            "Skipped: tests that boot servers in the lab; unset TEST_HOST to run them.",
            flush=True,
        )
        pytest += ["-m", "not lab"]
    elif HERE_IS_ENOUGH:
        _prepare(TEST_PACKAGES)
        print(f"The wheel is tested {pythons.told()}.", flush=True)
        # One more than the two cores on which this was measured: tests wait a lot.
        pytest += ["--numprocesses=3", "--dist=loadfile", "--no-loadscope-reorder"]
    else:
        print(
            f"Skipped: tests on servers; {NEED}. Set TEST_HOST=root@SERVER to use yours.",
            flush=True,
        )
        pytest += ["-m", "not host"]
    sys.exit(subprocess.run(pytest, cwd=HERE).returncode)


@task(help={"upgrade": "take the newest versions instead of keeping the pinned ones"})
def requirements(c, upgrade=False):
    """Pin all dependencies in requirements.txt."""
    target = HERE / "requirements.txt"
    comments = re.findall(r'^ +"([\w-]+).*", # (.*)$', (HERE / "pyproject.toml").read_text(), re.M)
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        subprocess.run(
            [f"{folder}/bin/pip", "install", "--quiet", "--disable-pip-version-check", "uv"],
            check=True,
        )
        resolve = [
            f"{folder}/bin/uv",
            "pip",
            "compile",
            "--quiet",
            "--no-header",
            "--annotation-style=line",
            f"-o{target}",
        ]
        resolve += [
            "--universal",
            "--python-version=3.10",
            "--generate-hashes",
            *(["--upgrade"] if upgrade else []),
        ]
        inputs = ["--group=apart", "--group=develop", "pyproject.toml"]
        subprocess.run(
            [*resolve, *inputs],
            cwd=HERE,
            check=True,
            env=os.environ | {"UV_PYTHON_DOWNLOADS": "never"},
        )
    text = target.read_text()
    for name, comment in comments:
        text = re.sub(rf"^{name}==", f"# {comment}\n\\g<0>", text, flags=re.M)
    target.write_text(REQUIREMENTS + text)


@task
def demo(c):
    """Boot a server on this machine and set up Jupyter on it."""
    _prepare(LAB_PACKAGES)
    host = next((host for host in lab.hosts() if host.name == "demo"), None) or lab.up("demo")
    password = os.environ.get("JUPYTER_PASSWORD") or secrets.token_urlsafe(12)
    # The host key of a demo does not belong in the user's own known_hosts.
    config = host.home / "ssh_config"
    config.write_text(f"UserKnownHostsFile {host.home}/known_hosts\n")
    fab = [BIN / "fab", "-H", host.string, "-i", host.key, "-S", config]
    settings = {"JUPYTER_PASSWORD": password, "FABRIC_REMOTE_JUPYTER_PYTHON_DISTRIBUTION": "venv"}
    for name in ("full-setup", "verify"):
        done = subprocess.run([*fab, name], cwd=HERE, env=os.environ | settings)
        if done.returncode:
            print(f"{name} failed. The server still runs; remove it: .venv/bin/inv lab.down demo")
            sys.exit(done.returncode)
    print(f"\nJupyter:   https://{host.address}/jupyter\nUser:      jupyter\nPassword:  {password}")
    print("Log in:    .venv/bin/inv lab.ssh demo\nRemove:    .venv/bin/inv lab.down demo")


@task
def bench(c):
    """Measure how long the tasks take."""
    _prepare(LAB_PACKAGES)
    from tests.hosts.bench import main

    main()


@task
def picture(c):
    """Redraw docs/terminal.svg from a real run."""
    _prepare(LAB_PACKAGES)
    from tests.hosts.picture import main

    main()


@task
def defaults(c):
    """Generate config/defaults.yml from the table of settings."""
    from fabfile.settings import reference, table

    text = reference.defaults_file(table.schema, table.HEAD)
    (HERE / "config" / "defaults.yml").write_text(text, encoding="utf-8")


@task
def undo_table(c):
    """Update the README's table of changes and undo hints."""
    from tests import readme

    readme.main()


@task
def attacks(c):
    """Update docs/attacks.md."""
    from tests.hosts.attacks import PAGE, page

    PAGE.write_text(page(), encoding="utf-8")


def _prepare(packages=()):
    """Install the Debian *packages* that are missing; exit if this machine cannot boot servers."""
    if not HERE_IS_ENOUGH:
        raise Exit(f"Not possible here: {NEED}.", 1)
    os.environ["PATH"] += ":/usr/sbin:/sbin"  # which root lacks after a plain `su`
    query = ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *packages]
    listed = subprocess.run(query, capture_output=True, text=True).stdout if packages else ""
    missing = [name for name in packages if f"{name} installed" not in listed.splitlines()]
    if not missing:
        return
    subprocess.run(["apt-get", "update", "-q"], check=True)
    show = ["apt-cache", "--no-all-versions", "show", *missing]
    known = subprocess.run(show, capture_output=True, text=True).stdout
    # Ubuntu has no Chromium package; the tests in a browser are then skipped.
    wanted = [name for name in missing if f"Package: {name}" in known.splitlines()]
    install = ["apt-get", "install", "-qy", "--no-install-recommends", *wanted]
    subprocess.run(install, check=True, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"})


def _show(host):
    running = "" if host.pid else "  (not running)"
    print(f"{host.name:16} {host.suite:10} {host.string:22} -i {host.key}{running}")


_lab = Collection("lab", lab_up, lab_ssh, lab_list, lab_down, lab_build)
namespace = Collection(
    _lab, test, lint, requirements, demo, bench, picture, defaults, undo_table, attacks
)
answer_mistakes(program, "fab", fabfile.ns.task_names)

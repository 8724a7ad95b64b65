"""The lab: hosts boot, are isolated from each other, and leave nothing behind."""

import contextlib
import itertools
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

NUMBERS = itertools.count(1)

OWNER = """
import sys, time
from tests.hosts import lab
lab.up(sys.argv[1], owner=lab.me()).keep(sys.argv[1])
lab.up(sys.argv[1], lower=sys.argv[1], owner=lab.me())
print("up", flush=True)
time.sleep(600)
"""


@pytest.fixture
def name():
    """A host's name that no other test run uses at the same time."""
    return f"lab-{os.getpid()}-{next(NUMBERS)}"


@contextlib.contextmanager
def process(*argv):
    """A process that is killed at the end at the latest."""
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as running:
        try:
            yield running
        finally:
            running.kill()


def traces(lab, name):
    """Return what exists of a host on this machine."""
    folders = [Path("/run/netns"), lab.RUN, *lab.CGROUPS]
    folders += [lab.base.folder() / "hosts", lab.base.folder() / "layers"]
    seen = [
        path
        for folder in folders
        if folder.is_dir()
        for path in folder.iterdir()
        if name in path.name
    ]
    seen += [line for line in Path("/proc/mounts").read_text().splitlines() if name in line]
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"--machine" in words and name.encode() in words:
            seen.append(process)
    return seen


def eventually(condition, seconds=15):
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not (holds := condition()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return holds


def test_host_is_a_fully_booted_debian_server(new_host, suite, oracle):
    host = new_host(suite)
    seen = oracle(host)
    assert seen.system_info.codename == suite
    assert seen.service("ssh").is_running
    assert host.ssh("systemctl is-system-running").stdout == "running\n"
    assert host.ssh("hostname").stdout.strip() == host.name
    assert (host.root / "etc/hostname").read_text().strip() == host.name


def test_host_reaches_and_trusts_the_package_mirror(new_host, suite):
    host = new_host(suite)
    assert host.ssh("apt-get update").returncode == 0
    assert host.ssh("apt-cache policy apache2").stdout.count("Candidate: 2.4")


def test_four_hosts_at_once_have_own_addresses_and_keys(new_host):
    with ThreadPoolExecutor() as pool:
        hosts = list(pool.map(new_host, ["bookworm", "trixie", "bookworm", "trixie"]))
        answers = list(
            pool.map(lambda host: host.ssh("cat /etc/machine-id /etc/ssh/*.pub").stdout, hosts)
        )
    assert len({host.address for host in hosts}) == 4
    assert len({line for answer in answers for line in answer.splitlines()}) == 4 * 4


def test_names_are_unique(new_host, lab):
    host = new_host()
    with pytest.raises(lab.LabError, match="already"):
        lab.up(host.name)
    assert host.ssh("true").returncode == 0


def test_clone_has_files_of_the_layer_and_own_keys(new_host, suite, lab, layer):
    def converge(host):
        host.ssh("echo kept > /srv/note; ln -s /bin/true /srv/link; rm /etc/motd")

    name = layer(suite, "note", converge)
    assert layer(suite, "note", pytest.fail) == name
    one, two = (new_host(suite, lower=name) for _ in range(2))
    assert one.ssh("cat /srv/note; hostname").stdout == f"kept\n{one.name}\n"
    assert one.ssh("test -L /srv/link && test ! -e /etc/motd").returncode == 0
    for file in (
        "etc/machine-id",
        "etc/ssh/ssh_host_ed25519_key.pub",
        "etc/ssh/ssh_host_rsa_key.pub",
    ):
        assert (one.root / file).read_text() != (two.root / file).read_text()
    two.ssh("echo changed > /srv/note")
    assert one.ssh("cat /srv/note").stdout == "kept\n"


def test_reboot_keeps_files_and_drops_firewall_rules(new_host, suite):
    host = new_host(suite)
    host.ssh("echo kept > /srv/note; nohup sleep 1000 >/dev/null 2>&1 & echo gone > /run/note")
    nft = ["ip", "netns", "exec", f"rjlab-{host.name}", "nft"]
    subprocess.run([*nft, "add", "table", "ip", "gone"], check=True)
    boot, *keys = host.ssh("cat /proc/sys/kernel/random/boot_id /etc/ssh/*.pub").stdout.splitlines()
    host.reboot()
    assert host.ssh("cat /srv/note; ls /run/note; pgrep sleep", check=False).stdout == "kept\n"
    assert subprocess.run([*nft, "list", "tables"], capture_output=True, check=True).stdout == b""
    after, *same = host.ssh(
        "cat /proc/sys/kernel/random/boot_id /etc/ssh/*.pub"
    ).stdout.splitlines()
    assert after != boot
    assert same == keys


def test_host_that_reboots_itself_comes_back(new_host):
    host = new_host()
    before = host.pid
    host.ssh("systemctl reboot", check=False)
    assert eventually(lambda: host.pid not in (None, before))


def test_cut_host_answers_again_when_plugged_in(new_host):
    host = new_host()
    host.cut()
    with pytest.raises(OSError):
        socket.create_connection((host.address, 22), timeout=1)
    host.plug()
    assert host.ssh("echo back").stdout == "back\n"


def test_small_disk_fills_up(new_host):
    host = new_host(disk="24M")
    host.small("/srv/tiny", "64k")
    assert "No space left" in host.ssh("head -c 1M /dev/zero > /srv/tiny/file", check=False).stderr
    assert "No space left" in host.ssh("head -c 48M /dev/zero > /srv/file", check=False).stderr


def test_failed_boot_shows_the_console_and_leaves_nothing(lab, layer, name):
    def converge(host):
        host.ssh("mv /lib/systemd/systemd /root/; rm /sbin/init")

    broken = layer("bookworm", "broken", converge)
    with pytest.raises(lab.LabError, match="has ended; its console says"):
        lab.up(name, lower=broken, owner=lab.me())
    assert traces(lab, name) == []


def test_down_leaves_nothing(lab, name):
    is_alone = not list(lab.RUN.glob("*.json"))
    sysctl = [Path("/proc/sys", name) for name in lab.network.SYSCTL]
    before = [path.read_text() for path in sysctl]
    host = lab.up(name, owner=lab.me())
    veth = f"/sys/class/net/{lab.network.veth(host.address)}"
    assert traces(lab, name)
    assert os.path.exists(veth)
    host.down()
    assert traces(lab, name) == []
    assert not os.path.exists(veth)
    with pytest.raises(lab.LabError, match="no such host"):
        lab.find(name)
    if is_alone:
        tables = subprocess.run(
            ["nft", "list", "tables"], capture_output=True, text=True, check=True
        ).stdout
        assert lab.network.TABLE not in tables
        assert not Path("/sys/class/net", lab.network.BRIDGE).exists()
        assert [path.read_text() for path in sysctl] == before


def test_killed_owner_leaves_nothing(lab, name):
    with process(sys.executable, "-c", OWNER, name) as owner:
        assert owner.stdout.readline() == "up\n"
        assert traces(lab, name)
        owner.kill()
    assert eventually(lambda: traces(lab, name) == [])
    assert eventually(lambda: not list(lab.RUN.glob(f"{owner.pid}-*")))


def test_sweep_removes_only_hosts_of_dead_owners(lab, new_host, name, monkeypatch):
    monkeypatch.setattr(lab, "_watch", lambda owner: None)
    alive = new_host()
    with process("sleep", "600") as owner:
        lab.up(name, owner=lab._owner(owner.pid))
        lab.sweep()
        assert lab.find(name).pid
        owner.kill()
    lab.sweep()
    assert traces(lab, name) == []
    assert alive.ssh("true").returncode == 0

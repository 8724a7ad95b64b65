"""The lab: real Debian servers on this machine, booted by systemd-nspawn in about two seconds.

    host = up("web", suite="trixie")        a fresh server for `fab -H host.string -i host.key`
    host.ssh("uptime").stdout
    host.keep("converged")                  stop it and keep its state as a layer ...
    up("web2", "trixie", lower="converged") ... that any number of others begin with
    down("web2")

A host is an overlay over a base tree. It may have an owner: a process at whose end, however it
ends, the host is removed.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import re
import select
import shlex
import shutil
import struct
import subprocess
import sys
import time
import uuid
from pathlib import Path

from invoke import Exit

from . import base, network
from .network import run

RUN = Path("/run/remote-jupyter-lab")  # one JSON file for each host of this machine
NETWORK = RUN / "network.state"
PARENT = os.getppid()  # at the start; later it may be the one that adopts orphans
# One hierarchy, or with older systems the two that systemd uses.
CGROUPS = [Path("/sys/fs/cgroup", name) for name in ("", "systemd", "unified")]
CGROUPS = [path for path in CGROUPS if (path / "cgroup.procs").exists()]
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Of <linux/ext4.h>: stop writing at once, without the journal that is not on disk yet.
EXT4_IOC_SHUTDOWN = 0x8004587D
EXT4_GOING_FLAGS_NOLOGFLUSH = 2
HOSTS = "127.0.0.1\tlocalhost\n127.0.1.1\t{name}\n\n::1\tlocalhost ip6-localhost ip6-loopback\n"


class LabError(Exit):
    """An error of the lab, with its reason."""


@dataclasses.dataclass(frozen=True)
class Host:
    """A server of the lab."""

    name: str
    suite: str
    address: str
    folder: Path
    lowers: tuple[str, ...]
    owner: str | None = None
    disk: str | None = None

    @property
    def image(self):
        """The size of the real disk image that holds the host's files, if it has one."""
        return self.disk.removeprefix("ext4:") if (self.disk or "").startswith("ext4:") else None

    @property
    def home(self):
        """The folder of the host's files on this machine."""
        return self.folder / "hosts" / self.name

    @property
    def root(self):
        """The host's root folder, as this machine sees it."""
        return self.home / "root"

    @property
    def console(self):
        """What the host printed while it booted."""
        return self.home / "console.log"

    @property
    def key(self):
        """The private key that lets root in."""
        return self.folder / "id_ed25519"

    @property
    def string(self):
        """The host for `fab -H` and `ssh`."""
        return f"root@{self.address}"

    @property
    def pid(self):
        """The host's PID 1, or None while it is not running."""
        for pid in self._pids():
            try:
                status = Path("/proc", str(pid), "status").read_text()
            except OSError:
                continue
            if re.search(r"^NSpid:\t\d+\t1$", status, re.M) and not re.search(
                r"^State:\t[ZX]", status, re.M
            ):
                return pid
        return None

    def ssh_argv(self, command=None, user="root"):
        """Return the OpenSSH command line for this host, which accepts only its keys."""
        keys = sorted((self.root / "etc/ssh").glob("ssh_host_*.pub"))
        known_hosts = self.home / "known_hosts"
        known = "".join(f"{self.address} {key.read_text()}" for key in keys)
        if _read(known_hosts) != known:
            known_hosts.write_text(known)
        options = {
            "IdentityFile": self.key,
            "IdentitiesOnly": "yes",
            "BatchMode": "yes",
            "UserKnownHostsFile": known_hosts,
            "ConnectTimeout": 10,
            "LogLevel": "ERROR",
        }
        words = ["ssh", "-F", "none"] + [f"-o{name}={value}" for name, value in options.items()]
        return [*words, f"{user}@{self.address}", *([command] if command else [])]

    def ssh(self, command, user="root", check=True, input=None, timeout=300):
        """Run a command by OpenSSH."""
        return _checked(self.ssh_argv(command, user), check, input, timeout)

    def nsenter(self, command, check=True, input=None, timeout=300):
        """Run a command (a shell line or a list of words) inside, as root, without ssh."""
        words = ["sh", "-c", command] if isinstance(command, str) else list(command)
        return _checked([*self._nsenter(), *words], check, input, timeout)

    def down(self):
        """Remove the host and everything it left on this machine."""
        _down(self)

    def reboot(self, timeout=90):
        """Reboot the host as its own root would, and wait until it is up again."""
        before = self.pid
        self.nsenter("systemctl reboot", check=False)
        _wait(lambda: self.pid != before, timeout, self)
        _wait_until_up(self, timeout)

    def stop(self, timeout=90):
        """Shut the host down cleanly; its files stay."""
        self.nsenter("systemctl poweroff", check=False)
        _wait(lambda: not self._pids(), timeout, self)
        _kill(self)

    def start(self, timeout=60):
        """Boot the host from its files."""
        _boot(self)
        _wait_until_up(self, timeout)

    def keep(self, layer):
        """Stop the host for good and keep its files as a layer for `up(..., lower=layer)`."""
        if self.disk:
            raise LabError("a host on a disk of its own cannot be kept")
        kept = self.folder / "layers" / layer
        if kept.exists():
            raise LabError(f"there is a layer {layer} already")
        self.stop()
        _unmount(self)
        kept.mkdir(parents=True)
        (self.home / "upper").rename(kept / "files")
        facts = {
            "suite": self.suite,
            "lowers": [str(kept / "files"), *self.lowers],
            "owner": self.owner,
        }
        (kept / "layer.json").write_text(json.dumps(facts))
        self.down()

    def cut(self):
        """Pull the network cable: packets are lost silently."""
        network.switch(self.address, "down")

    def plug(self):
        """Plug the network cable in again."""
        network.switch(self.address, "up")

    def settle(self):
        """Write everything to the disk image, so that a power cut loses only what comes later."""
        run("sync", "-f", self.home / "disk")

    def power_cut(self):
        """Cut the power: what is not on the disk image is lost. `start` boots the host again."""
        if not self.image:
            raise LabError("only a host with an image can lose its power")
        disk = os.open(self.home / "disk", os.O_RDONLY)
        try:
            fcntl.ioctl(disk, EXT4_IOC_SHUTDOWN, struct.pack("I", EXT4_GOING_FLAGS_NOLOGFLUSH))
        finally:
            os.close(disk)
        _kill(self)
        _unmount(self)
        # The mount namespace of another host may hold the old file system, which is shut down, and
        # mounting the same image would give that one: go on with a copy.
        image, copy = self.home / "disk.img", self.home / "disk.copy"
        run("cp", "--sparse=always", image, copy)
        copy.replace(image)
        _mount_disk(self)
        _mount_root(self)

    def small(self, path, size="1M"):
        """Mount a small empty file system inside until the next reboot: a disk to fill up."""
        self.nsenter(["mkdir", "-p", path])
        self.nsenter(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0755", "lab", path])

    @property
    def _namespace(self):
        return f"rjlab-{self.name}"

    @property
    def _cgroups(self):
        return [path / f"remote-jupyter-lab-{self.name}" for path in CGROUPS]

    def _pids(self):
        """Return every process of the host's cgroup."""
        folders = [folder for group in self._cgroups for folder, _, _ in os.walk(group)]
        return sorted(
            {int(pid) for folder in folders for pid in _read(Path(folder, "cgroup.procs")).split()}
        )

    def _nsenter(self):
        pid = self.pid
        if pid is None:
            raise LabError(f"{self.name} is not running")
        environment = ["env", "-i", f"PATH={PATH}", "HOME=/root", "LANG=C.UTF-8"]
        return ["nsenter", "-t", str(pid), "-m", "-u", "-i", "-n", "-p", "-C", "--", *environment]


def up(name, suite="bookworm", lower=None, owner=None, disk=None):
    """Boot a fresh server, or a clone of the layer `lower`.

    Args:
        disk: limits its space, as in "80M"; "ext4:4G" is a real disk image, for `power_cut`.
    """
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", name):
        raise LabError(f"not a good name for a host: {name!r}")
    if os.geteuid():
        raise LabError("hosts are booted by root only")
    lowers = _lowers(suite, lower)
    if owner:
        _watch(owner)
    sweep()
    with base.locked(RUN / "lock"):
        states = _states()
        if any(host.name == name for host in states):
            raise LabError(f"there is a host {name} already")
        try:
            network.ensure(NETWORK)
        except BaseException:
            _leave_network()
            raise
        subnet = network.subnet(NETWORK)
        address = network.free_address(subnet, {host.address for host in states})
        host = Host(name, suite, address, base.folder(), lowers, owner, disk)
        _save(host)
    try:
        _mount(host)
        network.plug(host._namespace, address, subnet)
        _personalise(host)
        host.start()
    except BaseException:
        host.down()
        raise
    return host


def hosts():
    """Return the hosts of this lab folder, sorted by name."""
    return [host for host in _states() if host.folder == base.folder()]


def find(name):
    """Return the host of that name."""
    for host in hosts():
        if host.name == name:
            return host
    raise LabError(
        f"no such host: {name}; there are: {', '.join(h.name for h in hosts()) or 'none'}"
    )


def down(name):
    """Remove the host of that name."""
    find(name).down()


def down_all(owner=None):
    """Remove every host and layer of an owner; without an owner, of this lab folder."""
    for host in _states():
        if host.owner == owner if owner else host.folder == base.folder():
            host.down()
    for name, facts in _layers():
        if owner in (None, facts["owner"]):
            drop(name)


def has_layer(name):
    """Return whether a layer of that name exists."""
    return name in dict(_layers())


def drop(layer):
    """Remove a layer."""
    shutil.rmtree(base.folder() / "layers" / layer, ignore_errors=True)


def sweep():
    """Remove hosts and layers whose owner has ended."""
    for host in _states():
        if host.owner and not _alive(host.owner):
            host.down()
    for name, facts in _layers():
        if facts["owner"] and not _alive(facts["owner"]):
            drop(name)
    for mark in RUN.glob("*.watched"):
        if not _alive(mark.stem.replace("-", ":")):
            mark.unlink(missing_ok=True)


def build(suite):
    """Return the base tree of a release, built now if missing."""
    in_use = {tree for host in _states() for tree in host.lowers}
    in_use |= {tree for _, facts in _layers() for tree in facts["lowers"]}
    return base.tree(suite, in_use)


def me():
    """Return this process as an owner of hosts."""
    return _owner(os.getpid())


def session():
    """Return the owner that stands for this test session: with pytest-xdist, the controller."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return me()
    owner = _owner(PARENT)
    if owner is None:
        raise LabError("the test session of this worker has ended")
    return owner


def _layers():
    """Return the layers of this lab folder and their facts."""
    found = [
        (file.parent.name, _read(file)) for file in (base.folder() / "layers").glob("*/layer.json")
    ]
    return [(name, json.loads(text)) for name, text in found if text]


def _lowers(suite, layer):
    """Return the read-only trees below a host, the topmost first."""
    if layer is None:
        return (str(build(suite)),)
    facts = dict(_layers()).get(layer)
    if facts is None:
        raise LabError(f"no such layer: {layer}")
    if facts["suite"] != suite:
        raise LabError(f"layer {layer} is of {facts['suite']}, not of {suite}")
    return tuple(facts["lowers"])


# -- state: one file a host, written under the lock


def _states():
    found = []
    for file in sorted(RUN.glob("*.json")):
        if text := _read(file):
            facts = json.loads(text)
            found.append(
                Host(**facts | {"folder": Path(facts["folder"]), "lowers": tuple(facts["lowers"])})
            )
    return found


def _save(host):
    file = RUN / f"{host.name}.json"
    part = file.with_suffix(".part")
    part.write_text(json.dumps(dataclasses.asdict(host) | {"folder": str(host.folder)}))
    part.rename(file)


# -- owners


def _owner(pid):
    """Return a process id with its start time, as ids are used again."""
    stat = _read(Path("/proc", str(pid), "stat")).rpartition(")")[2].split()
    return f"{pid}:{stat[19]}" if stat and stat[0] not in "ZX" else None


def _alive(owner):
    return _owner(owner.partition(":")[0]) == owner


def _watch(owner):
    """Start, once an owner, the process that removes what the owner leaves behind."""
    mark = RUN / f"{owner.replace(':', '-')}.watched"
    with base.locked(RUN / "lock"):
        if mark.exists():
            return
        # It forks and ends at once, so this process has no child to wait for.
        argv = ["setsid", "--fork", sys.executable, "-m", __name__, owner, str(mark)]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
        null = subprocess.DEVNULL
        subprocess.run(
            argv, check=True, cwd="/", env=environment, stdin=null, stdout=null, stderr=null
        )
        mark.touch()


def _watchdog(owner, mark):
    try:
        end = os.pidfd_open(int(owner.partition(":")[0]))
        if _alive(owner):
            select.select([end], [], [])
    except ProcessLookupError:
        pass  # it has ended already
    down_all(owner)
    Path(mark).unlink(missing_ok=True)


# -- one host's files and processes


def _mount(host):
    """Mount the root folder of the host, without what a power cut left of an older one."""
    _unmount(host)
    shutil.rmtree(host.home, ignore_errors=True)
    for part in ("root", "disk"):
        (host.home / part).mkdir(parents=True)
    if host.image:
        run("truncate", "-s", host.image, host.home / "disk.img")
        run("mkfs.ext4", "-q", host.home / "disk.img")
    _mount_disk(host)
    for part in ("upper", "work"):
        (_writable(host) / part).mkdir()
    _mount_root(host)


def _writable(host):
    """Return the folder that holds what the host writes."""
    return host.home / "disk" if host.disk else host.home


def _mount_disk(host):
    if host.image:
        run("mount", "-o", "loop", host.home / "disk.img", host.home / "disk")
    elif host.disk:
        run("mount", "-t", "tmpfs", "-o", f"size={host.disk}", "lab", host.home / "disk")


def _mount_root(host):
    # volatile: no fsync reaches the disk, which makes apt fast. Only an image outlives a power cut.
    volatile = "" if host.image else "volatile,"
    writable = _writable(host)
    folders = f"upperdir={writable}/upper,workdir={writable}/work"
    options = f"{volatile}lowerdir={':'.join(host.lowers)},{folders}"
    run("mount", "-t", "overlay", "-o", options, "lab", host.root)


def _unmount(host):
    for part in ("root", "disk"):
        if os.path.ismount(host.home / part):
            run("umount", "--lazy", host.home / part, check=False)


def _personalise(host):
    """Write what is unique to each server."""
    etc = host.root / "etc"
    (etc / "machine-id").write_text(f"{uuid.uuid4().hex}\n")
    (etc / "hostname").write_text(f"{host.name}\n")
    (etc / "hosts").write_text(HOSTS.format(name=host.name))
    if not (etc / "resolv.conf").is_symlink():
        (etc / "resolv.conf").write_text(Path("/etc/resolv.conf").read_text())
        (etc / "resolv.conf").chmod(0o644)
    old = sorted((etc / "ssh").glob("ssh_host_*_key"))
    for key in old:  # a clone: the same kinds of keys, at the same sizes
        bits = run("ssh-keygen", "-l", "-f", key).stdout.split()[0]
        kind = key.name.split("_")[2]
        run(
            "ssh-keygen",
            "-q",
            "-t",
            kind,
            "-b",
            bits,
            "-N",
            "",
            "-C",
            host.name,
            "-f",
            key,
            input="y\n",
        )
    if not old:
        run("ssh-keygen", "-A", "-f", host.root)


def _boot(host):
    for group in host._cgroups:
        group.mkdir(exist_ok=True)
    nspawn = ["systemd-nspawn", "--boot", "--machine", host.name, "--directory", host.root]
    nspawn += [
        "--network-namespace-path",
        f"/run/netns/{host._namespace}",
        "--capability=CAP_NET_ADMIN",
    ]
    nspawn += ["--quiet", "--register=no", "--keep-unit"]  # this machine may run no systemd
    nspawn += ["--link-journal=no", "--resolv-conf=off", "--timezone=off"]
    boot = Path(__file__).with_name("boot.sh")
    argv = [str(word) for word in (boot, host._namespace, *host._cgroups, "--", *nspawn)]
    # As on a server: it may change its own /proc/sys/net, and what /tmp is its release decides.
    as_server = {
        "PATH": PATH,
        "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network",
        "SYSTEMD_NSPAWN_TMPFS_TMP": "0",
    }
    with open(host.console, "ab") as console:
        streams = {"stdin": subprocess.DEVNULL, "stdout": console, "stderr": console}
        # A session of its own: a Ctrl-C in the terminal of a test run is not for the hosts.
        subprocess.run(argv, check=True, env=as_server, cwd="/", start_new_session=True, **streams)


def _wait_until_up(host, timeout):
    """Wait for systemd's answer; sshd of Debian 13 would penalize failed attempts."""
    words = ["systemctl", "is-system-running", "--wait"]

    def is_up():
        if host.pid is None:
            return False
        state = host.nsenter(words, check=False, timeout=timeout).stdout.strip()
        return state in ("running", "degraded")

    _wait(is_up, timeout, host)


def _wait(condition, timeout, host):
    """Wait for a condition; on a timeout raise an error with the end of the console."""
    deadline = time.monotonic() + timeout
    while True:
        alive = bool(host._pids())
        if condition():
            return
        if not alive or time.monotonic() > deadline:
            console = "\n".join(_read(host.console).splitlines()[-25:])
            raise LabError(
                f"{host.name} {'hangs' if alive else 'has ended'}; its console says:\n{console}"
            )
        time.sleep(0.03)


def _kill(host):
    """Kill the processes in the cgroup of the host, and nothing else."""
    deadline = time.monotonic() + 20
    while groups := [group for group in host._cgroups if group.exists()]:
        if time.monotonic() > deadline:
            raise LabError(f"{host.name}: these processes do not end: {host._pids()}")
        for pid in host._pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        for group in groups:
            for folder, _, _ in os.walk(group, topdown=False):
                with contextlib.suppress(OSError):  # busy until its last process has ended
                    os.rmdir(folder)
        time.sleep(0.02)


def _down(host):
    _kill(host)
    _unmount(host)
    network.unplug(host._namespace, host.address)
    shutil.rmtree(host.home, ignore_errors=True)
    with base.locked(RUN / "lock"):
        (RUN / f"{host.name}.json").unlink(missing_ok=True)
        _leave_network()


def _leave_network():
    """Remove the network if no host is left."""
    if not any(RUN.glob("*.json")):
        network.remove(NETWORK)


def _checked(argv, check, input, timeout):
    done = subprocess.run(argv, capture_output=True, text=True, input=input, timeout=timeout)
    if check and done.returncode:
        raise LabError(f"{shlex.join(argv)}\nstatus {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def _read(path):
    try:
        return path.read_text()
    except OSError:
        return ""


if __name__ == "__main__":
    _watchdog(*sys.argv[1:])

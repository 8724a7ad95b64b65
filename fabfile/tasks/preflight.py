"""TODO."""

from functools import cache

from ..kit.quote import sh
from ..kit.resources import Check
from ..kit.resources.check import clock
from ..resources.installers import MACHINES
from ..settings import setup
from ..settings.derived import apache_ports, prefix

GIB = 1 << 20  # in the kibibytes of /proc/meminfo and df


SUPPORTED = {"debian": ("12", "13"), "ubuntu": ("22.04", "24.04", "26.04")}


@setup()
def preflight(c, s):
    """Find out what would go wrong; changes nothing."""
    yield Check("architecture", "uname -m", architecture)
    yield Check(
        "distribution",
        '. /etc/os-release 2>/dev/null; echo "$ID $VERSION_ID"; ls -d /run/systemd/system 2>/dev/null; :',
        distribution,
    )
    yield Check("memory", "grep -E '^(MemTotal|SwapTotal):' /proc/meminfo", memory)
    yield Check(
        "disk",
        sh("df -Pk / | tail -n 1; ls -d {} 2>/dev/null; :", f"{prefix(s)}/bin/jupyter"),
        disk,
    )
    yield Check("clock", "date +%s", clock)
    yield from ports_are_free(s)
    yield port_check(s.jupyter.port, s.jupyter.name)
    yield Check("apt", APT, lambda output: apt(output, s.apt.lock_timeout))


def architecture(output):
    """Judge the processor: one for which Python's packages are made."""
    machine = output.strip()
    if machine in MACHINES:
        return "", ""
    return f"{machine} is not supported; what is: {', '.join(MACHINES)}", ""


def distribution(output):
    """Judge the release: one whose packages are as the tasks expect them."""
    name, _, rest = output.partition("\n")
    ident, _, version = name.strip().partition(" ")
    if version not in SUPPORTED.get(ident, ()):
        known = ", ".join(
            f"{one} {number}" for one, numbers in SUPPORTED.items() for number in numbers
        )
        return f"{name.strip() or 'an unknown system'} is not supported; what is: {known}", ""
    return (
        ""
        if rest.strip()
        else "systemd does not run here, as it does on a server; containers that lack it will not do"
    ), ""


def memory(output):
    """Judge memory and swap: a Jupyter and a kernel want half a gigabyte."""
    size = sum(int(line.split()[1]) for line in output.splitlines())
    if size < GIB * 45 // 100:
        return (
            f"{size // 1024} MiB of memory and swap; 512 MiB are the least: take a larger server or add swap",
            "",
        )
    return (
        "",
        f"only {size // 1024} MiB of memory and swap; kernels with data want more"
        if size < GIB * 9 // 10
        else "",
    )


def disk(output):
    """Judge the room on /, unless Jupyter is there already."""
    free, installed = int(output.split()[3]), len(output.splitlines()) > 1
    if free < GIB * 3 // 2 and not installed:
        return f"{free // 1024} MiB free on /; 1500 MiB are the least: make room", ""
    return "", f"only {free // 1024} MiB free on /" if free < 3 * GIB else ""


# Who listens is asked of ss; which unit that is, of its cgroup.
PORT = """
    ss -Hltnp "sport = :{}" 2>/dev/null | grep -o '("[^"]*",pid=[0-9]*' | sort -u | while IFS='"=' read -r _ name _ pid; do
        printf '%s %s %s\\n' "$name" "$pid" "$(sed -n 's/.*\\/\\([^/]*\\)\\.service$/\\1/p' "/proc/$pid/cgroup" | head -n 1)"
    done
"""


def ports_are_free(s):
    """Yield the checks that Apache's ports are its own, or nobody's."""
    for port in apache_ports(s):
        yield port_check(port, "apache2")


@cache
def port_check(port, unit):
    """Return the check that nobody but the service *unit* listens on *port*; the same one for all tasks."""
    return Check(f"port {port}", sh(PORT, port), port_judge(port, unit))


def port_judge(port, unit):
    """Return a judge of who listens on *port*, which belongs to the service *unit*."""

    def judge(output):
        for line in output.splitlines():
            name, pid, *of = line.split()
            if unit not in (name, *of):
                service = f" of {of[0]}.service" if of else ""
                return (
                    f"taken by {name} (process {pid}{service}); stop that, or choose another port for it",
                    "",
                )
        return "", ""

    return judge


# /proc/locks has the holder's process and the file's inode; neither fuser nor lsof is on a bare server.
APT = """
    inodes=$(stat -c ' [^ ]*:%i ' /var/lib/dpkg/lock-frontend /var/lib/dpkg/lock /var/lib/apt/lists/lock 2>/dev/null)
    [ -n "$inodes" ] && grep "$inodes" /proc/locks | while read -r _ _ _ _ pid _; do echo "$pid $(cat "/proc/$pid/comm")"; done
    :
"""


def apt(output, patience):
    """Judge who holds the locks of apt: it is waited for *patience* seconds."""
    if not output.strip():
        return "", ""
    pid, name, *_ = output.splitlines()[0].split()
    return (
        "",
        f"{name} (process {pid}) is at work with packages; it is waited for, up to {patience} s",
    )

"""Check whether a server is fit for Jupyter before changing it."""

from functools import cache, partial

from ..kit.quote import script
from ..kit.resources import Check
from ..kit.resources.check import clock, fail, ok, warn
from ..resources.installers import MACHINES
from ..settings import setup
from ..settings.derived import apache_ports, prefix

GIB = 1 << 20  # in the kibibytes of /proc/meminfo and df
SUPPORTED = {"debian": ("12", "13"), "ubuntu": ("22.04", "24.04", "26.04")}

SYSTEM = """
. /etc/os-release 2>/dev/null
echo "$ID $VERSION_ID"
ls -d /run/systemd/system 2>/dev/null; :
"""

DISK = """
df -Pk / | tail -n 1
ls -d "$jupyter" 2>/dev/null; :
"""

# ss tells who listens; the cgroup tells which service that is.
LISTENERS = r"""
ss -Hltnp "sport = :$port" 2>/dev/null | grep -o '("[^"]*",pid=[0-9]*' | sort -u |
    while IFS='"=' read -r _ name _ pid; do
        service=$(sed -n 's/.*\/\([^/]*\)\.service$/\1/p' "/proc/$pid/cgroup" | head -n 1)
        echo "$name $pid $service"
    done
"""

# A bare server has neither fuser nor lsof; /proc/locks has the process and the file's inode.
APT_LOCKS = """
cd /var/lib || exit
inodes=$(stat -c ' [^ ]*:%i ' dpkg/lock-frontend dpkg/lock apt/lists/lock 2>/dev/null)
[ -n "$inodes" ] && grep "$inodes" /proc/locks | while read -r _ _ _ _ pid _; do
    echo "$pid $(cat "/proc/$pid/comm")"
done
:
"""


@setup()
def preflight(c, s):
    """Check the server without changing anything."""
    jupyter = f"{prefix(s)}/bin/jupyter"
    yield Check("architecture", "uname -m", architecture)
    yield Check("distribution", script(SYSTEM), distribution)
    yield Check("memory", "grep -E '^(MemTotal|SwapTotal):' /proc/meminfo", memory)
    yield Check("disk", script(DISK, jupyter=jupyter), disk)
    yield Check("clock", "date +%s", clock)
    yield from ports_are_free(s)
    yield port_check(s.jupyter.port, s.jupyter.name)
    yield Check("apt", script(APT_LOCKS), partial(apt, timeout=s.apt.lock_timeout))


def ports_are_free(s):
    """Yield the checks that no other service listens on Apache's ports."""
    for port in apache_ports(s):
        yield port_check(port, "apache2")


@cache
def port_check(port, service):
    """Return the check that nothing but *service* listens on *port*.

    It is cached, so that the tasks of one plan share one check.
    """
    return Check(f"port {port}", script(LISTENERS, port=port), port_judge(port, service))


def architecture(output):
    """Judge the processor, as ``uname -m`` prints it."""
    machine = output.strip()
    if machine in MACHINES:
        return ok()
    return fail(f"{machine} is not supported; supported are {', '.join(MACHINES)}")


def distribution(output):
    """Judge the distribution and its release, and whether systemd runs."""
    system, _, systemd = output.partition("\n")
    name, _, version = system.strip().partition(" ")
    if version not in SUPPORTED.get(name, ()):
        supported = [f"{name} {version}" for name in SUPPORTED for version in SUPPORTED[name]]
        return fail(
            f"{system.strip() or 'an unknown system'} is not supported;"
            f" supported are {', '.join(supported)}"
        )
    if not systemd.strip():
        return fail("systemd does not run here; use a server or a container that runs systemd")
    return ok()


def memory(output):
    """Judge memory and swap together: Jupyter and one kernel need about half a gigabyte."""
    size = sum(int(line.split()[1]) for line in output.splitlines())
    found = f"{size // 1024} MiB of memory and swap"
    if size < GIB * 45 // 100:
        return fail(f"{found}; at least 512 MiB are needed: use a larger server or add swap")
    if size < GIB * 9 // 10:
        return warn(f"only {found}; kernels that load data need more")
    return ok()


def disk(output):
    """Judge the free space on /; less is needed once Jupyter is installed."""
    free, installed = int(output.split()[3]), len(output.splitlines()) > 1
    if free < GIB * 3 // 2 and not installed:
        return fail(f"{free // 1024} MiB free on /; at least 1500 MiB are needed: free some space")
    if free < 3 * GIB:
        return warn(f"only {free // 1024} MiB free on /")
    return ok()


def port_judge(port, service):
    """Return a judge of who listens on *port*, which belongs to *service*."""

    def judge(output):
        for line in output.splitlines():
            name, pid, *services = line.split()
            if service not in (name, *services):
                of = f" of {services[0]}.service" if services else ""
                other = "" if port in (80, 443) else ", or choose another jupyter.port"
                return fail(f"taken by {name} (process {pid}{of}); stop that service{other}")
        return ok()

    return judge


def apt(output, timeout):
    """Judge who holds apt's locks; apt waits *timeout* seconds for them."""
    if not output.strip():
        return ok()
    pid, name, *_ = output.splitlines()[0].split()
    return warn(f"{name} (process {pid}) holds apt's lock; apt waits for it up to {timeout} s")

"""Questions before the first change, and the proof after the last."""

import json as jsonlib
import socket
import time
from dataclasses import asdict, replace
from functools import cache

from fabric import task
from invoke import Exit

from .installers import MACHINES
from .jupyter import generated_here
from .kit.errors import Problem
from .kit.quote import sh, words
from .kit.report import FAILED, OK, Report, say
from .kit.resources import Check
from .kit.resources.check import clock
from .kit.shell import shell_of
from .kit.task import BAD_REQUEST, writable
from .openssh import check_ssh, ssh_environment
from .options import apache_ports, base_url, names, password, prefix, settings_for, setup
from .pair import CERTIFICATE
from .tunnel import Lost, Tunnel

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
    yield Check("disk", sh("df -Pk / | tail -n 1; ls -d {} 2>/dev/null; :", f"{prefix(s)}/bin/jupyter"), disk)
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
        known = ", ".join(f"{one} {number}" for one, numbers in SUPPORTED.items() for number in numbers)
        return f"{name.strip() or 'an unknown system'} is not supported; what is: {known}", ""
    return ("" if rest.strip() else "systemd does not run here, as it does on a server; containers that lack it will not do"), ""


def memory(output):
    """Judge memory and swap: a Jupyter and a kernel want half a gigabyte."""
    size = sum(int(line.split()[1]) for line in output.splitlines())
    if size < GIB * 45 // 100:
        return f"{size // 1024} MiB of memory and swap; 512 MiB are the least: take a larger server or add swap", ""
    return (
        "",
        f"only {size // 1024} MiB of memory and swap; kernels with data want more" if size < GIB * 9 // 10 else "",
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
                return f"taken by {name} (process {pid}{service}); stop that, or choose another port for it", ""
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
    return "", f"{name} (process {pid}) is at work with packages; it is waited for, up to {patience} s"


@task(
    help={
        "domain": "Name under which to visit the server; empty for tls.domain, or the host as you gave it to -H.",
        "json": "Write the steps to this file, as JSON.",
        "ask_password": "Ask for Jupyter's password here, instead of JUPYTER_PASSWORD.",
    }
)
def verify(c, domain=None, json=None, ask_password=False):
    """Prove that a person can use Jupyter, from here.

    It reaches it as a browser does, logs in, runs a cell and uses a terminal.
    """
    s = check_verify(c, domain, json)
    try:
        given = password("JUPYTER_PASSWORD", ask_password) or next(reversed(generated_here(c)), None)
    except ValueError as error:
        raise Exit(str(error), BAD_REQUEST) from None
    if c.config.run.dry:
        say(f"{c.original_host}  verify would log in and start a kernel and a terminal; it is left out of a dry run")
        return
    report, steps = Report(c.original_host), []
    for step in proof(c, s, given):
        steps.append(asdict(step))
        mend = f"; mend it with: {step.mend}" if step.mend and not step.ok else ""
        report.add("verify", step.name, OK if step.ok else FAILED, step.seconds, detail=f"{step.detail}{mend}")
    if json:
        _verified[c.original_host] = {"host": c.original_host, "ok": all(step["ok"] for step in steps), "steps": steps}
        with open(json, "w", encoding="utf-8") as file:
            jsonlib.dump({"hosts": list(_verified.values())}, file, indent=1)
    if not report.ok:
        raise Exit(code=1)


def check_verify(c, domain=None, json=None, **_):
    """Return the settings of `verify`; raises Exit with status 2 where they are not valid or *json* cannot be written."""
    s = settings_for(c, {"tls.domain": domain})
    if json:
        writable("json", json)
    if s.jupyter.access == "tunnel":
        check_ssh(c)
    return s


verify.check = check_verify
_verified = {}  # by host, so that one file holds them all


# The certificate of a site of the operator's own, as the server itself sees it.
SERVED = "openssl s_client -connect 127.0.0.1:443 -servername {} </dev/null 2>/dev/null | openssl x509"


def proof(c, s, secret):
    """Yield each step from the installed certificate, which SSH tells, to the kernel and the terminal."""
    from .web import APACHE, Site, Step, visit

    access = s.jupyter.access
    theirs = s.apache.site if access == "apache" else ""  # whose plain HTTP is none of our affair
    ports = {"apache": (443, 0 if theirs else 80), "direct": (s.jupyter.port, 0), "tunnel": (0, s.jupyter.port)}[access]
    services = {s.jupyter.name: "configure-jupyter"} | ({"apache2": "install-apache"} if access == "apache" else {})
    asked = words(str(port) for port in ports if port)
    started = time.monotonic()
    try:
        installed, listens, *active = shell_of(c).batch(
            [
                sh(SERVED, names(c, s)[0]) if theirs else sh("cat {}", CERTIFICATE),
                sh('for port in {}; do ss -Hltn "sport = :$port" | grep -q . || exit 1; done', asked),
                *(sh("systemctl is-active {}", name) for name in services),
            ]
        )
    except Problem as error:
        yield Step("server", False, str(error))
        return
    seconds = time.monotonic() - started
    for answer, (name, mend) in zip(active, services.items(), strict=True):
        if not answer.ok:
            yield Step("server", False, f"{name}.service is {answer.out.strip() or 'not there'}", mend, seconds)
            break
    else:
        they = " and ".join(f"{name}.service" for name in services)
        yield Step("server", True, f"{they} {'are' if len(services) > 1 else 'is'} active", "", seconds)
    site = Site(names(c, s)[0], base_url(s) or "/", installed.out if installed.ok else "", *ports)
    up = active[-1].ok and listens.ok
    for step in visit_by_tunnel(c, s, secret) if access == "tunnel" else visit(site, secret):
        if step.name == "reachable" and step.mend and access != "tunnel" and up:
            # Somebody listens there, so what refuses us from here is a firewall.
            step = replace(step, mend="firewall")
        elif step.mend == "harden-ssh" and not up:
            step = replace(step, mend="configure-jupyter")
        elif access != "apache" and step.mend in (APACHE, "install-apache"):
            step = replace(step, mend="issue-cert" if step.name == "certificate" else "configure-jupyter")
        yield step


def visit_by_tunnel(c, s, secret):
    """Yield the steps of a visit at the end of a tunnel, such as the task tunnel opens."""
    from .web import Site, Step, visit

    with socket.create_server(("127.0.0.1", 0)) as one:
        port = one.getsockname()[1]
    line, opened = Tunnel(c, s, port), False
    try:
        with ssh_environment(c) as environment, line.opened(environment):
            opened = True
            yield from visit(Site("localhost", base_url(s) or "/", "", 0, line.port), secret)
    except Lost as lost:  # which also tells that it was closed in the end
        if not opened:
            yield Step("reachable", False, f"no tunnel: {lost}")

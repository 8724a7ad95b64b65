"""Questions before the first change, and the proof after the last."""

import json as jsonlib
import socket
import time
from dataclasses import asdict, replace

from fabric import task
from invoke import Exit

from ..kit.errors import RemoteError
from ..kit.quote import sh, words
from ..kit.report import FAILED, OK, Report, say
from ..kit.shell import shell_of
from ..kit.task import BAD_REQUEST, writable
from ..local.forwarding import Lost, Tunnel
from ..local.openssh import check_ssh, ssh_environment
from ..settings import password, settings_for
from ..settings.certificate import CERTIFICATE
from ..settings.derived import base_url, names
from .jupyter import generated_here


@task(
    help={
        "domain": "Name under which to visit the server; empty for tls.domains, or the host as you gave it to -H.",
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
        given = password("JUPYTER_PASSWORD", ask_password) or next(
            reversed(generated_here(c)), None
        )
    except ValueError as error:
        raise Exit(str(error), BAD_REQUEST) from None
    if c.config.run.dry:
        say(
            f"{c.original_host}  verify would log in and start a kernel and a terminal; it is left out of a dry run"
        )
        return
    report, steps = Report(c.original_host), []
    for step in proof(c, s, given):
        steps.append(asdict(step))
        fix = f"; fix it with: {step.fix}" if step.fix and not step.ok else ""
        report.add(
            "verify",
            step.name,
            OK if step.ok else FAILED,
            step.seconds,
            detail=f"{step.detail}{fix}",
        )
    if json:
        _verified[c.original_host] = {
            "host": c.original_host,
            "ok": all(step["ok"] for step in steps),
            "steps": steps,
        }
        with open(json, "w", encoding="utf-8") as file:
            jsonlib.dump({"hosts": list(_verified.values())}, file, indent=1)
    if not report.ok:
        raise Exit(code=1)


def check_verify(c, domain=None, json=None, **_):
    """Return the settings of `verify`; raises Exit with status 2 where they are not valid or *json* cannot be written."""
    s = settings_for(c, {"tls.domains": domain})
    if json:
        writable("json", json)
    if s.jupyter.access == "tunnel":
        check_ssh(c)
    return s


verify.check = check_verify


_verified = {}  # by host, so that one file holds them all


# The certificate of a site of the operator's own, as the server itself sees it.
SERVED = (
    "openssl s_client -connect 127.0.0.1:443 -servername {} </dev/null 2>/dev/null | openssl x509"
)


def proof(c, s, secret):
    """Yield each step from the installed certificate, which SSH tells, to the kernel and the terminal."""
    from ..local.visit import APACHE, Site, Step, visit

    access = s.jupyter.access
    theirs = s.apache.site if access == "apache" else ""  # whose plain HTTP is none of our affair
    ports = {
        "apache": (443, 0 if theirs else 80),
        "direct": (s.jupyter.port, 0),
        "tunnel": (0, s.jupyter.port),
    }[access]
    services = {s.jupyter.name: "configure-jupyter"} | (
        {"apache2": "install-apache"} if access == "apache" else {}
    )
    asked = words(str(port) for port in ports if port)
    started = time.monotonic()
    try:
        installed, listens, *active = shell_of(c).batch(
            [
                sh(SERVED, names(c, s)[0]) if theirs else sh("cat {}", CERTIFICATE),
                sh(
                    'for port in {}; do ss -Hltn "sport = :$port" | grep -q . || exit 1; done',
                    asked,
                ),
                *(sh("systemctl is-active {}", name) for name in services),
            ]
        )
    except RemoteError as error:
        yield Step("server", False, str(error))
        return
    seconds = time.monotonic() - started
    for answer, (name, fix) in zip(active, services.items(), strict=True):
        if not answer.ok:
            yield Step(
                "server",
                False,
                f"{name}.service is {answer.out.strip() or 'not there'}",
                fix,
                seconds,
            )
            break
    else:
        they = " and ".join(f"{name}.service" for name in services)
        yield Step(
            "server", True, f"{they} {'are' if len(services) > 1 else 'is'} active", "", seconds
        )
    site = Site(names(c, s)[0], base_url(s) or "/", installed.out if installed.ok else "", *ports)
    up = active[-1].ok and listens.ok
    for step in visit_by_tunnel(c, s, secret) if access == "tunnel" else visit(site, secret):
        if step.name == "reachable" and step.fix and access != "tunnel" and up:
            # Somebody listens there, so what refuses us from here is a firewall.
            step = replace(step, fix="firewall")
        elif step.fix == "harden-ssh" and not up:
            step = replace(step, fix="configure-jupyter")
        elif access != "apache" and step.fix in (APACHE, "install-apache"):
            step = replace(
                step, fix="issue-cert" if step.name == "certificate" else "configure-jupyter"
            )
        yield step


def visit_by_tunnel(c, s, secret):
    """Yield the steps of a visit at the end of a tunnel, such as the task tunnel opens."""
    from ..local.visit import Site, Step, visit

    with socket.create_server(("127.0.0.1", 0)) as one:
        port = one.getsockname()[1]
    line, opened = Tunnel(c, s, port), False
    try:
        with ssh_environment(c) as environment, line.opened(environment):
            opened = True
            yield from visit(Site("localhost", base_url(s) or "/", "", 0, line.port), secret)
    except Lost as lost:  # which also tells that it was closed in the end
        if not opened:
            yield Step("reachable", False, f"cannot open the tunnel: {lost}")

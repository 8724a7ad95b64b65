"""Capture what probes print on fresh hosts: python -m tests.samples.capture [NAME ...]

A NAME is KIND/CASE, such as file/absent. Without names, the samples whose probe has changed are
captured. In a sample, `release` says where its output comes from: bookworm, trixie, any (both print
the same) or derived (not captured). `packages` are installed first. `prepare` is shell code that
brings the host into the state of the sample; $ADDRESS is the host's own. A person writes what the
resource is to make of the output, below `expect`.
"""

import hashlib
import itertools
import json
import os
import subprocess
import sys

from fabfile.kit.quote import sh, words
from fabfile.kit.shell import PREAMBLE
from tests.hosts import lab

from . import FOLDER, load, tomllib

INSTALL = (
    "apt-get update -q && "
    "DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "
)
NUMBERS = itertools.count(1)
layers = {}


def host(suite, packages):
    """Boot a fresh host that has these packages."""
    if packages and (suite, packages) not in layers:
        made = lab.up(f"capture-{os.getpid()}-{next(NUMBERS)}", suite, owner=lab.me())
        made.ssh(INSTALL + words(packages))
        layers[suite, packages] = f"capture-{suite}-{'-'.join(packages)}-{os.getpid()}"
        made.keep(layers[suite, packages])
    return lab.up(
        f"capture-{os.getpid()}-{next(NUMBERS)}",
        suite,
        layers.get((suite, packages)),
        owner=lab.me(),
    )


def answer(suite, sample):
    """Return the status and output of the sample's probe on a fresh host."""
    server = host(suite, tuple(sample.get("packages", ())))
    script = PREAMBLE + sh("ADDRESS={}\n", server.address)
    script += f"(set -e\n{sample.get('prepare', ':')}\n) </dev/null >/tmp/said 2>&1 ||\n"
    script += "{ cat /tmp/said >&2; exit 99; }\n"
    script += f"(eval {words([load(sample).probe()])}) </dev/null"
    try:
        done = subprocess.run(
            server.ssh_argv("exec /bin/sh"), input=script.encode(), capture_output=True
        )
    finally:
        server.down()
    if done.returncode in (99, 255):
        sys.exit(f"not prepared: {done.stderr.decode()}")
    return done.returncode, done.stdout.decode().replace(server.address, "192.0.2.10")


def literal(text):
    """Return *text* as a TOML string that a person can read."""
    plain = (
        "\n" in text
        and "'''" not in text
        and all(char == "\n" or char.isprintable() for char in text)
    )
    return f"'''\n{text}'''" if plain else json.dumps(text, ensure_ascii=False)


def main(wanted):
    """Capture the samples that are named, or that are stale."""
    for path in sorted(FOLDER.glob("*/*.toml")):
        text, name = path.read_text(encoding="utf-8"), f"{path.parent.name}/{path.stem}"
        sample = tomllib.loads(text)
        probe = hashlib.sha256(
            f"{load(sample).probe()}{sample.get('prepare')}".encode()
        ).hexdigest()[:12]
        stale = name in wanted if wanted else sample["probe"].get("of") != probe
        if sample["release"] == "derived" or not stale:
            continue
        suites = lab.base.SUITES if sample["release"] == "any" else [sample["release"]]
        answers = {suite: answer(suite, sample) for suite in suites}
        if len(set(answers.values())) > 1:
            sys.exit(f"{name}: the releases differ; make a sample of each: {answers}")
        status, output = answers.popitem()[1]
        head, _, rest = text.partition("[probe]\n")
        table = f'[probe]\nof = "{probe}"\nstatus = {status}\noutput = {literal(output)}\n\n'
        path.write_text(head + table + rest[rest.index("[expect") :], encoding="utf-8")
        print(name, status, flush=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    finally:
        lab.down_all(lab.me())

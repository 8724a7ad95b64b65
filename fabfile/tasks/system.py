"""Update the system's packages, or upgrade to its next release."""

import time
from collections import defaultdict

from fabric import task
from invoke import Exit

from ..kit.errors import RemoteError
from ..kit.host import Host
from ..kit.quote import script
from ..kit.resources import Check
from ..kit.resources.check import fail, ok
from ..kit.terminal import printable, say
from ..resources import PackagesUpgraded, ReleaseUpgraded
from ..resources.apt import NEXT
from ..settings import settings_for, setup
from .jupyter import configure_jupyter
from .python import install_anaconda

REBOOT_TIMEOUT = 600  # seconds
SYSTEM_TIMEOUT = 120  # seconds from the first login until all services have started
BOOT_ID = "cat /proc/sys/kernel/random/boot_id"

# A service that never finishes starting must not keep us waiting.
SYSTEM_STATE = """
state=$(timeout "$timeout" systemctl is-system-running --wait)
echo "${state:-$(systemctl is-system-running)}"
"""

# Prints a fact a line: its kind, a space, and its text.
RELEASE = r"""
. /etc/os-release; echo "system $ID $VERSION_CODENAME"
apt-mark showhold | sed 's/^/held /'
dpkg --audit 2>/dev/null | sed -n 's/^ \([^ ]*\) .*/half-installed \1/p'
df -Pk / | awk 'NR == 2 { print "free", $4 }'
[ ! -e /run/reboot-required ] || echo reboot required
cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null | awk '$1 == "deb" {
    uri = 2
    if ($uri ~ /^\[/) { while ($uri !~ /\]$/) uri++; uri++ }
    print "suite", $(uri + 1), $uri
}'
for file in /etc/apt/sources.list.d/*.sources; do
    [ ! -e "$file" ] ||
        sed -n 's/^Suites: *//p' "$file" | tr -s ' ' '\n' | sed "s#.*#suite & $file#"
done
"""


@setup()
def packages_up_to_date(c, s):
    """Upgrade every package within the release, and remove those that are no longer needed."""
    yield PackagesUpgraded(s.apt.lock_timeout)


@task(
    help={
        "reboot": "Reboot if packages changed or the system requires it; wait until it is up again."
    }
)
def system_update(c, reboot=False):
    """Update all packages.

    Update, upgrade, dist-upgrade, autoremove, without questions; held packages stay.
    """
    check_update(c)
    report = packages_up_to_date(c)
    if not reboot or c.config.run.dry:
        return
    changed = any(
        entry.status == "changed" and entry.task == "packages-up-to-date"
        for entry in report.entries
    )
    try:
        [required] = Host.of(c).shell.batch(["[ -e /run/reboot-required ]"])
        if changed or required.ok:
            say(f"{c.original_host}  reboots")
            seconds, state = rebooted(lambda: Host.of(c).shell)
            say(f"{c.original_host}  is up again after {seconds:.0f} s ({state})")
    except RemoteError as error:
        raise Exit(f"{c.original_host}  {error}", 1) from None


def check_update(c, **_):
    """Raise Exit with status 2 if the settings for `system_update` are invalid."""
    settings_for(c)


system_update.check = check_update


def rebooted(open_shell, timeout=REBOOT_TIMEOUT):
    """Reboot a server and wait until it is up again.

    Args:
        open_shell: returns the server's root shell; called anew after each lost connection.
        timeout: seconds.

    Returns:
        The seconds that it took, and the state of the system, such as "running".

    Raises:
        RemoteError: the server rejects the reboot, or is not up again in time.
    """
    started, shell = time.monotonic(), open_shell()
    order = "systemd-run -q --on-active=1 systemctl reboot"
    before, ordered = shell.batch([BOOT_ID, order], stop=True)
    if not ordered.ok:
        raise RemoteError(f"the reboot failed: {(ordered.err or before.err).strip()}")
    while time.monotonic() - started < timeout:
        shell.close()
        time.sleep(3)
        try:
            shell = open_shell()
            [now] = shell.batch([BOOT_ID])
            if now.out == before.out:
                continue
            [state] = shell.batch([script(SYSTEM_STATE, timeout=SYSTEM_TIMEOUT)])
            return time.monotonic() - started, printable(state.out).strip()
        except RemoteError:
            continue
    raise RemoteError(
        f"the server is not up again {timeout} s after its reboot was ordered; look at its console"
    )


@setup(help={"yes": "Upgrade; make a backup first."})
def release_upgrade(c, s, yes=False):
    """Upgrade to the next release of Debian or Ubuntu.

    Only with --yes. Python is then installed again, so that Jupyter works on the new release.
    """
    if not yes and not c.config.run.dry:
        raise ValueError(
            "release-upgrade changes the whole system: make a backup, read what --dry says, then"
            " run it with --yes"
        )
    yield Check("ready for the next release", script(RELEASE), ready_for_release)
    yield ReleaseUpgraded(s.apt.lock_timeout)
    # The release has a new Python, so a venv is built again.
    yield from install_anaconda.body(c, s)
    yield from configure_jupyter.body(c, s)


def ready_for_release(output):
    """Judge whether the system can be upgraded to its next release."""
    facts = release_facts(output)
    [[distribution, codename]] = (fact.split() for fact in facts["system"])
    if distribution == "debian" and codename not in NEXT:
        return ok()
    if held := facts["held"]:
        return fail(f"packages are held: {' '.join(held)}; run apt-mark unhold for them")
    if broken := facts["half-installed"]:
        return fail(f"packages are half-installed: {' '.join(broken)}; run dpkg --configure -a")
    if distribution == "ubuntu" and facts["reboot"]:
        return fail("Ubuntu's upgrade needs a reboot first; run system-update --reboot")
    foreign = [suite for suite in facts["suite"] if suite.split()[0] not in suites(codename)]
    if distribution == "debian" and foreign:
        return fail(
            f"these package sources are not part of {codename}: {'; '.join(foreign)};"
            " remove them from /etc/apt first"
        )
    free = int(facts["free"][0])
    if free < 3 << 20:
        return fail(f"{free >> 10} MiB free on /; an upgrade needs at least 3 GiB: free some space")
    return ok()


def release_facts(output):
    """Return the facts that RELEASE prints, as a mapping of their kinds to lists of texts."""
    facts = defaultdict(list)
    for line in output.splitlines():
        kind, _, fact = line.partition(" ")
        facts[kind].append(fact)
    return facts


def suites(codename):
    """Return the suites that belong to a Debian release."""
    suffixes = ("", "-updates", "-security", "-backports", "-proposed-updates")
    return {f"{codename}{suffix}" for suffix in suffixes}

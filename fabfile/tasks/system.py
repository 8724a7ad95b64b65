"""The system itself: its packages up to date, its next release."""

import time

from fabric import task
from invoke import Exit

from ..kit.errors import RemoteError
from ..kit.report import say
from ..kit.resources import Check
from ..kit.shell import shell_of
from ..resources import NewRelease, PackagesUpgraded
from ..resources.apt import NEXT
from ..settings import settings_for, setup
from .jupyter import configure_jupyter
from .python import install_anaconda

PATIENCE = 600  # seconds for a server to come back


RELEASE = """
    . /etc/os-release; echo "$ID $VERSION_CODENAME"
    apt-mark showhold | sed 's/^/held /'
    dpkg --audit 2>/dev/null | sed -n 's/^ \\([^ ]*\\) .*/half-installed \\1/p'
    df -Pk / | awk 'NR == 2 {print "room", $4}'
    [ ! -e /run/reboot-required ] || echo reboot due
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
        awk '$1 == "deb" {n = 2; if ($2 ~ /^\\[/) while ($n !~ /\\]$/) n++; n += ($2 ~ /^\\[/); print "suite", $(n + 1), $n}'
    for f in /etc/apt/sources.list.d/*.sources; do
        [ ! -e "$f" ] || sed -n 's/^Suites: *//p' "$f" | tr -s ' ' '\\n' | sed "s#.*#suite & $f#"
    done
"""


@setup()
def packages_up_to_date(c, s):
    """Have every package as new as its release has it, and none that nobody needs."""
    yield PackagesUpgraded(s.apt.lock_timeout)


@task(
    help={
        "reboot": "Reboot afterwards where packages were changed or the system asks for it, wait, and go on."
    }
)
def system_update(c, reboot=False):
    """Bring every package up to date.

    Update, upgrade, dist-upgrade, autoremove; no question is asked, and held packages stay.
    """
    settings_for(c)
    before = packages_up_to_date(c)
    if not reboot or c.config.run.dry:
        return
    changed = any(
        entry.status == "changed" and entry.task == "packages-up-to-date"
        for entry in before.entries
    )
    try:
        [asked] = shell_of(c).batch(["[ -e /run/reboot-required ]"])
        if changed or asked.ok:
            rebooted(c)
    except RemoteError as error:
        raise Exit(f"{c.original_host}  {error}", 1) from None


system_update.check = lambda c, **_: settings_for(c)


def rebooted(c):
    """Reboot the server of *c* and wait until it is up again; raises Problem where it does not come back."""
    began, shell = time.monotonic(), shell_of(c)
    [before] = shell.batch(["cat /proc/sys/kernel/random/boot_id"])
    say(f"{c.original_host}  reboots")
    shell.batch(["systemd-run -q --on-active=1 systemctl reboot"])
    shell.close()
    while True:
        time.sleep(3)
        try:
            boot, state = shell_of(c).batch(
                ["cat /proc/sys/kernel/random/boot_id", "systemctl is-system-running --wait"]
            )
            if boot.out != before.out:
                say(
                    f"{c.original_host}  is up again after {time.monotonic() - began:.0f} s ({state.out.strip()})"
                )
                return
            shell_of(c).close()
        except RemoteError:
            c.close()
            if time.monotonic() - began > PATIENCE:
                raise RemoteError(
                    f"it did not come back within {PATIENCE} s after its reboot; look at its console"
                ) from None


@setup(help={"yes": "Really do it; make a backup first."})
def release_upgrade(c, s, yes=False):
    """Bring the system to its next release.

    Only with --yes; Jupyter works afterwards.
    """
    if not yes and not c.config.run.dry:
        raise ValueError(
            "release-upgrade changes the whole system: make a backup, see what --dry says, and then say --yes"
        )
    yield Check("ready for the next release", RELEASE, ready_for_release)
    yield NewRelease(s.apt.lock_timeout)
    # Another Python came, for which the environment is made anew.
    yield from install_anaconda.body(c, s)
    yield from configure_jupyter.body(c, s)


def ready_for_release(output):
    """Judge what would go wrong in an upgrade of the release: held and half-installed packages, sources of others, no room."""
    head, *lines = output.splitlines()
    name = head.split()[1]
    seen = {}
    for line in lines:
        kind, *rest = line.split(" ", 1)
        seen.setdefault(kind, []).append(*rest)
    if head.split()[0] == "debian" and name not in NEXT:
        return "", ""
    known = {f"{name}{part}" for part in ("", "-updates", "-security", "-backports")} | {
        f"{name}-proposed-updates"
    }
    foreign = [line for line in seen.get("suite", []) if line.split()[0] not in known]
    problems = [
        ("held", "packages are held: {}; apt-mark unhold them"),
        ("half-installed", "packages are half installed: {}; run dpkg --configure -a"),
    ]
    for kind, words in problems:
        if kind in seen:
            return words.format(" ".join(seen[kind])), ""
    if "reboot" in seen and head.split()[0] == "ubuntu":
        return "a reboot is due before Ubuntu's next release: run system-update --reboot first", ""
    if foreign and head.split()[0] == "debian":
        return (
            f"there are sources that are not of {name}: {'; '.join(foreign)}; take them out of /etc/apt first",
            "",
        )
    if int(seen["room"][0]) < 3 << 20:
        return (
            f"{int(seen['room'][0]) >> 10} MiB free on /; 3 GiB are the least for an upgrade: make room",
            "",
        )
    return "", ""

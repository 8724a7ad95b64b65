"""Notebooks pushed to real servers and pulled from there, and the packages of the system."""

import re

import pytest

from .visitor import PASSWORD, eventually

THERE = "/home/jupyter/notebooks"


@pytest.fixture
def folder(tmp_path):
    """A folder of notebooks on this machine."""
    made = tmp_path / "my notebooks"
    (made / "a folder's").mkdir(parents=True)
    (made / "one.ipynb").write_text("one\n")
    (made / "a folder's" / "$two.ipynb").write_text("two\n")
    (made / ".ipynb_checkpoints").mkdir()
    (made / ".ipynb_checkpoints" / "old.ipynb").write_text("old\n")
    return made


def test_notebooks_sync_both_ways_and_newer_ones_stay(hidden, fab, folder, tmp_path):
    def copy(task, *words, where=folder):
        core = [word for word in words if word == "--dry"]
        done = fab(
            hidden, *core, task, "--folder", where, *[w for w in words if w != "--dry"], check=False
        )
        return done.returncode, set(
            re.findall(r"  (changed|would change|newer \S.+kept:) +([^;\n]+)", done.stdout)
        )

    both = {"one.ipynb", "a folder's/$two.ipynb"}
    hidden.ssh("apt-get install -qy rsync", check=True)
    assert copy("push-notebooks", "--dry") == (3, {("would change", name) for name in both})
    assert hidden.ssh(f"ls -A {THERE}").stdout == ""
    assert copy("push-notebooks") == (0, {("changed", name) for name in both})
    assert hidden.ssh(
        f"cd {THERE}; stat -c '%U %n' *.ipynb */*; cat one.ipynb; ls -A"
    ).stdout.splitlines() == [
        *("jupyter one.ipynb", "jupyter a folder's/$two.ipynb", "one", "a folder's", "one.ipynb"),
    ]
    assert copy("push-notebooks") == (0, set())
    # Newer on the server: it stays, and is named.
    hidden.ssh(
        f"cd {THERE}; echo newer >one.ipynb; touch -d tomorrow one.ipynb; echo three >three",
        user="jupyter",
    )
    (folder / "one.ipynb").write_text("mine\n")
    status, said = copy("push-notebooks")
    assert (status, said) == (1, {("newer on the server, kept:", "one.ipynb")})
    assert hidden.ssh(f"cat {THERE}/one.ipynb {THERE}/three").stdout == "newer\nthree\n"
    other = tmp_path / "pulled"
    assert copy("pull-notebooks", where=other) == (
        0,
        {("changed", name) for name in both | {"three"}},
    )
    assert (other / "one.ipynb").read_text() == "newer\n"
    assert copy("push-notebooks", "--overwrite") == (0, {("changed", "one.ipynb")})
    assert hidden.ssh(f"cat {THERE}/one.ipynb {THERE}/three").stdout == "mine\nthree\n"
    assert copy("push-notebooks", "--delete", "--dry") == (3, {("would change", "three")})
    assert copy("push-notebooks", "--delete") == (0, {("changed", "three")})
    assert hidden.ssh(f"ls {THERE}").stdout.splitlines() == ["a folder's", "one.ipynb"]
    newer_here = {("newer here, kept:", "one.ipynb")}
    assert copy("pull-notebooks", where=other) == (1, newer_here)
    assert (other / "three").exists()
    assert copy("pull-notebooks", "--delete", where=other) == (
        1,
        {("changed", "three"), *newer_here},
    )
    assert not (other / "three").exists()
    assert copy("push-notebooks", where=tmp_path / "nowhere") == (2, set())


def test_missing_rsync_is_installed(hidden, fab, folder):
    hidden.ssh("apt-get remove -qy rsync", check=False)
    done = fab(hidden, "push-notebooks", "--folder", folder)
    assert "Package rsync" in done.stdout
    assert hidden.ssh(f"ls {THERE}").stdout.splitlines() == [
        "a folder's",
        "one.ipynb",
    ]


def test_system_update_asks_nothing_and_can_reboot(hidden, fab, tunnel):
    # An older package, a held one, an unneeded one, and what the tutorial warns of.
    hidden.ssh("""
        set -e; export DEBIAN_FRONTEND=noninteractive
        mkdir -p /tmp/p/DEBIAN
        printf '%s\\n' 'Package: tree' 'Version: 0.1' 'Architecture: all' 'Maintainer: x' \\
            'Description: x' >/tmp/p/DEBIAN/control
        dpkg-deb -b /tmp/p /tmp/tree.deb; dpkg -i /tmp/tree.deb
        sed -i 's/: tree/: figlet/' /tmp/p/DEBIAN/control
        dpkg-deb -b /tmp/p /tmp/figlet.deb; dpkg -i /tmp/figlet.deb
        apt-mark hold figlet; apt-get install -qy libjansson4; apt-mark auto libjansson4
        touch /etc/apt/apt.conf.d/50unattended-upgrades.ucf-old
    """)
    dry = fab(hidden, "--dry", "system-update", check=False)
    assert dry.returncode == 3
    assert "upgrade: tree" in dry.stdout
    assert "remove: libjansson4" in dry.stdout
    assert hidden.ssh("dpkg-query -W -f '${Version}' tree").stdout == "0.1"
    first = fab(hidden, "system-update")
    assert "changed      PackagesUpgraded" in first.stdout
    assert hidden.ssh("dpkg-query -W -f '${Version}' tree").stdout != "0.1"
    assert hidden.ssh("dpkg-query -W -f '${Version}' figlet").stdout == "0.1"
    assert (
        hidden.ssh("ls /etc/apt/apt.conf.d/*ucf-old; dpkg -s libjansson4", check=False).stdout == ""
    )
    second = fab(hidden, "system-update")
    assert "changed=0" in second.stdout
    assert "1 round trip" in second.stdout
    assert "held packages stay: figlet" in second.stdout
    assert fab(hidden, "system-update", "--reboot").stdout.count("reboots") == 0
    hidden.ssh("touch /run/reboot-required")
    asked, env = (
        "cat /proc/sys/kernel/random/boot_id",
        {"FABRIC_REMOTE_JUPYTER_JUPYTER_ACCESS": "tunnel"},
    )
    before = hidden.ssh(asked).stdout
    rebooted = fab(hidden, "system-update", "--reboot", "logs", env=env)
    assert re.search(
        r"reboots\n.*is up again after \d+ s.*Started jupyter.service", rebooted.stdout, re.S
    ), rebooted.stdout
    assert before != hidden.ssh(asked).stdout
    assert eventually(
        lambda: (
            hidden.ssh("curl -sf http://127.0.0.1:8888/jupyter/api", check=False).returncode == 0
        )
    )
    with tunnel(hidden, "--no-browser") as opened:
        assert opened.visitor().log_in(PASSWORD) == 302

"""A server becomes the next release of Debian, and Jupyter works afterwards."""

import pytest

from .visitor import PASSWORD, eventually

TUNNEL = {"jupyter.access": "tunnel"}


@pytest.mark.usefixtures("lab")
def test_jupyter_works_after_upgrade_from_debian_12_to_13(tunnelled, new_host, run, tunnel):
    host = new_host("bookworm", lower=tunnelled("bookworm"))
    host.ssh(
        "touch /etc/apt/apt.conf.d/50unattended-upgrades.ucf-old;"
        " echo kept >/home/jupyter/notebooks/kept.ipynb"
    )
    refused = run(host, "release-upgrade", check=False, settings=TUNNEL)
    assert refused.status == 2
    assert "run it with --yes" in refused.err
    other = "/etc/apt/sources.list.d/other.list"
    host.ssh(f"apt-mark hold curl; echo 'deb http://other.example/ stable main' >{other}")
    for why, fix in (
        ("held: curl", "apt-mark unhold curl"),
        ("stable http://other.example/", f"rm {other}"),
    ):
        refused = run(host, "release-upgrade", "--yes", check=False, settings=TUNNEL)
        assert refused.status == 1
        assert refused.changed == set()
        assert why in refused.text
        host.ssh(fix)
    foretold = run(host, "release-upgrade", "--dry", check=False, settings=TUNNEL)
    assert foretold.status == 3
    assert foretold.having("would change") == {"ReleaseUpgraded"}

    done = run(host, "release-upgrade", "--yes", settings=TUNNEL)
    assert {
        "ReleaseUpgraded",
        "Venv /home/jupyter/jupyter-env",
        "PipPackages jupyterlab notebook",
        "restart jupyter",
    } <= done.changed
    assert host.ssh(". /etc/os-release; echo $VERSION_CODENAME").stdout == "trixie\n"
    assert (
        host.ssh(
            "grep -rhs bookworm /etc/apt/sources.list /etc/apt/sources.list.d", check=False
        ).stdout
        == ""
    )
    assert host.ssh("ls /etc/apt/apt.conf.d/*.ucf-old", check=False).stdout == ""
    assert run(host, "release-upgrade", "--yes", settings=TUNNEL).is_calm
    host.reboot()
    assert eventually(
        lambda: host.ssh("curl -sf http://127.0.0.1:8888/jupyter/api", check=False).returncode == 0,
        60,
    )
    with tunnel(host, "--no-browser") as opened:
        visitor = opened.visitor()
        assert visitor.log_in(PASSWORD) == 302
        assert visitor.compute("import sys; sys.version_info[:2]") == "(3, 13)"
    assert host.ssh("cat /home/jupyter/notebooks/kept.ipynb").stdout == "kept\n"
    assert run(host, "tunnel-setup").having("failed") == set()

"""Packages of others: their configuration files and the services that use them."""

import pytest

# Version 2 brings another configuration file than the one that version 1 brought and ada changed.
HALF_CONFIGURED = """
set -e
for version in 1 2; do
    mkdir -p /root/$version/DEBIAN /root/$version/etc
    echo "of version $version" >/root/$version/etc/theirs.conf
    echo /etc/theirs.conf >/root/$version/DEBIAN/conffiles
    printf '%s\\n' 'Package: theirs' "Version: $version" 'Architecture: all' \\
        'Maintainer: ada <ada@example.org>' 'Description: theirs' >/root/$version/DEBIAN/control
    dpkg-deb --build /root/$version >/dev/null
done
dpkg --install /root/1.deb
echo "of ada" >/etc/theirs.conf
dpkg --unpack /root/2.deb
"""

# The program of the running service is replaced, as an upgrade replaces it.
STALE_JUPYTER = """
set -e
apt-get -qq update
NEEDRESTART_SUSPEND=1 apt-get -qq install --no-install-recommends needrestart >/dev/null
cp /usr/bin/sleep /usr/bin/jupyter-of-ada
printf '[Service]\\nType=exec\\nExecStart=/usr/bin/jupyter-of-ada infinity\\n' \\
    >/etc/systemd/system/jupyter.service
systemctl start jupyter
cp /usr/bin/jupyter-of-ada /usr/bin/new
mv /usr/bin/new /usr/bin/jupyter-of-ada
"""


@pytest.fixture
def firewall(host, fab):
    """Run `fab firewall` on the host, which installs ufw."""
    return lambda: fab(host, "firewall", check=False, timeout=200)


def test_half_configured_package_keeps_its_changed_file(host, firewall):
    host.ssh(HALF_CONFIGURED)
    run = firewall()
    assert run.returncode == 0, run.stdout + run.stderr
    assert host.ssh("cat /etc/theirs.conf").stdout == "of ada\n"
    assert host.ssh("dpkg-query -W -f '${Status}' theirs").stdout == "install ok installed"


def test_packages_restart_no_service_that_uses_old_code(host, firewall):
    host.ssh(STALE_JUPYTER)
    before = host.ssh("systemctl show -P MainPID jupyter").stdout
    run = firewall()
    assert run.returncode == 0, run.stdout + run.stderr
    assert host.ssh("systemctl show -P MainPID jupyter").stdout == before
    [notice] = [line for line in run.stdout.splitlines() if "still run old code" in line]
    assert "jupyter.service" in notice
    assert "restart them when it suits you" in notice

"""Each kind of access, and changes from one to another: what the old one opened is closed."""

import re
import socket

import pytest

from .visitor import PASSWORD, Visitor

CERTIFICATE = "/etc/remote-jupyter/tls/cert.pem"
SITE = "/etc/apache2/sites-available/jupyter.conf"
PART = "/etc/apache2/remote-jupyter/jupyter.inc"
TLS = "/etc/apache2/conf-available/zz-remote-jupyter-tls.conf"
CONFIG = "/home/jupyter/.jupyter/jupyter_server_config.py"
NOTEBOOK = "/home/jupyter/notebooks/kept.ipynb"


def open_to_all(host):
    """Return the TCP ports that are open to other machines."""
    listening = host.ssh("ss -Hltn").stdout.splitlines()
    addresses = {line.split()[3].rpartition(":")[::2] for line in listening}
    return {
        int(port)
        for address, port in addresses
        if address.split("%")[0] not in ("127.0.0.1", "[::1]")
    }


def let_in(host):
    """Return the rules of the firewall, or None if it is off."""
    status = host.ssh("ufw status").stdout
    return (
        set(re.findall(r"^(\S+) +ALLOW +Anywhere", status, re.M))
        if "Status: active" in status
        else None
    )


def by_https(host):
    """Return a visitor who trusts the certificate of the server."""
    return Visitor(host.address, host.ssh(f"cat {CERTIFICATE}").stdout)


def test_tunnel_setup_opens_only_ssh(hidden, oracle, run):
    seen = oracle(hidden)
    assert not seen.package("apache2").is_installed
    assert (open_to_all(hidden), let_in(hidden)) == ({22}, {"22/tcp"})
    pid = seen.service("jupyter").systemd_properties["MainPID"]
    listening = seen.check_output("ss -Hltnp").splitlines()
    assert [line.split()[3] for line in listening if f"pid={pid}," in line] == ["127.0.0.1:8888"]
    settings = hidden.ssh(f"cat {CONFIG}").stdout
    assert "allow_remote_access" not in settings
    assert "trust_xheaders = False" in settings
    hidden.ssh("systemctl stop jupyter")
    assert run(hidden, "tunnel-setup").changed == {"Service jupyter"}
    assert run(hidden, "tunnel-setup").is_calm


def test_from_tunnel_to_apache_and_back_beside_another_site(hidden, run, tunnel, oracle, fab):
    hidden.ssh(f"runuser -u jupyter -- sh -c 'echo kept >{NOTEBOOK}'")
    hash_before = hidden.ssh("cat /home/jupyter/.jupyter/password-hash").stdout

    there = run(hidden, "full-setup")
    opened = {"ApacheSite jupyter", "UfwRule 80", "UfwRule 443"}
    assert {*opened, f"File {SITE}", f"File {CONFIG}", "restart jupyter"} < there.changed
    assert (open_to_all(hidden), let_in(hidden)) == ({22, 80, 443}, {"22/tcp", "80/tcp", "443/tcp"})
    assert by_https(hidden).log_in(PASSWORD) == 302
    assert (
        f"shown https://{hidden.address}/jupyter/\n"
        in fab(hidden, "open", env={"BROWSER": "echo shown %s"}).stdout
    )
    assert run(hidden, "full-setup").is_calm

    foretold = run(hidden, "tunnel-setup", "--dry", check=False)
    back = run(hidden, "tunnel-setup")
    closed = {f"FileAbsent {path}" for path in (PART, SITE, TLS)}
    closed |= {"ApacheDisabled", "UfwOnly", f"File {CONFIG}", "restart jupyter"}
    assert (foretold.status, foretold.having("would change")) == (3, closed)
    assert back.changed == closed
    assert (open_to_all(hidden), let_in(hidden)) == ({22}, {"22/tcp"})
    with pytest.raises(OSError):
        socket.create_connection((hidden.address, 443), 2)
    left = hidden.ssh(
        "grep -rls 'Made by remote-jupyter' /etc/apache2 /etc/ufw; find /etc/apache2 -xtype l",
        check=False,
    )
    assert left.stdout == ""
    assert not oracle(hidden).service("apache2").is_enabled
    assert (
        hidden.ssh(f"cat {NOTEBOOK} /home/jupyter/.jupyter/password-hash").stdout
        == f"kept\n{hash_before}"
    )
    assert run(hidden, "tunnel-setup").is_calm
    with tunnel(hidden, "--no-browser") as opened:
        assert opened.visitor().log_in(PASSWORD) == 302

    # And again to Apache, whose certificate and modules are there already.
    again = run(hidden, "full-setup")
    wanted = {"Service apache2", *(f"File {path}" for path in (PART, SITE, TLS))}
    wanted |= {"ApacheSite jupyter", "ApacheConf zz-remote-jupyter-tls"}
    wanted |= {"UfwRule 80", "UfwRule 443", f"File {CONFIG}", "restart jupyter", "reload apache2"}
    assert again.changed == wanted
    assert by_https(hidden).log_in(PASSWORD) == 302
    assert run(hidden, "full-setup").is_calm

    # Another site keeps working after ours is removed.
    page = "/etc/apache2/sites-available/theirs.conf"
    site = "ServerName theirs.example\nDocumentRoot /srv\n"
    site += "<Directory /srv>\nRequire all granted\n</Directory>"
    hidden.ssh(f"cat >{page}", input=f"<VirtualHost *:80>\n{site}\n</VirtualHost>\n")
    hidden.ssh("echo theirs >/srv/index.html; a2ensite -q theirs; systemctl reload apache2")
    back = run(hidden, "tunnel-setup")
    assert "ApacheDisabled" not in back.changed
    assert f"FileAbsent {SITE}" in back.changed
    assert "reload apache2" in back.changed
    assert oracle(hidden).service("apache2").is_running
    # And is reached from anywhere, as the operator is told.
    assert let_in(hidden) == {"22/tcp", "80/tcp", "443/tcp"}
    assert back.having("warning", task="firewall") == {"UfwOnly"}
    assert "80, 443 stay open for what is not ours: sites-enabled/theirs.conf" in back.text
    assert (
        Visitor(hidden.address, base="").ask("GET", "/index.html", Host="theirs.example").text
        == "theirs\n"
    )
    assert run(hidden, "tunnel-setup").changed == set()
    assert (
        hidden.ssh("curl -ks -o /dev/null https://127.0.0.1/jupyter/api", check=False).returncode
        != 0
    )
    hidden.ssh(f"a2dissite -q theirs; rm {page}; systemctl reload apache2")
    assert run(hidden, "tunnel-setup").changed == {"ApacheDisabled", "UfwOnly"}
    assert let_in(hidden) == {"22/tcp"}


def test_another_firewall_is_not_removed(new_host, tunnelled, run):
    host = new_host("bookworm", lower=tunnelled("bookworm"))
    host.nsenter(
        "ufw disable; apt-get purge -qy ufw;"
        " DEBIAN_FRONTEND=noninteractive apt-get install -qy iptables-persistent"
    )
    rules = host.nsenter("cat /etc/iptables/rules.v4").stdout
    for name in ("firewall", "full-setup"):
        refused = run(host, name, check=False)
        assert refused.status == 1
        assert refused.changed == set()
        assert "apt would remove iptables-persistent" in refused.text
    # Where apt knows of no packages yet, it is apt itself that is told to remove nothing.
    host.nsenter("rm -r /var/lib/apt/lists; mkdir -p /var/lib/apt/lists/partial")
    refused = run(host, "firewall", check=False)
    assert refused.status == 1
    assert refused.changed == set()
    assert "iptables-persistent" in refused.text
    assert (
        host.nsenter("cat /etc/iptables/rules.v4; dpkg -s iptables-persistent >/dev/null").stdout
        == rules
    )
    assert run(host, "tunnel-setup", settings={"firewall.enabled": "no"}).status == 0

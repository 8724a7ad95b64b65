"""Several Jupyters on one server, each interface in a browser, and Jupyter below another site."""

import json
import re

import pytest
from selenium.webdriver import Keys

from . import browser
from .visitor import PASSWORD, Visitor, eventually

ADA = {
    "user.name": "ada",
    "jupyter.name": "jupyter-ada",
    "jupyter.port": 8889,
    "jupyter.base_url": "/ada",
}
NOTEBOOK = {"jupyter.interface": "notebook"}
PARTS = "/etc/apache2/remote-jupyter"
INCLUDE = f"IncludeOptional {PARTS}/*.inc"
SITE = "/etc/apache2/sites-available/jupyter.conf"


def certificate(host):
    """Return the certificate that Apache serves, read over SSH."""
    return host.ssh(
        "openssl s_client -connect 127.0.0.1:443 </dev/null 2>/dev/null | openssl x509"
    ).stdout


def test_two_users_share_one_apache(hidden, run):
    assert run(hidden, "full-setup").status == 0
    one = Visitor(hidden.address, certificate(hidden))
    assert one.log_in(PASSWORD) == 302
    kernel = json.loads(one.ask("POST", "/api/kernels", "{}").text)["id"]
    assert one.compute_in(kernel, "x = 42; x") == "42"

    clash = run(hidden, "full-setup", check=False, settings={"user.name": "ada"})
    assert clash.status == 1
    assert "the service belongs to jupyter; a second Jupyter on this server needs" in clash.text
    clash = run(
        hidden, "configure-apache", check=False, settings=ADA | {"jupyter.base_url": "/jupyter/ada"}
    )
    assert clash.status == 1
    assert "the Jupyter jupyter already has the path /jupyter" in clash.text
    clash = run(hidden, "full-setup", check=False, settings=ADA | {"jupyter.port": 8888})
    assert clash.status == 1
    assert re.search(r"taken by jupyter-lab \(process \d+ of jupyter.service\)", clash.text)

    both = run(hidden, "full-setup", settings=ADA, JUPYTER_PASSWORD="ada's own")
    assert {
        "User ada",
        "Service jupyter-ada",
        f"File {PARTS}/jupyter-ada.inc",
        "reload apache2",
    } < both.changed
    assert not {f"File {SITE}", "restart jupyter"} & both.changed
    other = Visitor(hidden.address, certificate(hidden), base="/ada")
    assert (other.log_in("ada's own"), other.log_in(PASSWORD)) == (302, 401)
    assert other.log_in("ada's own") == 302
    assert other.compute("import getpass; getpass.getuser()") == "'ada'"
    assert one.compute_in(kernel, "x") == "42"  # nothing of the other one was touched
    # sshd forwards to both, whichever of them was set up last.
    own = {"settings": ADA, "JUPYTER_PASSWORD": "ada's own"}
    assert run(hidden, "full-setup").is_calm
    assert run(hidden, "full-setup", **own).is_calm
    opened = hidden.ssh(
        "sshd -T -C user=ada,host=x,addr=127.0.0.1 | grep permitopen"
    ).stdout.split()[1:]
    assert {*opened} == {
        f"{name}:{port}" for name in ("localhost", "127.0.0.1") for port in (8888, 8889)
    }

    leaves = run(hidden, "tunnel-setup", check=False)
    assert leaves.status == 1
    assert (
        "Apache also serves jupyter-ada; give all Jupyters of this server the same" in leaves.text
    )
    hidden.ssh("systemctl stop jupyter-ada")
    restarted = run(hidden, "configure-jupyter", settings=ADA, JUPYTER_PASSWORD="ada's own")
    assert restarted.changed == {"Service jupyter-ada"}


@pytest.mark.skipif(bool(browser.MISSING), reason=f"not installed: {', '.join(browser.MISSING)}")
def test_notebook_in_a_browser_through_the_tunnel(hidden, run, tunnel, tmp_path):
    changed = run(
        hidden, "configure-jupyter", settings=NOTEBOOK | {"jupyter.access": "tunnel"}
    ).changed
    assert changed == {"File /etc/systemd/system/jupyter.service", "restart jupyter"}
    with (
        tunnel(hidden, "--no-browser") as opened,
        browser.chromium(tmp_path / "person", "localhost", None) as person,
    ):
        person.driver.get(f"http://localhost:{opened.port}/jupyter/")
        person.see("#password_input").send_keys(PASSWORD, Keys.ENTER)
        person.wait(lambda: "/jupyter/tree" in person.driver.current_url)
        person.see(".jp-DirListing-content, .jp-FileBrowser")
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
        source = {"cells": [], "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
        hidden.ssh(
            "runuser -u jupyter -- sh -c 'cat >/home/jupyter/notebooks/new.ipynb'",
            input=json.dumps(source),
        )
        person.driver.get(f"http://localhost:{opened.port}/jupyter/notebooks/new.ipynb")
        person.read("body", "Python 3")
        person.click(".jp-Notebook .cm-content")
        person.wait(
            lambda: person.driver.find_elements(
                "css selector", '.jp-Notebook-ExecutionIndicator[data-status="idle"]'
            )
        )
        person.type("6*7")
        person.type(Keys.ENTER, holding=[Keys.SHIFT])
        person.read(".jp-OutputArea-executeResult pre", "42")


THEIRS = """<VirtualHost *:443>
    ServerName {name}
    DocumentRoot /srv/www
    <Directory /srv/www>
        Require all granted
    </Directory>
    SSLEngine on
    SSLCertificateFile /srv/cert.pem
    SSLCertificateKeyFile /srv/key.pem
</VirtualHost>
"""
MAKE = """
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q; apt-get install -qy --no-install-recommends apache2 openssl
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 90 -subj /CN=x \
        -addext "subjectAltName=IP:$(hostname -I | cut -d' ' -f1)" \
        -keyout /srv/key.pem -out /srv/cert.pem
    mkdir /srv/www; echo theirs >/srv/www/index.html
    cat >/etc/apache2/sites-available/theirs.conf
    chmod 0640 /etc/apache2/sites-available/theirs.conf
    a2enmod -q ssl; a2ensite -q theirs; systemctl restart apache2
"""


def test_jupyter_below_another_site(hidden, run, fab):
    text = THEIRS.format(name=hidden.address)
    hidden.ssh(f"set -e\n{MAKE}", input=text)
    theirs = "/etc/apache2/sites-available/theirs.conf"
    for name, why in (
        ("absent", "there is no enabled site absent"),
        ("000-default", "has no virtual host with SSLEngine on"),
    ):
        refused = run(hidden, "full-setup", check=False, settings={"apache.site": name})
        assert refused.status == 1, refused.text
        assert why in refused.text, refused.text
        assert refused.changed == set(), refused.text
    mounted = {"apache.site": "theirs"}
    first = run(hidden, "full-setup", settings=mounted)
    assert {"ApacheInclude theirs", f"File {PARTS}/jupyter.inc", "reload apache2"} < first.changed
    assert not hidden.ssh(f"ls {SITE} /etc/remote-jupyter/tls", check=False).stdout
    assert (
        hidden.ssh(f"cat {theirs}; stat -c %a {theirs}").stdout
        == text.replace("</Virtual", f"    {INCLUDE}\n</Virtual") + "640\n"
    )
    visitor = Visitor(hidden.address, hidden.ssh("cat /srv/cert.pem").stdout)
    assert visitor.log_in(PASSWORD) == 302
    assert visitor.compute("6*7") == "42"
    assert "42x" in visitor.type_in_terminal("echo $((6*7))x\r", until="42x")
    assert visitor.ask("GET", "/api", Host="evil.example").status == 403
    root = Visitor(hidden.address, hidden.ssh("cat /srv/cert.pem").stdout, base="")
    assert root.ask("GET", "/").text == "theirs\n"
    assert run(hidden, "full-setup", settings=mounted).is_calm
    env = {"JUPYTER_PASSWORD": PASSWORD, "FABRIC_REMOTE_JUPYTER_APACHE_SITE": "theirs"}
    verified = fab(hidden, "verify", env=env, check=False)
    # Their site does not redirect plain HTTP to HTTPS, and that is theirs to decide.
    assert verified.returncode == 0, verified.stdout
    assert "redirect" not in verified.stdout, verified.stdout
    hidden.ssh(f"sed -i '/remote-jupyter/d' {theirs}; systemctl reload apache2")
    assert run(hidden, "full-setup", settings=mounted).changed == {
        "ApacheInclude theirs",
        "reload apache2",
    }
    # And away again: their site is as it was, and goes on.
    gone = run(hidden, "tunnel-setup")
    assert {"ApacheInclude nowhere", f"FileAbsent {PARTS}/jupyter.inc"} < gone.changed
    assert hidden.ssh(f"cat {theirs}").stdout == text
    assert root.ask("GET", "/").text == "theirs\n"  # the firewall lets in to it as before
    again = run(hidden, "tunnel-setup")
    assert (again.changed, again.having("warning")) == (set(), {"UfwOnly"})
    assert again.trips == 1


def test_taken_apache_port_is_found_before_the_first_change(hidden, run):
    hidden.ssh("systemd-run -q --unit=other-web -p Type=exec python3 -m http.server 443")
    assert eventually(lambda: hidden.ssh("ss -Hltn | grep -q :443", check=False).returncode == 0)
    for task in ("full-setup", "install-apache"):
        refused = run(hidden, task, check=False)
        assert refused.status == 1
        assert refused.changed == set()
        assert re.search(
            r"Check port 443: taken by python3 \(process \d+ of other-web.service\)", refused.text
        )

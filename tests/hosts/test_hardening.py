"""What weakens a converged server is found, and attacks on root's view of it fail."""

FAKE_SSHD = """
import ctypes, socket, time
ctypes.CDLL(None).prctl(15, b"sshd")
listener = socket.socket()
listener.bind(("0.0.0.0", 4444))
listener.listen()
time.sleep(600)
"""


def test_a_process_named_sshd_opens_no_port(server, run):
    server.ssh("cat >/run/fake-sshd.py", input=FAKE_SSHD)
    start = "systemd-run -q --unit=fake-sshd -p User=nobody python3 /run/fake-sshd.py"
    server.ssh(start)
    try:
        server.ssh("until ss -Hltn | grep -q :4444; do sleep 0.1; done", timeout=20)
        assert '"sshd"' in server.ssh("ss -Hltnp | grep :4444").stdout
        assert run(server, "firewall").is_calm
        assert "4444" not in server.ssh("ufw status").stdout
    finally:
        server.ssh("systemctl stop fake-sshd; rm /run/fake-sshd.py")


def test_ufw_filters_ipv6_again(server, run):
    server.ssh("sed -i 's/^IPV6=.*/IPV6=no/' /etc/default/ufw && ufw --force enable")
    before = server.ssh("grep -v ^IPV6= /etc/default/ufw").stdout
    assert "UfwIpv6" in run(server, "firewall").changed
    assert server.ssh("grep ^IPV6= /etc/default/ufw").stdout == "IPV6=yes\n"
    assert server.ssh("grep -v ^IPV6= /etc/default/ufw").stdout == before
    assert "--dport 443" in server.ssh("ip6tables -S ufw6-user-input").stdout
    assert run(server, "firewall").is_calm


def test_a_rule_that_lacks_ipv6_is_completed(server, run):
    server.ssh("sed -i '/tuple.* 443 /d; /--dport 443 /d' /etc/ufw/user6.rules && ufw reload")
    assert run(server, "firewall").changed == {"UfwRule 443"}
    assert "--dport 443" in server.ssh("ip6tables -S ufw6-user-input").stdout
    assert run(server, "firewall").is_calm


def test_match_localport_is_no_obstacle(server, run):
    config = "/etc/ssh/sshd_config"
    server.ssh(f"cp -p {config} /run/sshd_config")
    match = "Match LocalPort 2222 LocalAddress 192.0.2.1\\n    X11Forwarding no\\n"
    server.ssh(f"printf '{match}' >>{config} && systemctl reload ssh")
    try:
        assert run(server, "harden-ssh").is_calm
    finally:
        server.ssh(f"cp -p /run/sshd_config {config} && systemctl reload ssh")


def test_browsers_forget_a_self_signed_certificate_soon(server):
    # The certificate covers the address, the name by which the lab knows the server.
    ask = f"curl -skI https://{server.address}/jupyter/login"
    assert "Strict-Transport-Security: max-age=300\n" in server.ssh(ask).stdout

"""The network of the lab: a bridge, an nft table, and a namespace with a veth for each host."""

import ipaddress
import json
import random
import subprocess
from pathlib import Path

BRIDGE = "rjlab"
TABLE = "remote_jupyter_lab"
RANGES = ("10.199.0.0/16", "172.29.0.0/16", "10.231.0.0/16", "192.168.0.0/16")
SYSCTL = {
    "net/ipv4/ip_forward": 1,
    "fs/inotify/max_user_instances": 1024,  # a host takes about eight of the usual 128
}
# Written again each time: deleting what is not there is an error, so it is added first.
RULES = """
add table ip {table}
delete table ip {table}
table ip {table} {{
    chain out {{
        type nat hook postrouting priority srcnat
        ip saddr {network} oifname != "{bridge}" masquerade
    }}
}}
"""


def ensure(state):
    """Add the bridge and the masquerading if missing; *state* keeps the settings from before."""
    if not state.exists():
        before = {name: _sysctl(name).read_text() for name in SYSCTL}
        state.write_text(json.dumps({"range": _free_range(), "sysctl": before}))
    network = subnet(state)
    for name, value in SYSCTL.items():
        if int(_sysctl(name).read_text()) < value:
            _sysctl(name).write_text(str(value))
    if not Path("/sys/class/net", BRIDGE).exists():
        # A bridge without its own MAC takes that of a port, which changes as hosts come and go.
        run("ip", "link", "add", BRIDGE, "address", "02:00:00:00:00:01", "type", "bridge")
        run("ip", "address", "add", f"{gateway(network)}/{network.prefixlen}", "dev", BRIDGE)
        run("ip", "link", "set", BRIDGE, "up")
    rules = RULES.format(table=TABLE, network=network, bridge=BRIDGE)
    run("nft", "--file", "-", input=rules)


def remove(state):
    """Remove the bridge and the masquerading, and restore the machine's settings."""
    if not state.exists():
        return
    run("ip", "link", "delete", BRIDGE, check=False)
    run("nft", "delete", "table", "ip", TABLE, check=False)
    for name, value in json.loads(state.read_text())["sysctl"].items():
        _sysctl(name).write_text(value)
    state.unlink()


def subnet(state):
    """Return the range of the lab's addresses."""
    return ipaddress.ip_network(json.loads(state.read_text())["range"])


def gateway(network):
    """Return the operator's address on the bridge."""
    return network[1]


def free_address(network, taken):
    """Return a random address, so that one that is in a known_hosts file rarely comes back."""
    while (address := str(network[random.randrange(256, network.num_addresses - 256)])) in taken:
        pass
    return address


def plug(namespace, address, network):
    """Create the network namespace of a host, with an interface that has its address."""
    # The MAC follows from the address: when an address comes back, no ARP entry of it is stale.
    number = f"{int(ipaddress.ip_address(address)):08x}"
    mac = "02:00:" + ":".join(number[i : i + 2] for i in range(0, 8, 2))
    inside = ("ip", "-netns", namespace)
    run("ip", "netns", "add", namespace)
    peer = ("peer", "name", "eth0", "address", mac, "mtu", _mtu(), "netns", namespace)
    run("ip", "link", "add", veth(address), "mtu", _mtu(), "type", "veth", *peer)
    run("ip", "link", "set", veth(address), "master", BRIDGE, "up")
    run(*inside, "address", "add", f"{address}/{network.prefixlen}", "dev", "eth0")
    run(*inside, "link", "set", "eth0", "up")
    run(*inside, "link", "set", "lo", "up")
    run(*inside, "route", "add", "default", "via", str(gateway(network)))


def unplug(namespace, address):
    """Remove a host's interface and namespace."""
    run("ip", "link", "delete", veth(address), check=False)
    run("ip", "netns", "delete", namespace, check=False)


def switch(address, state):
    """Pull a host's network cable, or plug it in again: "down" or "up"."""
    run("ip", "link", "set", veth(address), state)


def veth(address):
    """Return the name of a host's interface on the operator's side."""
    return f"rj{int(ipaddress.ip_address(address)):08x}"


def run(*argv, check=True, input=None):
    """Run a program; raise an error with its output if it fails."""
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True, input=input)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(map(str, argv))}: {done.stderr or done.stdout}")
    return done


def _sysctl(name):
    return Path("/proc/sys", name)


def _routes():
    return json.loads(run("ip", "-json", "-4", "route", "show").stdout or "[]")


def _free_range():
    """Return the first range without a route on this machine."""
    used = [ipaddress.ip_network(route["dst"]) for route in _routes() if route["dst"] != "default"]
    for candidate in map(ipaddress.ip_network, RANGES):
        if not any(candidate.overlaps(network) for network in used):
            return str(candidate)
    raise RuntimeError(f"every range the lab could use has a route already: {', '.join(RANGES)}")


def _mtu():
    """Return the smallest MTU of the default routes."""
    ways = [
        Path("/sys/class/net", route["dev"], "mtu")
        for route in _routes()
        if route["dst"] == "default"
    ]
    return min((int(path.read_text()) for path in ways), default=1500)

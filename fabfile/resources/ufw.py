"""The firewall ufw: its rules, and that it is on."""

import re
from dataclasses import dataclass

from ..kit.quote import Shell, program, script, sh, words
from ..kit.resources.base import Resource

COMMENT = "remote-jupyter"  # the comment of each rule that we add

SSH_PORTS = program("ssh-ports")

# Prints ufw's own notes of its rules, IPv4's first.
RULES = Shell("""
[ ! -e /proc/sys/net/ipv6 ] || echo ipv6
grep -h '^### tuple ###' /etc/ufw/user.rules /etc/ufw/user6.rules 2>/dev/null
:
""")


@dataclass(frozen=True)
class ParsedRule:
    """A rule as ufw notes it: ``### tuple ### deny tcp 1:100,443 0.0.0.0/0 any 0.0.0.0/0 in``.

    Args:
        action: allow, limit, deny or reject.
        protocol: tcp, udp or any.
        ports: ports and ranges with commas between them, or "any".
        profile: the names of ufw's application profiles, or an empty text.
    """

    action: str
    protocol: str = "tcp"
    ports: str = ""
    profile: str = ""

    @classmethod
    def read(cls, line, anywhere="0.0.0.0/0"):
        """Return the rule in *line*, or None if it does not apply to all incoming connections.

        Args:
            line: a line of ufw's user.rules or user6.rules.
            anywhere: how the rule's family writes "any address".
        """
        addresses = rf"{re.escape(anywhere)} any {re.escape(anywhere)}"
        start = r"### tuple ### (allow|limit|deny|reject)(?:_log\S*)? (\S+) (\S+)"
        match = re.match(rf"{start} {addresses} (\S+ \S+ )?in(?:\s|$)", line)
        return cls(*match.groups("")) if match else None

    def decides(self, port):
        """Return whether this rule applies to TCP connections to *port*."""
        if self.protocol not in ("tcp", "any"):
            return False
        if self.ports == "any":
            return True
        ranges = [part.partition(":") for part in self.ports.split(",")]
        return any(int(low) <= port <= int(high or low) for low, _, high in ranges)


@dataclass(frozen=True)
class UfwRule(Resource):
    """ufw allows incoming connections to a TCP port, over IPv4 and IPv6.

    Args:
        port: the port; 0 stands for every port on which the host's sshd listens.
    """

    port: int

    @property
    def label(self):
        return f"UfwRule {self.port or 'ssh'}"

    undo = "ufw delete allow {0.port}/tcp"

    def undo_hint(self):
        if self.port:
            return super().undo_hint()
        return "ufw delete allow PORT/tcp, with each port of sshd"

    def probe(self):
        return RULES if self.port else Shell(SSH_PORTS + RULES)

    def parse(self, output):
        lines = output.splitlines()
        ports = [self.port] if self.port else map(int, lines.pop(0).split())
        states = [port_state(port, lines) for port in ports]
        lacking = [state for state in states if state["state"] != "allowed"]
        return (lacking or states)[0] | {"lacking": lacking}

    def desired(self):
        return {"state": "allowed"}

    def diff(self, actual):
        diff = super().diff(actual)
        if self.port or not diff:
            return diff
        # The label only says "ssh".
        ports = " ".join(str(state["port"]) for state in actual["lacking"])
        return f"{diff}\n+ports: {ports}"

    def apply(self, actual):
        steps = []
        for state in actual["lacking"]:
            rule = rule_words(state["port"], state["family"])
            if not state["other"]:
                # This also reverses a rule that denies exactly this port.
                steps.append(sh("ufw allow {} comment {}", rule, COMMENT))
            else:
                # Ours comes before another's wider rule, which stays.
                steps.append(sh("ufw --force delete allow {} || :", rule))
                steps.append(sh("ufw prepend allow {} comment {}", rule, COMMENT))
        return "\n".join(steps)


def rule_words(port, family):
    """Return a rule as words of ufw's command line.

    Args:
        port: the TCP port.
        family: "ipv6" for a rule for IPv6 alone, which leaves another's rule for IPv4 as it is,
            or an empty text.
    """
    return words(f"proto tcp from ::/0 to any port {port}".split() if family else [f"{port}/tcp"])


def port_state(port, lines):
    """Return what ufw's rules do with incoming TCP connections to *port*.

    Args:
        port: the TCP port.
        lines: the output of `RULES`.

    Returns:
        ``state`` is "allowed", "not allowed", "deny" or "reject": that of IPv4, or of IPv6 if
        IPv4 is allowed. ``other`` says whether a wider rule decides it, ``family`` is "ipv6" if
        only IPv6 is lacking.
    """
    for anywhere in ("0.0.0.0/0", "::/0") if "ipv6" in lines else ("0.0.0.0/0",):
        rules = (ParsedRule.read(line, anywhere) for line in lines)
        # The first rule that applies decides.
        matching = (rule for rule in rules if rule and rule.decides(port))
        first = next(matching, ParsedRule("not allowed", ports=str(port)))
        allowed = first.action in ("allow", "limit")
        state = {
            "state": "allowed" if allowed else first.action,
            "other": first != ParsedRule(first.action, "tcp", str(port)),
            "port": port,
            "family": "ipv6" if anywhere == "::/0" else "",
        }
        if not allowed:
            break
    return state


@dataclass(frozen=True)
class UfwOnly(Resource):
    """Of the rules that we added, only those for these ports and for sshd are left.

    Args:
        ports: TCP ports whose rules stay.
        shared: TCP ports that others may use too.
        needed: shell text that prints who uses the shared ports. While it prints anything, their
            rules stay.
    """

    ports: tuple[int, ...]
    shared: tuple[int, ...] = ()
    needed: str = ":"

    undo = "ufw allow PORT/tcp"

    def probe(self):
        return script(
            """
            needed || :
            printf '\\000'
            ssh_ports
            rules
            """,
            needed=Shell(self.needed),
            ssh_ports=SSH_PORTS,
            rules=RULES,
        )

    def parse(self, output):
        users, _, rest = output.partition("\0")
        ssh_ports, *lines = rest.splitlines()
        ours = re.compile(rf"### tuple ### allow tcp (\d+) .* comment={COMMENT.encode().hex()}$")
        # A port has one rule for IPv4 and one for IPv6.
        added = {}
        for match in filter(None, map(ours.match, lines)):
            added.setdefault(int(match[1]), []).append("::/0" if "::/0" in match[0] else "")
        wanted = {*self.ports, *map(int, ssh_ports.split())}
        surplus = [port for port in added if port not in wanted]
        kept = [port for port in surplus if users.strip() and port in self.shared]
        actual = {
            "surplus ports": " ".join(str(port) for port in surplus if port not in kept),
            "families": {str(port): "" if "" in added[port] else "ipv6" for port in surplus},
        }
        if kept:
            actual["warning"] = (
                f"{', '.join(map(str, kept))} stay open for what is not ours: "
                f"{', '.join(users.split())}; to close one: ufw delete allow PORT/tcp"
            )
        return actual

    def desired(self):
        return {"surplus ports": ""}

    def apply(self, actual):
        rules = [
            rule_words(port, actual["families"][port]) for port in actual["surplus ports"].split()
        ]
        return "\n".join(sh("ufw --force delete allow {}", rule) for rule in rules)


@dataclass(frozen=True)
class UfwIpv6(Resource):
    """ufw filters IPv6 as well as IPv4, unless the kernel has no IPv6."""

    undo = "set IPV6=no in /etc/default/ufw, then ufw reload"

    @property
    def label(self):
        return "UfwIpv6"

    def probe(self):
        return script(
            """
            [ -e /proc/sys/net/ipv6 ] || { echo yes; exit 0; }
            [ -e /etc/default/ufw ] || exit 69  # the package brings it
            value=$(sed -n 's/^IPV6=//p' /etc/default/ufw | tail -n 1 | tr -d "\\"'")
            echo "${value:-no}"
            """
        )

    def parse(self, output):
        return {"filtered": output.strip().lower()}

    def desired(self):
        return {"filtered": "yes"}

    def apply(self, actual):
        # ufw has no drop-in for this setting: /etc/default/ufw is its conffile, of which only
        # this line is changed.
        return script(
            """
            file=/etc/default/ufw
            if grep -q '^IPV6=' "$file"; then sed -i 's/^IPV6=.*/IPV6=yes/' "$file"
            else echo 'IPV6=yes' >>"$file"; fi
            if iptables -nL ufw-user-input >/dev/null 2>&1; then ufw reload; fi
            """
        )


@dataclass(frozen=True)
class UfwEnabled(Resource):
    """ufw is on, now and at boot, and denies incoming connections by default."""

    undo = "ufw disable"

    def probe(self):
        return script(
            """
            grep -hE '^(ENABLED|DEFAULT_INPUT_POLICY)=' /etc/ufw/ufw.conf /etc/default/ufw \\
                2>/dev/null
            live() {
                iptables -nL ufw-user-input >/dev/null 2>&1 || return
                [ ! -e /proc/sys/net/ipv6 ] || ip6tables -nL ufw6-user-input >/dev/null 2>&1
            }
            live && echo LIVE=yes || echo LIVE=no
            systemctl is-enabled -q ufw 2>/dev/null && echo UNIT=enabled || echo UNIT=disabled
            """
        )

    def parse(self, output):
        actual = dict(line.replace('"', "").split("=", 1) for line in output.splitlines())
        return {
            "at boot": actual.get("ENABLED", "no").lower(),
            "incoming": actual.get("DEFAULT_INPUT_POLICY"),
            "now": actual["LIVE"],
            "unit": actual["UNIT"],
        }

    def desired(self):
        return {"at boot": "yes", "incoming": "DROP", "now": "yes", "unit": "enabled"}

    def apply(self, actual):
        return "ufw default deny incoming\nsystemctl enable -q ufw\nufw --force enable"

"""The firewall that ufw keeps: its rules, and that it is on."""

import re
from dataclasses import dataclass

from ..kit.quote import sh
from ..kit.resources.base import Resource

COMMENT = "remote-jupyter"  # on each rule that we make


# The ports on which SSH is met: that of this connection first, then the others of sshd, but for what a session forwards.
SSH_PORTS = """
{ echo "$SSH_SERVER_PORT"
  ss -Hltnp | awk '/"sshd"/ && $4 !~ /^(127\\.|\\[::1\\])/ { sub(".*:", "", $4); print $4 }' | sort -un
} | awk '!seen[$0]++' | tr '\\n' ' '; echo
"""


RULES = 'grep -h "^### tuple ###" /etc/ufw/user.rules 2>/dev/null; :'


@dataclass(frozen=True)
class ParsedRule:
    """A rule as ufw notes it: ``### tuple ### deny tcp 1:100,443 0.0.0.0/0 any 0.0.0.0/0 in``."""

    action: str
    protocol: str = "tcp"
    ports: str = ""
    profile: str = ""

    @classmethod
    def read(cls, line):
        """Return the rule of *line*, or None where it is not for everybody who comes in by any interface."""
        anywhere = r"0\.0\.0\.0/0 any 0\.0\.0\.0/0"
        rule = rf"### tuple ### (allow|limit|deny|reject)(?:_log\S*)? (\S+) (\S+) {anywhere} (\S+ \S+ )?in(?:\s|$)"
        match = re.match(rule, line)
        return cls(*match.groups("")) if match else None

    def decides(self, port):
        """Return whether this rule is about TCP connections to *port*."""
        if self.protocol not in ("tcp", "any"):
            return False
        ranges = [part.partition(":") for part in self.ports.split(",")]
        return self.ports == "any" or any(
            int(low) <= port <= int(high or low) for low, _, high in ranges
        )


@dataclass(frozen=True)
class UfwRule(Resource):
    """Connections to this TCP *port* are let in; port 0 stands for each one on which sshd can be met now."""

    port: int

    @property
    def label(self):
        return f"UfwRule {self.port or 'ssh'}"

    undo = "ufw delete allow {0.port}/tcp"

    def undo_hint(self):
        return (
            super().undo_hint()
            if self.port
            else "ufw delete allow PORT/tcp, with each port of sshd"
        )

    def probe(self):
        return RULES if self.port else SSH_PORTS + RULES

    def parse(self, output):
        tuples = output.splitlines()
        ports = [self.port] if self.port else map(int, tuples.pop(0).split())
        actual = [self.of(port, tuples) for port in ports]
        lacking = [one for one in actual if one["state"] != "allowed"]
        return (lacking or actual)[0] | {"lacking": lacking}

    @staticmethod
    def of(port, tuples):
        """Return what the rules *tuples* make of *port*."""
        # Of the rules for everybody, the first that is about this port decides.
        rules = [rule for rule in map(ParsedRule.read, tuples) if rule and rule.decides(port)]
        first = rules[0] if rules else ParsedRule("not allowed", ports=str(port))
        state = "allowed" if first.action in ("allow", "limit") else first.action
        return {
            "state": state,
            "other": first != ParsedRule(first.action, "tcp", str(port)),
            "port": port,
        }

    def desired(self):
        return {"state": "allowed"}

    def apply(self, actual):
        script = ""
        for one in actual["lacking"]:
            rule = f"{one['port']}/tcp"
            if not one["other"]:
                script += sh(
                    "ufw allow {} comment {}\n", rule, COMMENT
                )  # which also turns round a rule that denies just this
            else:
                # A wider rule of somebody else's stays, but ours comes before it; where ours is now, it is without effect.
                script += sh(
                    "ufw --force delete allow {} || :\nufw prepend allow {} comment {}\n",
                    rule,
                    rule,
                    COMMENT,
                )
        return script


@dataclass(frozen=True)
class UfwOnly(Resource):
    """Of the rules that we made, none is left but those for *ports* and for those on which sshd can be met.

    As long as the shell text *needed* prints for whom, those for the ports *shared* are left too.
    """

    ports: tuple[int, ...]
    shared: tuple[int, ...] = ()
    needed: str = ":"

    undo = "ufw allow PORT/tcp"

    def probe(self):
        return self.needed + "\nprintf '\\000'\n" + SSH_PORTS + RULES

    def parse(self, output):
        needed, _, rest = output.partition("\0")
        ssh, *tuples = rest.splitlines()
        ours = re.compile(rf"### tuple ### allow tcp (\d+) .* comment={COMMENT.encode().hex()}$")
        made = [int(match[1]) for match in map(ours.match, tuples) if match]
        surplus = [port for port in made if port not in (*self.ports, *map(int, ssh.split()))]
        kept = [port for port in surplus if needed.strip() and port in self.shared]
        actual = {"surplus ports": " ".join(str(port) for port in surplus if port not in kept)}
        if not kept:
            return actual
        ports, others = ", ".join(map(str, kept)), ", ".join(needed.split())
        return actual | {
            "warning": f"{ports} stay open for what is not ours: {others}; to close one: ufw delete allow PORT/tcp"
        }

    def desired(self):
        return {"surplus ports": ""}

    def apply(self, actual):
        return "\n".join(
            sh("ufw --force delete allow {}", f"{port}/tcp")
            for port in actual["surplus ports"].split()
        )


@dataclass(frozen=True)
class UfwEnabled(Resource):
    """The firewall is on, now and at boot, and lets in only what rules allow."""

    undo = "ufw disable"

    def probe(self):
        return """
            grep -hE '^(ENABLED|DEFAULT_INPUT_POLICY)=' /etc/ufw/ufw.conf /etc/default/ufw 2>/dev/null
            iptables -nL ufw-user-input >/dev/null 2>&1 && echo LIVE=yes || echo LIVE=no
            systemctl is-enabled -q ufw 2>/dev/null && echo UNIT=enabled || echo UNIT=disabled
        """

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

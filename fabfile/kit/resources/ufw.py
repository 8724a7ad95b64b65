"""The firewall that ufw keeps: its rules, and that it is on."""

import re
from dataclasses import dataclass

from ..quote import sh
from .base import Resource

COMMENT = "remote-jupyter"  # on each rule that we make
RULES = 'echo "$SSH_SERVER_PORT"; grep -h "^### tuple ###" /etc/ufw/user.rules 2>/dev/null; :'


@dataclass(frozen=True)
class UfwRule(Resource):
    """Connections to this TCP *port* are let in; port 0 stands for the one by which we are connected now."""

    port: int

    @property
    def label(self):
        return f"UfwRule {self.port or 'ssh'}"

    def probe(self):
        return RULES

    def parse(self, output):
        live, *tuples = output.splitlines()
        port = self.port or int(live)
        rule = re.compile(rf"### tuple ### (\w+) (tcp|any) {port} 0\.0\.0\.0/0 any 0\.0\.0\.0/0 in(?:\s|$)")
        # Of the rules for everybody, the first decides.
        action, protocol = next((match.groups() for match in map(rule.match, tuples) if match), ("not allowed", "tcp"))
        return {"state": "allowed" if action in ("allow", "limit") else action, "protocol": protocol, "port": port}

    def want(self):
        return {"state": "allowed"}

    def apply(self, seen):
        rule = f"{seen['port']}/tcp"
        if seen["protocol"] == "tcp":
            return sh("ufw allow {} comment {}", rule, COMMENT)  # which also turns round a rule that denies just this
        # A wider rule of somebody else's stays, but ours comes before it; where ours is now, it is without effect.
        return sh("ufw --force delete allow {} || :\nufw prepend allow {} comment {}", rule, rule, COMMENT)


@dataclass(frozen=True)
class UfwOnly(Resource):
    """Of the rules that we made, none is left but those for *ports* and for the one by which we are connected."""

    ports: tuple[int, ...]

    def probe(self):
        return RULES

    def parse(self, output):
        live, *tuples = output.splitlines()
        ours = re.compile(rf"### tuple ### allow tcp (\d+) .* comment={COMMENT.encode().hex()}$")
        made = [int(match[1]) for match in map(ours.match, tuples) if match]
        return {"surplus ports": " ".join(str(port) for port in made if port not in (*self.ports, int(live)))}

    def want(self):
        return {"surplus ports": ""}

    def apply(self, seen):
        return "\n".join(sh("ufw --force delete allow {}", f"{port}/tcp") for port in seen["surplus ports"].split())


@dataclass(frozen=True)
class UfwEnabled(Resource):
    """The firewall is on, now and at boot, and lets in only what rules allow."""

    def probe(self):
        return """
            grep -hE '^(ENABLED|DEFAULT_INPUT_POLICY)=' /etc/ufw/ufw.conf /etc/default/ufw 2>/dev/null
            iptables -nL ufw-user-input >/dev/null 2>&1 && echo LIVE=yes || echo LIVE=no
        """

    def parse(self, output):
        seen = dict(line.replace('"', "").split("=", 1) for line in output.splitlines())
        return {
            "at boot": seen.get("ENABLED", "no").lower(),
            "incoming": seen.get("DEFAULT_INPUT_POLICY"),
            "now": seen["LIVE"],
        }

    def want(self):
        return {"at boot": "yes", "incoming": "DROP", "now": "yes"}

    def apply(self, seen):
        return "ufw default deny incoming\nufw --force enable"

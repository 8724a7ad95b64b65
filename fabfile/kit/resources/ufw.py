"""The firewall that ufw keeps: its rules, and that it is on."""

import re
from dataclasses import dataclass

from ..quote import sh
from .base import Resource


@dataclass(frozen=True)
class UfwRule(Resource):
    """Connections to this TCP *port* are let in; port 0 stands for the one by which we are connected now."""

    port: int

    @property
    def label(self):
        return f"UfwRule {self.port or 'ssh'}"

    def probe(self):
        return 'echo "$SSH_SERVER_PORT"; grep -h "^### tuple ###" /etc/ufw/user.rules 2>/dev/null; :'

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
            return sh("ufw allow {}", rule)  # which also turns round a rule that denies just this
        # A wider rule of somebody else's stays, but ours comes before it; where ours is now, it is without effect.
        return sh("ufw --force delete allow {} || :\nufw prepend allow {}", rule, rule)


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

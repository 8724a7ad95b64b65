"""What sshd really does."""

from dataclasses import dataclass
from fnmatch import fnmatchcase

from ..quote import sh, words
from .base import CANNOT_KNOW, Handler, Resource

# After SIGHUP a socket-activated sshd would not find its socket again; sessions outlive its restart.
TAKE_UP = """
if systemctl is-active -q ssh.socket; then ! systemctl is-active -q ssh || systemctl restart ssh
elif systemctl is-active -q ssh; then systemctl reload ssh; fi
"""
# What was never in its place need not be taken out of a running sshd.
BACK = f"[ -e changed ] || exit 0\n{TAKE_UP}"
RELOAD = Handler("reload ssh", f"mkdir -p /run/sshd && sshd -t || exit\n{TAKE_UP}")


@dataclass(frozen=True)
class SshdSettings(Resource):
    """For logins as *user*, sshd has each of *settings*, such as "permitrootlogin no", in force, whichever file says so.

    Of *weak*, such as "macs hmac-md5*,hmac-sha1*", it offers none. See sshd -T.
    """

    user: str
    settings: tuple[str, ...] = ()
    weak: tuple[str, ...] = ()

    undo = "nothing is left: it looks whether the file is in force"

    @property
    def label(self):
        return f"SshdSettings {self.user}"

    def probe(self):
        return sh(
            """
            command -v sshd >/dev/null || exit {}
            mkdir -p -m 0755 /run/sshd
            sshd -T -C user={},host=localhost,addr="${SSH_CONNECTION%% *}" 2>&1; :
            """,
            CANNOT_KNOW,
            self.user,
        )

    def parse(self, output):
        seen = dict(line.split(" ", 1) for line in output.splitlines() if " " in line)
        weak = [
            name
            for key, _, patterns in (line.partition(" ") for line in self.weak)
            for name in seen.get(key, "").split(",")
            if any(fnmatchcase(name, pattern) for pattern in patterns.split(","))
        ]
        return seen | {"weak algorithms": " ".join(weak)}

    def want(self):
        return dict(setting.split(" ", 1) for setting in self.settings) | ({"weak algorithms": ""} if self.weak else {})

    def apply(self, seen):
        # The drop-in comes before this in the plan; what is not in force by then never will be.
        return sh(
            """
            now=$(sshd -T -C user={},host=localhost,addr="${SSH_CONNECTION%% *}")
            for setting in {}; do
                printf '%s\\n' "$now" | grep -qxiF "$setting" && continue
                echo "sshd does not take up: $setting; another line comes first," \\
                    "or sshd_config does not include sshd_config.d/*.conf at its top:" >&2
                grep -iE "^[[:space:]]*(${setting%% *}|include|match)" /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*.conf >&2
                exit 1
            done
            """,
            self.user,
            words(self.settings),
        )

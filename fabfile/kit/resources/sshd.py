"""What sshd really does."""

from dataclasses import dataclass

from ..quote import sh, words
from .base import CANNOT_KNOW, Resource


@dataclass(frozen=True)
class SshdSettings(Resource):
    """sshd has each of *settings*, such as "permitrootlogin no", in force, whichever file says so; see sshd -T."""

    settings: tuple[str, ...]

    @property
    def label(self):
        return f"SshdSettings {', '.join(self.settings)}"

    def probe(self):
        return sh(
            """
            command -v sshd >/dev/null || exit {}
            mkdir -p -m 0755 /run/sshd
            sshd -T -C user=root,host=localhost,addr=127.0.0.1 2>&1; :
            """,
            CANNOT_KNOW,
        )

    def parse(self, output):
        return dict(line.split(" ", 1) for line in output.splitlines() if " " in line)

    def want(self):
        return dict(setting.split(" ", 1) for setting in self.settings)

    def apply(self, seen):
        # The drop-in comes before this in the plan; what is not in force by then never will be.
        return sh(
            """
            now=$(sshd -T -C user=root,host=localhost,addr=127.0.0.1)
            for setting in {}; do
                printf '%s\\n' "$now" | grep -qxiF "$setting" && continue
                echo "sshd does not take up: $setting; another line comes first," \\
                    "or sshd_config does not include sshd_config.d/*.conf at its top:" >&2
                grep -iE "^[[:space:]]*(${setting%% *}|include)" /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*.conf >&2
                exit 1
            done
            """,
            words(self.settings),
        )

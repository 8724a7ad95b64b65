"""Changes that could lock everybody out: the server puts them back by itself unless a new login was seen to work."""

import re
import zlib
from dataclasses import dataclass, field

from fabric import Connection

from .errors import NoPassword, RemoteError
from .quote import Shell, sh, words
from .shell import Shell as RootShell

STATE = "/var/lib/remote-jupyter"  # not below /run: it shall outlive a reboot
UNDO = f"{STATE}/undo"
UNIT = "remote-jupyter-undo"
AT_BOOT = f"/etc/systemd/system/{UNIT}-at-boot.service"
WANTED = f"/etc/systemd/system/multi-user.target.wants/{UNIT}-at-boot.service"

# Asked with each plan: what is armed now, and what was put back since the last time that something was armed.
LEFT = sh(
    "ls -d {}/*/complete 2>/dev/null; sed 's/^/undone /' {} 2>/dev/null\n", UNDO, f"{STATE}/undone"
)
ARMED = re.compile(r"undo/([^.]*)\..*/complete")

# It lies on the server while something is armed, and needs nothing of ours but its own folder. What it cannot put back, as
# on a full disk, it tries again.
PUT_BACK = sh(
    """
exec 8>>{}; flock -w 300 8
cd {} 2>/dev/null || exit 0
bad=''
for d in */; do
    [ -e "$d/complete" ] || continue
    while IFS= read -r p; do
        old="$d/files$p"
        if [ ! -e "$old" ] && [ ! -e "$p" ] || cmp -s "$old" "$p"; then continue; fi
        : >"$d/changed"
        if [ ! -e "$old" ]; then rm -f "$p"
        else cp -a "$old" "$p.undo" && mv -fT "$p.undo" "$p" || { rm -f "$p.undo"; bad=1; }
        fi
    done <"$d/paths"
    (cd "$d" && sh ./back </dev/null) || bad=1
    [ -n "$bad" ] || echo "${d%%.*} $(date '+%F %T %Z')" >>../undone
done
[ -z "$bad" ] || { echo 'not all could be put back; this is tried again until it can' >&2; exit 1; }
rm -rf {} {} {}
""",
    f"{STATE}/undo.lock",
    UNDO,
    UNDO,
    AT_BOOT,
    WANTED,
)

BOOT = f"""[Unit]
Description=Puts back a change that no new login has proved
Before=ssh.service ssh.socket ufw.service
DefaultDependencies=no
After=local-fs.target

[Service]
Type=oneshot
ExecStart=/bin/sh {UNDO}/put-back
"""

# Prints the name of each guard that it puts back.
NOW = sh(
    """
    cd {} 2>/dev/null || exit 0
    names=$(for f in */complete; do [ ! -e "$f" ] || echo "${f%%.*}"; done)
    [ ! -e put-back ] || sh ./put-back || exit
    systemctl stop {} 2>/dev/null
    rm -f {}
    printf '%s\\n' "$names"
    """,
    UNDO,
    f"{UNIT}.timer",
    f"{STATE}/undone",
)

DISARM = sh(
    """
    exec 8>>{}; flock 8
    [ -e {} ] || exit 1
    rm -rf {} {} {}
    systemctl stop {} 2>/dev/null; :
    """,
    f"{STATE}/undo.lock",
    *[UNDO] * 2,
    AT_BOOT,
    WANTED,
    f"{UNIT}.timer",
)


@dataclass(frozen=True)
class Rollback:
    """How the server undoes a change by itself: it puts the files *paths* back as they were, and then runs *back*.

    It does so *seconds* after the first change, at the next boot, or at once where the proof fails. What is no file, the
    shell text *note* keeps in the folder in which *back* runs; there is a file ``changed`` in it, where files were put back.
    """

    name: str
    paths: tuple[str, ...] = ()
    back: str = ":"
    seconds: int = 60
    note: str = ":"

    @property
    def folder(self):
        """Where the server keeps what it would put back."""
        told = f"{self.paths} {self.back} {self.note}"
        return f"{UNDO}/{self.name}.{zlib.crc32(told.encode()):08x}"

    def arm(self):
        """Return shell text that keeps what is there now, and starts the timer; what is armed already stays as it is.

        The lock that it takes goes with the step that makes the change, so that nothing is put back in the middle of it.
        """
        return sh(
            """
            mkdir -p -m 0700 {} && exec 8>>{} && flock 8 || exit
            if [ ! -e {} ]; then
                mkdir -p -m 0700 {} && cd {} && : >paths || exit
                for p in {}; do
                    if [ -L "$p" ]; then echo "$p is a symbolic link; put the file itself there" >&2; exit 1; fi
                    printf '%s\\n' "$p" >>paths
                    [ ! -e "$p" ] || { mkdir -p "files${p%/*}" && cp -a "$p" "files$p"; } || exit
                done
                { {}
                } && printf %s {} >back && printf %s {} >../put-back && rm -f ../../undone || exit
                printf %s {} >{} && mkdir -p {} && ln -sfn {} {} && sync . && : >complete || exit
            fi
            if [ ! -e {} ]; then
                # One that has just put something back may still be ending.
                tries=0
                until systemctl stop {} 2>/dev/null; systemctl reset-failed {} 2>/dev/null
                    systemd-run --quiet --unit={} --on-active={} --timer-property=AccuracySec=100ms -p Restart=on-failure \\
                    -p RestartSec=5 -p StartLimitIntervalSec=0 /bin/sh {}
                do tries=$((tries + 1)); [ $tries -lt 20 ] || exit; sleep 0.2; done
                : >{}
            fi
            cd /
            """,
            UNDO,
            f"{STATE}/undo.lock",
            f"{self.folder}/complete",
            f"{self.folder}/files",
            self.folder,
            words(self.paths),
            Shell(self.note),
            words([self.back]),
            words([PUT_BACK]),
            BOOT,
            AT_BOOT,
            WANTED.rpartition("/")[0],
            AT_BOOT,
            WANTED,
            f"{UNDO}/timer",
            f"{UNIT}.timer",
            f"{UNIT}.service",
            UNIT,
            self.seconds,
            f"{UNDO}/put-back",
            f"{UNDO}/timer",
        )


@dataclass(frozen=True)
class VerifyLogin:
    """Asks for proof, where something guarded was changed before it: a new connection that becomes root.

    It is made as *user*, for whose sudo the last of *passwords* is, with the keys that Fabric has and the private *keys*; where
    that fails, as the user of the connection that we have. Where both fail, the server puts back what was changed.
    """

    user: str = ""
    passwords: list = field(default_factory=list, compare=False, repr=False)
    keys: tuple[str, ...] = ()
    made: str = ""  # what the account's comment says where its login must work, and no other one can stand for it

    @property
    def label(self):
        """The kind and the name, for reports."""
        return f"Login {self.user}".strip()

    def verify_login(self, shell):
        """Become root on the host of *shell* by a new connection; return who did, and why not *user*. Raises Problem."""
        c, why = shell.connection, []
        [answer] = shell.batch([sh("getent passwd {}", self.user)])
        for user in dict.fromkeys([self.user] * answer.ok + [c.user]):
            try:
                self.attempt(c, user)
                return user, "; ".join(why)
            except RemoteError as error:
                why.append(f"as {user}: {error}")
                if (
                    user == self.user
                    and self.made
                    and self.made in answer.out
                    and not isinstance(error, NoPassword)
                ):
                    break
        raise RemoteError("; ".join(why))

    def attempt(self, c, user):
        """Log in as *user* on the host of *c* by a connection of its own, and become root; raises Problem."""
        kwargs = {
            name: value for name, value in c.connect_kwargs.items() if name != "transport_factory"
        }
        if user != c.user:
            kwargs.pop("password", None)  # it is another one's
            named = kwargs.get("key_filename") or []
            kwargs["key_filename"] = [*self.keys, *([named] if isinstance(named, str) else named)]
        new = Connection(c.original_host, user, c.port, c.config, c.gateway, connect_kwargs=kwargs)
        try:
            shell = RootShell(
                new, self.passwords[-1] if self.passwords and user == self.user else None
            )
            if shell.batch(["id -u"])[0].out.strip() != "0":
                raise RemoteError("this login does not become root")
        finally:
            new.close()

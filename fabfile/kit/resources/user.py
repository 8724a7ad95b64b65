"""A login user, and the keys that may log in as that user."""

import re
import time
from dataclasses import dataclass, field

from ..quote import Shell, sh, words
from ..rollback import Rollback
from ..secret import Secret, generated
from .base import Resource, as_owner

MADE = "made by remote-jupyter"  # in the comment field of the accounts that we make
SYSTEM = "belongs to the system (uid {}), and is no person's; choose another name"


@dataclass(frozen=True)
class User(Resource):
    """A person's account with its own group, this *home*, a shell, membership of *groups* and not of *not_groups*, a password.

    A user who exists keeps what is not asked for: *shell* and *password* may be left out. With *adopt* false, one whom we
    did not make is refused. Where no password was ever set and *needs_password* says so, one is generated and told once.
    """

    name: str
    home: str
    shell: str = ""
    groups: tuple[str, ...] = ()
    not_groups: tuple[str, ...] = ()
    password: Secret | None = None
    needs_password: bool = False
    adopt: bool = True
    rollback_timeout: int = 60
    told: list = field(default_factory=list, compare=False, repr=False)
    known: list = field(
        default_factory=list, compare=False, repr=False
    )  # of whoever wants to log in with it

    undo = "remove-user --user {0.name}"

    def probe(self):
        return sh(
            """
            name={} home={} shell={}
            [ -z "$shell" ] || [ -x "$shell" ] || echo no shell
            getent passwd "$name" && { getent shadow "$name"; id -nG "$name"; exit 0; }
            getent group "$name" | awk -F: '{ print "group", $3 }'
            [ -z "$(ls -A "$home" 2>/dev/null)" ] || echo "home $(stat -c %U "$home")"
            """,
            self.name,
            self.home,
            self.shell,
        )

    def parse(self, output):
        lines = output.splitlines()
        if lines[:1] == ["no shell"]:
            return self.parse("\n".join(lines[1:])) | {"no shell": self.shell}
        if not lines or ":" not in lines[0]:
            left = dict(
                line.split() for line in lines
            )  # a group and a home that are there without the user
            return {"exists": None, "shell": None, "groups": None, "password": None} | left
        _, _, uid, _, gecos, home, shell = lines[0].split(":")
        stored = lines[1].split(":")[1] if len(lines) > 1 and ":" in lines[1] else ""
        groups = lines[-1].split()
        if not stored.strip("!*"):
            password = "none"
        elif self.password and not self.password.matches("sha512_crypt", stored):
            password = "another"
        else:
            password = "set"
        missing = " ".join(group for group in self.groups if group not in groups)
        return {
            "exists": "yes",
            "uid": uid,
            "home": home,
            "ours": "yes" if MADE in gecos else "no",
            "shell": shell,
            "missing groups": missing,
            "surplus groups": " ".join(group for group in self.not_groups if group in groups),
            "locked": "yes" if expired(lines[1]) else "no",
            "password": password,
        }

    def desired(self):
        desired = {"exists": "yes", "missing groups": ""}
        if self.not_groups:
            desired["surplus groups"] = ""
        if self.shell:
            desired["shell"] = self.shell
        if self.password or self.needs_password:
            desired["password"] = "set"
        return desired

    def conflict(self, actual):
        if "no shell" in actual:
            return f"{self.shell} is not installed there, and sshd lets nobody in without a shell; install it, or choose another"
        if not actual["exists"]:
            if not 1000 <= int(actual.get("group", 1000)) < 60000:
                return f"a group of this name belongs to the system (gid {actual['group']}); choose another name"
            if "home" in actual:
                return f"{self.home} is there already, with files of {actual['home']}; move it away, or set user.home"
            return None
        if not 1000 <= int(actual["uid"]) < 60000:
            return SYSTEM.format(actual["uid"])
        if actual["home"] != self.home:
            return f"this user exists, at home in {actual['home']} and not in {self.home}; set user.home, or choose another name"
        if actual["locked"] == "yes" and self != User(self.name, self.home):
            return "this account is locked; let it in again with lock-user --unlock first"
        if not self.adopt and actual["ours"] == "no" and self.changed(actual):
            return "this user exists, and was not made by us: set user.adopt if sudo and keys shall be given to this account"
        return None

    def apply(self, actual):
        script = ""
        if not actual["exists"]:
            # A group of this name may be left from a user who was removed.
            script += sh("getent group {} >/dev/null && own='-g' || own='-U'\n", self.name)
            script += sh(
                'if [ "$own" = -g ]; then useradd -m -c {} -d {} -s {} -g {} {}; ',
                MADE,
                self.home,
                self.shell or "/bin/bash",
                self.name,
                self.name,
            )
            script += sh(
                "else useradd -m -c {} -d {} -s {} -U {}; fi\n",
                MADE,
                self.home,
                self.shell or "/bin/bash",
                self.name,
            )
            # An empty folder, such as a volume mounted there, stays root's otherwise.
            script += sh("chown {}: {}\n", self.name, self.home)
        elif "shell" in self.changed(actual):
            script += sh("usermod -s {} {}\n", self.shell, self.name)
        for group in self.groups:
            script += sh("usermod -a -G {} {}\n", group, self.name)
        for group in actual.get("surplus groups", "").split():
            script += sh("gpasswd -d {} {} >/dev/null\n", self.name, group)
        if self.desired().get("password", actual["password"]) != actual["password"]:
            password = self.password or generated()
            if not self.password:
                self.told.append(password)
                self.known.append(password)
            # chpasswd reads its standard input, so the hash is in no argument list.
            script += sh(
                "printf '%s:%s\\n' {} {} | chpasswd -e\n",
                self.name,
                password.hashed("sha512_crypt"),
            )
        return script

    def rollback_for(self, actual):
        if not actual["exists"]:
            return None
        back = [
            sh("gpasswd -a {} {}", self.name, group) for group in actual["surplus groups"].split()
        ]
        back += (
            [sh("usermod -s {} {}", actual["shell"], self.name)]
            if "shell" in self.changed(actual)
            else []
        )
        return (
            Rollback("account", back="\n".join(back), seconds=self.rollback_timeout)
            if back
            else None
        )

    def merge(self, other):
        if isinstance(other, User) and other == User(self.name, self.home):
            return self
        return super().merge(other)

    def notice(self):
        if not self.told:
            return None
        return f"The password of {self.name} (for sudo) is now: {self.told[-1].reveal()}   It is shown only this once."


@dataclass(frozen=True)
class AuthorizedKeys(Resource):
    """Each of *keys*, and each that may log in as *copied_from*, may log in as *user*; keys that others put there stay.

    None of the keys *removed* may. With *needed*, having none at all is refused: nobody could log in.
    """

    user: str
    home: str
    keys: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    copied_from: str = ""
    needed: bool = True
    rollback_timeout: int = 60

    undo = "create-user --user {0.user} --remove-key KEY"

    @property
    def path(self):
        """The file of the keys."""
        return f"{self.home}/.ssh/authorized_keys"

    def probe(self):
        return sh(
            """
            p={}
            if [ -L "$p" ]; then echo 'a symbolic link'
            elif [ -f "$p" ]; then stat -c '%U %a' "$p"; cat "$p"
            elif [ -e "$p" ]; then stat -c 'a %F' "$p"
            else echo absent; fi
            printf '\\000'
            from={}
            from=$(getent passwd "$from" | cut -d: -f6)/.ssh/authorized_keys
            [ ! -f "$from" ] || cat "$from"
            """,
            self.path,
            self.copied_from,
        )

    def parse(self, output):
        mine, _, others = output.partition("\0")
        head, _, text = mine.partition("\n")
        there = {blob for blob, _ in keys_in(text)}
        offered = [(blob, line) for key in self.keys for blob, line in keys_in(key)]
        # A key that may only run one command (cloud images: "log in as …") would let nobody in.
        offered += [
            (blob, line) for blob, line in keys_in(others) if "command=" not in line.split(blob)[0]
        ]
        gone = {blob for key in self.removed for blob, _ in keys_in(key)}
        missing = {blob: line for blob, line in offered if blob not in there | gone}
        foreign = head if head.startswith("a ") and not head[-1].isdigit() else ""
        owner, mode = head.split() if head != "absent" and not foreign else (None, None)
        return {
            "missing keys": "\n".join(missing.values()),
            "surplus keys": "\n".join(
                line for line in text.splitlines() if {blob for blob, _ in keys_in(line)} & gone
            ),
            "owner": owner,
            "mode": mode and mode.zfill(4),
            "foreign": foreign,
            "any": bool((there | {blob for blob, _ in offered}) - gone),
        }

    def desired(self):
        return {"missing keys": "", "surplus keys": "", "owner": self.user, "mode": "0600"}

    def conflict(self, actual):
        if actual["foreign"]:
            return f"there is {actual['foreign']} where a file should be; move it away, then run this again"
        if self.needed and not actual["any"]:
            return f"nobody could log in as {self.user}: name a key or a file of keys in user.authorized_keys"
        return None

    def apply(self, actual):
        surplus = words(f"-e{line}" for line in actual["surplus keys"].splitlines())
        # grep's status 1 says that nothing is left; a full disk is 2.
        kept = (
            sh('{ grep -vxF {} "$p" >"$new" || [ $? = 1 ]; }', surplus)
            if surplus
            else Shell('cat "$p" >"$new"')
        )
        script = sh(
            """
            p={} new=$(mktemp {}); trap 'rm -f "$new"' EXIT
            if [ -e "$p" ]; then {}; [ -z "$(tail -c 1 "$new")" ] || echo >>"$new"; fi
            printf '%s' {} >>"$new" || { echo 'the disk is full' >&2; exit 1; }
            chmod 0600 "$new"
            mv -fT "$new" "$p"
            """,
            self.path,
            f"{self.home}/.ssh/.authorized_keys.XXXXXX",
            kept,
            actual["missing keys"] + "\n" if actual["missing keys"] else "",
        )
        return as_owner(self.user, self.path, script)

    def diff(self, actual):
        lines = [f"-{line}" for line in actual["surplus keys"].splitlines()]
        lines += [f"+{line}" for line in actual["missing keys"].splitlines()]
        return "\n".join(lines) or super().diff(actual)

    def rollback_for(self, actual):
        if not actual["surplus keys"]:
            return None
        script = sh("printf '\\n%s\\n' {} >>{}", actual["surplus keys"], self.path)
        return Rollback(
            "keys", back=as_owner(self.user, self.path, script), seconds=self.rollback_timeout
        )


@dataclass(frozen=True)
class UserLocked(Resource):
    """The account of *user* lets nobody in, by key or password, or with *locked* false does again; *or_gone*: or is not there."""

    name: str
    locked: bool = True
    or_gone: bool = False

    undo = "lock-user --unlock --user {0.name}"

    def probe(self):
        return sh("getent shadow {} || echo none", self.name)

    def parse(self, output):
        if output.strip() == "none":
            return {"state": "locked" if self.or_gone else None}
        return {"state": "locked" if expired(output) else "open"}

    def desired(self):
        return {"state": "locked" if self.locked else "open"}

    def conflict(self, actual):
        return None if actual["state"] else "there is no such user; see user.name"

    def apply(self, actual):
        if self.locked:
            return sh("usermod --lock --expiredate 1 {}", self.name)
        # Where no password was ever set there is nothing to unlock but the account.
        unlock = "usermod --expiredate '' {}\ncase $(getent shadow {} | cut -d: -f2) in '!'?*) usermod --unlock {};; esac"
        return sh(unlock, self.name, self.name, self.name)


@dataclass(frozen=True)
class UserAbsent(Resource):
    """There is no user *name*; the *home* stays, unless *with_home* says that it goes too.

    Whoever runs something, and with *adopt* false whom we did not make, is refused.
    """

    name: str
    home: str
    with_home: bool = False
    adopt: bool = False

    undo = "move {0.home} away, create-user --user {0.name}, and move the files back"

    def probe(self):
        text = """
            name={}
            getent passwd "$name" || exit 0
            ps -o comm= -u "$name" 2>/dev/null | sed -E '/^(systemd|\\(sd-pam\\)|dbus-daemon|sshd|sshd-session)$/d' | sort -u
            :
        """
        return sh(text, self.name)

    def parse(self, output):
        if not output:
            return {"user": None}
        line, *running = output.splitlines()
        _, _, uid, _, gecos, home, _ = line.split(":")
        return {
            "user": "there",
            "uid": uid,
            "ours": MADE in gecos,
            "home": home,
            "running": ", ".join(running),
        }

    def desired(self):
        return {"user": None}

    def conflict(self, actual):
        if not actual["user"]:
            return None
        if not 1000 <= int(actual["uid"]) < 60000:
            return SYSTEM.format(actual["uid"])
        if not self.adopt and not actual["ours"]:
            return "this user was not made by us: set user.adopt if the account shall be removed all the same"
        if actual["home"] != self.home:
            return f"this user is at home in {actual['home']} and not in {self.home}; set user.home"
        if actual["running"]:
            return f"this user still runs {actual['running']}; end that first, as by stopping its service"
        return None

    def apply(self, actual):
        # Logins that are just ending, or that nobody ended.
        script = """
            loginctl terminate-user {} 2>/dev/null || :
            systemctl stop {} 2>/dev/null || :
            tries=0
            while ps -u {} >/dev/null && [ $tries -lt 50 ]; do tries=$((tries + 1)); sleep 0.1; done
            userdel {} {}
        """
        home = words(["--remove"] if self.with_home else [])
        return sh(script, self.name, f"user@{actual['uid']}.service", self.name, home, self.name)


def expired(line):
    """Return whether the account of this *line* of the shadow file has expired, as a locked one has."""
    day = line.split(":")[7] if line.count(":") > 7 else ""
    return bool(day) and int(day) * 86400 <= time.time()


KEY = re.compile(r"(?:^|\s)((?:ssh|ecdsa|sk)-[\w@.-]+\s+[A-Za-z0-9+/=]{40,})")


def keys_in(text):
    """Return (type and key, line) of each public key in *text*, in OpenSSH's authorized_keys format."""
    found = []
    for line in text.splitlines():
        if not line.lstrip().startswith("#") and (match := KEY.search(line)):
            found.append((match[1], line.strip()))
    return found

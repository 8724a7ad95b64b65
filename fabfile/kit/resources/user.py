"""Login accounts, and the SSH keys that may log in to them."""

import re
import time
from dataclasses import dataclass, field

from ..quote import Shell, program, script, sh
from ..rollback import Rollback
from ..secret import Secret, generated
from .base import Resource
from .home import as_owner

MADE = "made by remote-jupyter"  # in the comment field of the accounts that we make
SYSTEM = "this account belongs to the system (uid {}); choose another name"


@dataclass(frozen=True)
class User(Resource):
    """A person's login account with its own group.

    An account that exists keeps what is not asked for.

    Args:
        name: the login name.
        home: the home directory; it must be the account's own.
        shell: the login shell; empty means any.
        groups: groups that the account is a member of.
        not_groups: groups that the account is not a member of.
        password: the password; None means any.
        needs_password: whether to generate a password, and show it once, if there is none.
        adopt: whether to change an account that we did not make.
        rollback_timeout: seconds until the host undoes what could lock everyone out.
        told: receives the password that was generated.
        known: receives it too, for those who log in with it.
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
    known: list = field(default_factory=list, compare=False, repr=False)

    undo = "remove-user --user {0.name}"

    def probe(self):
        return script(
            """
            [ -z "$shell" ] || [ -x "$shell" ] || echo no shell
            if getent passwd "$name"; then
                getent shadow "$name"
                id -nG "$name"
            else
                getent group "$name" | awk -F: '{ print "group", $3 }'
                [ -z "$(ls -A "$home" 2>/dev/null)" ] || echo "home $(stat -c %U "$home")"
            fi
            """,
            name=self.name,
            home=self.home,
            shell=self.shell,
        )

    def parse(self, output):
        lines = output.splitlines()
        if lines[:1] == ["no shell"]:
            return self.parse("\n".join(lines[1:])) | {"no shell": self.shell}
        if not lines or ":" not in lines[0]:
            # A group and a home may exist without the account.
            left = dict(line.split() for line in lines)
            return {"exists": None, "shell": None, "groups": None, "password": None} | left
        _, _, uid, _, gecos, home, shell = lines[0].split(":")
        stored = lines[1].split(":")[1] if len(lines) > 1 and ":" in lines[1] else ""
        groups = lines[-1].split()
        return {
            "exists": "yes",
            "uid": uid,
            "home": home,
            "ours": "yes" if MADE in gecos else "no",
            "shell": shell,
            "missing groups": " ".join(group for group in self.groups if group not in groups),
            "surplus groups": " ".join(group for group in self.not_groups if group in groups),
            "locked": "yes" if expired(lines[1]) else "no",
            "password": self._password(stored),
        }

    def _password(self, stored):
        if not stored.strip("!*"):
            return "none"
        if self.password and not self.password.matches("sha512_crypt", stored):
            return "another"
        return "set"

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
            return (
                f"{self.shell} is not installed, and SSH logins need a shell that exists; "
                "install it or choose another one"
            )
        if not actual["exists"]:
            if not is_person(actual.get("group", 1000)):
                return (
                    f"a group of this name belongs to the system (gid {actual['group']}); "
                    "choose another name"
                )
            if "home" in actual:
                return (
                    f"{self.home} exists already and has files of {actual['home']}; "
                    "move it away or set user.home"
                )
            return None
        if not is_person(actual["uid"]):
            return SYSTEM.format(actual["uid"])
        if actual["home"] != self.home:
            return (
                f"this account exists, and its home is {actual['home']} instead of {self.home}; "
                "set user.home or choose another name"
            )
        if actual["locked"] == "yes" and self != User(self.name, self.home):
            return "this account is locked; run lock-user --unlock first"
        if not self.adopt and actual["ours"] == "no":
            return (
                "this account exists and was not made by us: "
                "set user.adopt to give it sudo and SSH keys"
            )
        return None

    def apply(self, actual):
        steps = []
        if not actual["exists"]:
            steps.append(self._create())
        elif "shell" in self.changed(actual):
            steps.append(sh("usermod -s {} {}\n", self.shell, self.name))
        for group in self.groups:
            steps.append(sh("usermod -a -G {} {}\n", group, self.name))
        for group in actual.get("surplus groups", "").split():
            steps.append(sh("gpasswd -d {} {} >/dev/null\n", self.name, group))
        if self.desired().get("password", actual["password"]) != actual["password"]:
            password = self.password or generated()
            if not self.password:
                self.told.append(password)
                self.known.append(password)
            # chpasswd reads standard input, so the hash is in no argument list.
            hashed = password.hashed("sha512_crypt")
            steps.append(sh("printf '%s:%s\\n' {} {} | chpasswd -e\n", self.name, hashed))
        return "".join(steps)

    def _create(self):
        shell = self.shell or "/bin/bash"
        return script(
            """
            # A removed account may have left its group.
            if getent group "$name" >/dev/null; then set -- -g "$name"; else set -- -U; fi
            # Debian 12 lets other users read a new home.
            useradd -m -K HOME_MODE=0700 -c "$comment" -d "$home" -s "$shell" "$@" "$name"
            # useradd leaves an empty directory, such as a mounted volume, to root.
            chown "$name:" "$home"
            """,
            name=self.name,
            home=self.home,
            shell=shell,
            comment=MADE,
        )

    def rollback_for(self, actual):
        if not actual["exists"]:
            return None
        groups = actual["surplus groups"].split()
        back = [sh("gpasswd -a {} {}", self.name, group) for group in groups]
        if "shell" in self.changed(actual):
            back.append(sh("usermod -s {} {}", actual["shell"], self.name))
        if not back:
            return None
        return Rollback("account", back="\n".join(back), seconds=self.rollback_timeout)

    def merge(self, other):
        if isinstance(other, User) and other == User(self.name, self.home):
            return self
        return super().merge(other)

    def notice(self, output=""):
        if not self.told:
            return None
        return (
            f"The password of {self.name} (for sudo) is now: {self.told[-1].reveal()}   "
            "It is shown only this once."
        )


@dataclass(frozen=True)
class AuthorizedKeys(Resource):
    """The SSH keys that may log in to an account. Keys that others added stay.

    Args:
        user: the account.
        home: its home directory.
        keys: public keys that may log in, as lines of an authorized_keys file.
        removed: public keys that may not log in.
        copied_from: another account, whose keys may log in too.
        needed: whether it is a conflict if no key remains.
        rollback_timeout: seconds until the host restores keys that were removed.
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
        """The file that has the keys."""
        return f"{self.home}/.ssh/authorized_keys"

    def probe(self):
        own = script(
            """
            if [ -L "$path" ]; then echo 'a symbolic link'
            elif [ -f "$path" ] && [ ! -r "$path" ]; then echo "a file that $user cannot read"
            elif [ -f "$path" ]; then stat -c '%U %a' "$path"; head -c 1000000 "$path"
            elif [ -e "$path" ]; then stat -c 'a %F' "$path"
            else echo absent; fi
            """,
            path=self.path,
            user=self.user,
        )
        other = script(
            """
            path=$(getent passwd "$user" | cut -d: -f6)/.ssh/authorized_keys
            [ ! -f "$path" ] || head -c 1000000 "$path"
            """,
            user=self.copied_from,
        )
        return script(
            """
            own
            printf '\\000'
            other
            """,
            own=as_owner(self.user, own, no_user="echo absent"),
            other=as_owner(self.copied_from, other, no_user=":") if self.copied_from else Shell(""),
        )

    def parse(self, output):
        file, _, copied = output.partition("\0")
        head, _, text = file.partition("\n")
        present = {key for key, _ in keys_in(text)}
        removed = {key for line in self.removed for key, _ in keys_in(line)}
        offered = self._offered(copied)
        missing = {key: line for key, line in offered if key not in present | removed}
        surplus = [
            line for line in text.splitlines() if {key for key, _ in keys_in(line)} & removed
        ]
        return {
            **self._about(head),
            "missing keys": "\n".join(missing.values()),
            "surplus keys": "\n".join(surplus),
            "any": bool((present | {key for key, _ in offered}) - removed),
        }

    def _offered(self, copied):
        """Return (key, line) of each key that may log in, with those of the other account."""
        own = [pair for key in self.keys for pair in keys_in(key)]
        # A key that may only run one command gives no login. Cloud images have one for root, which
        # prints "log in as ...".
        logins = [
            (key, line) for key, line in keys_in(copied) if "command=" not in line.split(key)[0]
        ]
        return own + logins

    def _about(self, head):
        """Return the owner and mode in the first line of the probe's output."""
        if head == "absent":
            return {"foreign": "", "owner": None, "mode": None}
        if head.startswith("a ") and not head[-1].isdigit():
            return {"foreign": head, "owner": None, "mode": None}
        owner, mode = head.split()
        return {"foreign": "", "owner": owner, "mode": mode.zfill(4)}

    def desired(self):
        return {"missing keys": "", "surplus keys": "", "owner": self.user, "mode": "0600"}

    def conflict(self, actual):
        if actual["foreign"]:
            return (
                f"{actual['foreign']} is in the place of the file; move it away and run this again"
            )
        if self.needed and not actual["any"]:
            return (
                f"no key could log in as {self.user}: "
                "set user.authorized_keys to a key or a file of keys"
            )
        return None

    def apply(self, actual):
        missing = actual["missing keys"]
        code = program(
            "write-keys",
            *[f"-e{line}" for line in actual["surplus keys"].splitlines()],
            path=self.path,
            template=f"{self.home}/.ssh/.authorized_keys.XXXXXX",
            missing=missing + "\n" if missing else "",
        )
        return as_owner(self.user, code)

    def diff(self, actual):
        lines = [f"-{line}" for line in actual["surplus keys"].splitlines()]
        lines += [f"+{line}" for line in actual["missing keys"].splitlines()]
        return "\n".join(lines) or super().diff(actual)

    def rollback_for(self, actual):
        if not actual["surplus keys"]:
            return None
        code = sh("printf '\\n%s\\n' {} >>{}", actual["surplus keys"], self.path)
        back = as_owner(self.user, code)
        return Rollback("keys", back=back, seconds=self.rollback_timeout)


@dataclass(frozen=True)
class UserLocked(Resource):
    """A login account that cannot log in, neither by key nor by password.

    Args:
        name: the login name.
        locked: False means that the account can log in.
        or_gone: whether a missing account is fine too.
    """

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
        return None if actual["state"] else "there is no such account; check user.name"

    def apply(self, actual):
        if self.locked:
            return sh("usermod --lock --expiredate 1 {}", self.name)
        # usermod --unlock refuses an account that never had a password.
        return script(
            """
            usermod --expiredate '' "$name"
            case $(getent shadow "$name" | cut -d: -f2) in '!'?*) usermod --unlock "$name";; esac
            """,
            name=self.name,
        )


@dataclass(frozen=True)
class UserAbsent(Resource):
    """No account of a name exists.

    An account that runs programs is a conflict.

    Args:
        name: the login name.
        home: its home directory.
        with_home: whether to remove the home directory too.
        adopt: whether to remove an account that we did not make.
    """

    name: str
    home: str
    with_home: bool = False
    adopt: bool = False

    undo = "move {0.home} away, create-user --user {0.name}, and move the files back"

    def probe(self):
        return script(
            """
            getent passwd "$name" || exit 0
            logins='/^(systemd|\\(sd-pam\\)|dbus-daemon|sshd|sshd-session)$/d'
            ps -o comm= -u "$name" 2>/dev/null | sed -E "$logins" | sort -u
            :
            """,
            name=self.name,
        )

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
        if not is_person(actual["uid"]):
            return SYSTEM.format(actual["uid"])
        if not self.adopt and not actual["ours"]:
            return "this account was not made by us: set user.adopt to remove it anyway"
        if actual["home"] != self.home:
            return (
                f"the home of this account is {actual['home']} instead of {self.home}; "
                "set user.home"
            )
        if actual["running"]:
            return (
                f"this account still runs {actual['running']}; end that first, "
                "for example by stopping its service"
            )
        return None

    def apply(self, actual):
        manager = f"user@{actual['uid']}.service"
        return script(
            """
            # End logins that are about to end anyway, or that were forgotten.
            loginctl terminate-user "$name" 2>/dev/null || :
            systemctl stop "$manager" 2>/dev/null || :
            tries=0
            while ps -u "$name" >/dev/null && [ $tries -lt 50 ]; do
                tries=$((tries + 1))
                sleep 0.1
            done
            if [ -n "$with_home" ]; then userdel --remove "$name"; else userdel "$name"; fi
            """,
            name=self.name,
            manager=manager,
            with_home=self.with_home,
        )


def is_person(number: int | str) -> bool:
    """Return whether a uid or gid is one of those that Debian gives to people."""
    return 1000 <= int(number) < 60000


def expired(line: str) -> bool:
    """Return whether an account has expired, as a locked one has.

    Args:
        line: its line of ``getent shadow``.
    """
    day = line.split(":")[7] if line.count(":") > 7 else ""
    return bool(day) and int(day) * 86400 <= time.time()


KEY = re.compile(r"(?:^|\s)((?:ssh|ecdsa|sk)-[\w@.-]+\s+[A-Za-z0-9+/=]{40,})")


def keys_in(text: str) -> list[tuple[str, str]]:
    """Return (type and key, whole line) of each public key in an authorized_keys file."""
    found = []
    for line in text.splitlines():
        if not line.lstrip().startswith("#") and (match := KEY.search(line)):
            found.append((match[1], line.strip()))
    return found

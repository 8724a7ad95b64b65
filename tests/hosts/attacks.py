"""The table of attacks: what is attempted, from where, and what stops it.

`inv attacks` makes docs/attacks.md of it.
"""

from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs/attacks.md"

HEAD = """\
# What code in Jupyter cannot do

Whoever has Jupyter's password runs code as the account that Jupyter runs in. These attacks try to
get further: to root, to another user, or out of the protection of Jupyter's unit.
`tests/hosts/test_escape.py` runs those from a kernel or a terminal, from another local user and
from the network on real Debian 12 and 13 servers, with `jupyter.runner` systemd and tmux. A test
fails if one of them succeeds. To show that they can succeed, those that aim at the unit also run
over SSH, outside it. `tests/hosts/test_hardening.py` has the fake sshd, `tests/test_shell.py` the
forged frames. Of the attacks at a later login, the tests run the two that use `sudo` or a program
of the environment; the others are reasoned.

The last column is for `user.sudo: true`, which is off by default. It lets one account both run
Jupyter and administer the server. Most attacks are still stopped, but those marked **possible**
let code in Jupyter wait for a login of that account and become root with its next `sudo`. Set
`admin.name` instead. With `jupyter.sudo: true`, Jupyter's terminals may use sudo, so the user's
password is all that protects root.

This file is generated from `tests/hosts/attacks.py` by `inv attacks`.
"""


@dataclass(frozen=True)
class Attack:
    """One attempt.

    Args:
        name: what is attempted, as a reader calls it; also its name in tests.
        stopped_by: what stops it.
        code: Python code that attempts it; it raises an error if it is stopped.
        says: a regular expression for the error, so that a mistake here is no success.
        origin: where it starts: ``Jupyter`` (a kernel and a terminal), ``another user``,
            ``the network`` or ``the home`` (what a run of ours finds there).
        outside: whether it succeeds over SSH as the same user, outside the unit. The lab's file
            system cannot rename directories of a layer, so that this is not known of those.
        with_sudo: what is different with ``user.sudo``; empty if it is stopped too.
    """

    name: str
    stopped_by: str
    code: str = ""
    says: str = "EROFS|EACCES|EPERM"
    origin: str = "Jupyter"
    outside: bool = False
    with_sudo: str = ""


READ_ONLY = "read-only in Jupyter's unit"
MOUNT = "a mount point in Jupyter's unit, which cannot be renamed"
NAMESPACE = "Jupyter's unit has a user namespace of its own (`PrivateUsers`)"
UNSEEN = "`ProtectProc` hides it, and " + NAMESPACE
HIDDEN = "inaccessible in Jupyter's unit"
SYSTEM = "the system is read-only in Jupyter's unit, and root's"
ROOTS = "only root can read it"
NO_PRIVILEGES = "`NoNewPrivileges`: setuid programs gain nothing"
CAPABILITIES = "no capabilities, and a filter of system calls"

IN_THE_UNIT = (
    Attack(
        "add a key to `.ssh/authorized_keys`",
        READ_ONLY,
        "append('.ssh/authorized_keys')",
        outside=True,
    ),
    Attack("replace `.ssh` by another directory", MOUNT, "swap('.ssh')", "EBUSY"),
    Attack("create `.ssh/rc`, which sshd runs", READ_ONLY, "create('.ssh/rc')", outside=True),
    Attack("change `.bashrc`", READ_ONLY, "append('.bashrc')", outside=True),
    Attack("replace `.bashrc` by another file", MOUNT, "swap('.bashrc')", "EBUSY", outside=True),
    Attack("change `.profile`", READ_ONLY, "append('.profile')", outside=True),
    Attack(
        "change `.bash_profile`",
        f"configure-jupyter creates it; {READ_ONLY}",
        "append('.bash_profile')",
        outside=True,
    ),
    Attack(
        "create `.bash_login`",
        "bash reads `.bash_profile` instead, which exists",
        "read_at_login('.bash_login')",
        "not read",
    ),
    Attack("change `.bash_logout`", READ_ONLY, "append('.bash_logout')", outside=True),
    Attack(
        "set `LD_PRELOAD` in `.pam_environment`",
        f"configure-jupyter creates it; {READ_ONLY}",
        "append('.pam_environment')",
        outside=True,
    ),
    Attack(
        "create a unit of the user's systemd",
        f"`.config/systemd` is {READ_ONLY}",
        "create('.config/systemd/x.service')",
        outside=True,
    ),
    Attack(
        "replace `.config`, with a unit in the new one",
        MOUNT,
        "swap('.config')",
        "EBUSY",
    ),
    Attack(
        "set variables in `.config/environment.d`",
        READ_ONLY,
        "create('.config/environment.d/x.conf')",
        outside=True,
    ),
    Attack(
        "put a `sudo` into `~/bin`",
        f"configure-jupyter creates it; {READ_ONLY}",
        "create('bin/sudo')",
        outside=True,
    ),
    Attack(
        "put a `sudo` into `~/.local/bin`",
        f"configure-jupyter creates it; {READ_ONLY}",
        "create('.local/bin/sudo')",
        outside=True,
    ),
    Attack("replace `.local`, with a `sudo` in the new one", MOUNT, "swap('.local')", "EBUSY"),
    Attack(
        "start a process by `systemd-run --user`",
        f"`/run/user` is {HIDDEN}",
        "succeeds('systemd-run', '--user', '--wait', 'true')",
        "Failed to connect|bus",
    ),
    Attack(
        "talk to the user's D-Bus",
        f"`/run/user` is {HIDDEN}",
        "connect(f'/run/user/{os.getuid()}/bus')",
        "EACCES|ENOENT",
    ),
    Attack(
        "talk to the user's systemd",
        f"`/run/user` is {HIDDEN}",
        "connect(f'/run/user/{os.getuid()}/systemd/private')",
        "EACCES|ENOENT",
        outside=True,
    ),
    Attack(
        "talk to the system's D-Bus",
        f"`/run/dbus` is {HIDDEN}",
        "connect('/run/dbus/system_bus_socket')",
        "EACCES|ENOENT|ECONNREFUSED",
        outside=True,
    ),
    Attack(
        "talk to systemd's private socket",
        f"it is root's, and {HIDDEN}",
        "connect('/run/systemd/private')",
        "EACCES|ENOENT|ECONNREFUSED",
    ),
    Attack(
        "restart a service by `systemctl`",
        f"D-Bus is {HIDDEN}",
        "succeeds('systemctl', 'restart', 'cron')",
        "Failed to|bus|denied|required",
    ),
    Attack(
        "add a job by `crontab`",
        "`crontab` needs its group, and " + NO_PRIVILEGES,
        "succeeds('sh', '-c', 'echo \"0 0 1 1 * true\" | crontab -')",
        "denied|mkstemp|not permitted|[Rr]ead-only",
        outside=True,
    ),
    Attack(
        "add a job by `at`",
        "`at` needs its user, and " + NO_PRIVILEGES,
        "succeeds('sh', '-c', 'echo true | at now + 1 year')",
        "permission|denied|[Cc]annot",
        outside=True,
    ),
    Attack(
        "write `/proc/PID/mem` of an SSH login of the same user",
        UNSEEN,
        "os.close(os.open(f'/proc/{VICTIM}/mem', os.O_RDWR))",
        "EACCES|EPERM|ENOENT",
        outside=True,
    ),
    Attack("trace an SSH login of the same user", NAMESPACE, "trace(VICTIM)", outside=True),
    Attack(
        "read the environment of an SSH login of the same user",
        UNSEEN,
        "open(f'/proc/{VICTIM}/environ').read()",
        "EACCES|EPERM|ENOENT",
        outside=True,
    ),
    Attack(
        "go through `/proc/PID/root` of an SSH login to `.bashrc`",
        UNSEEN,
        "append(f'/proc/{VICTIM}/root{HOME}/.bashrc')",
        "EACCES|EPERM|ENOENT",
        outside=True,
    ),
    Attack(
        "take a key from the kernel's keyring of an SSH login",
        NAMESPACE + ", so another keyring",
        "keyring('victim')",
        "ENOKEY|EACCES|EPERM|ENOSYS",
    ),
    Attack(
        "reach a socket in `/tmp`, such as that of the user's own tmux",
        "`/tmp` is private",
        "connect('/tmp/victim.socket')",
        "ENOENT",
        outside=True,
    ),
    Attack(
        "hold the lock of runs in `/run/remote-jupyter`",
        "the directory is root's (0700)",
        "lock('/run/remote-jupyter/lock')",
    ),
    Attack(
        "hold the lock of rollbacks in `/var/lib/remote-jupyter`",
        "the directory is root's (0700)",
        "lock('/var/lib/remote-jupyter/rollback.lock')",
    ),
    Attack(
        "read the certificate's private key",
        ROOTS,
        "open('/etc/remote-jupyter/tls/key.pem').read()",
    ),
    Attack("read `/etc/shadow`", ROOTS, "open('/etc/shadow').read()"),
    Attack("read root's `.ssh`", ROOTS, "os.listdir('/root/.ssh')"),
    Attack(
        "become root by `sudo`",
        NO_PRIVILEGES,
        "succeeds('sudo', '-n', 'true')",
        "no new privileges|password is required|may not run|not permitted|must be owned by uid 0",
    ),
    Attack(
        "become root by `su`",
        NO_PRIVILEGES,
        "succeeds('su', '-c', 'true')",
        "Authentication failure|must be run from a terminal|Permission denied|cannot set",
    ),
    Attack(
        "gain anything by a setuid program (`pkexec`, `mount`)",
        NO_PRIVILEGES,
        "status('NoNewPrivs', '0')",
        "NoNewPrivs is 1",
        outside=True,
    ),
    Attack("make a setuid program", "`RestrictSUIDSGID`", "setuid_file()", outside=True),
    Attack("mount a file system", CAPABILITIES, "mount()"),
    Attack("make a user namespace", "`RestrictNamespaces`", "unshare(0x10000000)", outside=True),
    Attack("open a raw socket", CAPABILITIES, "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)"),
    Attack(
        "sniff the network",
        "`RestrictAddressFamilies`",
        "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
        "EAFNOSUPPORT|EPERM",
    ),
    Attack("load a kernel module", CAPABILITIES, "syscall(313, -1, b'', 0)"),
    Attack(
        "set `kernel.core_pattern`",
        "`ProtectKernelTunables`, and root's",
        "append('/proc/sys/kernel/core_pattern')",
    ),
    Attack(
        "leave the control group",
        "`ProtectControlGroups`, and root's",
        "append('/sys/fs/cgroup/cgroup.procs')",
        "EROFS|EACCES|EPERM|ENOENT",
    ),
    Attack("write Jupyter's unit", SYSTEM, "append('/etc/systemd/system/jupyter.service')"),
    Attack("add a drop-in to Jupyter's unit", SYSTEM, "create('/etc/systemd/system/x.service')"),
    Attack("add a job to `/etc/cron.d`", SYSTEM, "create('/etc/cron.d/x')"),
    Attack("put a `sudo` into `/usr/local/bin`", SYSTEM, "create('/usr/local/bin/sudo')"),
    Attack("preload a library into each program", SYSTEM, "create('/etc/ld.so.preload')"),
    Attack(
        "change a page or program of Apache",
        SYSTEM,
        "create('/var/www/html/x')",
        "EROFS|EACCES|EPERM|ENOENT",
    ),
    Attack(
        "end a process of another user", "it is another user's", "os.kill(OTHER, 9)", "EPERM|ESRCH"
    ),
    Attack(
        "read another user's notebooks",
        "new homes are 0700",
        "open('/home/eve/notebooks/x.ipynb').read()",
    ),
    Attack(
        "read another user's environment in `/proc`",
        "`ProtectProc`, and another user's",
        "open(f'/proc/{OTHER}/environ').read()",
        "EACCES|EPERM|ENOENT",
    ),
)

BY_ANOTHER_USER = (
    Attack(
        "use Jupyter on loopback without its password",
        "each request needs the password's cookie",
        "fetch('/api/contents')",
        "403",
    ),
    Attack(
        "start a kernel on loopback without the password",
        "each request needs the password's cookie",
        "fetch('/api/kernels', b'{}')",
        "403",
    ),
    Attack(
        "read the password's hash",
        "`.jupyter` is 0700",
        "open('/home/jupyter/.jupyter/password-hash').read()",
    ),
    Attack(
        "read the cookie secret",
        "Jupyter's runtime directory is the user's",
        "open(RUNTIME + '/jupyter_cookie_secret').read()",
    ),
    Attack(
        "read a kernel's connection file",
        "Jupyter's runtime directory is the user's",
        "os.listdir(RUNTIME)",
    ),
    Attack(
        "find a token in Jupyter's environment",
        "another user's process",
        "open(f'/proc/{JUPYTER}/environ').read()",
    ),
    Attack(
        "find a token in Jupyter's arguments",
        "there is none",
        "token(open(f'/proc/{JUPYTER}/cmdline').read())",
        "no token",
    ),
    Attack(
        "read what a kernel prints, at its socket",
        "kernels use sockets in Jupyter's runtime directory, and no TCP ports",
        "listen(IOPUB)",
    ),
    Attack(
        "read Jupyter's notebooks", "new homes are 0700", "os.listdir('/home/jupyter/notebooks')"
    ),
    Attack(
        "attach to Jupyter's tmux",
        "its directory in `/run` is 0700",
        "connect('/run/jupyter/tmux')",
        "EACCES|ENOENT",
    ),
    Attack(
        "hold the lock of runs",
        "the directory is root's (0700)",
        "lock('/run/remote-jupyter/lock')",
    ),
    Attack(
        "hold the lock of rollbacks",
        "the directory is root's (0700)",
        "lock('/var/lib/remote-jupyter/rollback.lock')",
    ),
)

FROM_THE_NETWORK = (
    Attack(
        "call Jupyter by another name (DNS rebinding)", "Apache and Jupyter check the Host header"
    ),
    Attack("open a websocket from another site's page", "Jupyter checks the Origin header"),
    Attack("post from another site's page with the user's cookie", "Jupyter's XSRF token"),
    Attack("reach Jupyter's port from outside", "it listens on loopback, and ufw blocks the rest"),
)

ON_RUNS = (
    Attack("links in place of what a run writes in the home", "a run writes as the home's owner"),
    Attack(
        "pipes in place of what a run reads in the home",
        "a run reads as the owner, with a time limit",
    ),
    Attack(
        "endless files in place of what a run reads in the home", "a run reads with a limit of size"
    ),
    Attack(
        "a process named `sshd` that opens a port in the firewall",
        "ports count only if root's `/usr/sbin/sshd` holds them",
    ),
    Attack(
        "answers of Jupyter's that look like frames of the run",
        "each run has a secret token, which no argument shows",
    ),
    Attack(
        "wait for the administrator's sudo password in the account",
        "SUDO_PASSWORD goes only to the account that logs in",
    ),
)

AFTER_A_LOGIN = (
    Attack(
        "put a `sudo` into the environment's `bin`, for the administrator's login",
        "the administrator is another account, and its PATH has nothing of Jupyter's",
    ),
    Attack(
        "change a program of the environment that the user runs over SSH",
        "the account cannot become root",
        with_sudo="**possible**: it runs outside the unit, and gets the next password of sudo",
    ),
    Attack(
        "change other files that programs run (`.vimrc`, `.gitconfig`, conda's hook in `.bashrc`)",
        "the account cannot become root",
        with_sudo="**possible**, as before",
    ),
    Attack(
        "run a command where the user attaches to Jupyter's tmux",
        "the account cannot become root",
        with_sudo="**possible** with `jupyter.runner: tmux`, as before",
    ),
    Attack(
        "replace a start-up file that the owner saved by renaming since Jupyter's start",
        "the account cannot become root; the next start of Jupyter protects the new file",
        with_sudo="**possible** until Jupyter restarts",
    ),
    Attack(
        "end processes of the same account outside the unit",
        "nothing: they are the same user's; a process that has become root is safe",
        with_sudo="possible, but it gives no rights",
    ),
)


# What a run reads or writes below the home. A new resource that names another path belongs here.
DIRECTORIES = (".ssh", ".jupyter", ".config", ".local/bin", "bin", "jupyter-env", "notebooks")
PATHS = (
    *DIRECTORIES,
    ".ssh/authorized_keys",
    ".jupyter/classic.json",
    ".jupyter/classic.py",
    ".jupyter/jupyter_notebook_config.json",
    ".jupyter/jupyter_notebook_config.py",
    ".jupyter/jupyter_server_config.json",
    ".jupyter/jupyter_server_config.py",
    ".jupyter/password-hash",
    ".bash_profile",
    ".local/share/jupyter/runtime/jpserver-1.json",
    "jupyter-env/bin/jupyter",
    "jupyter-env/bin/python3",
    "jupyter-env/pyvenv.cfg",
)

PARTS = (
    ("a kernel or a terminal", IN_THE_UNIT),
    ("another local user", BY_ANOTHER_USER),
    ("the network", FROM_THE_NETWORK),
    ("files or processes of Jupyter's account, during a run of `fab`", ON_RUNS),
    ("files of Jupyter's account, at a later login", AFTER_A_LOGIN),
)


def page():
    """Return the text of docs/attacks.md."""
    rows = [
        f"| {number} | {attack.name} | {place} | {attack.stopped_by} |"
        f" {attack.with_sudo or 'stopped'} |"
        for number, (place, attack) in enumerate(
            ((place, attack) for place, attacks in PARTS for attack in attacks), 1
        )
    ]
    head = [
        "| | attempt | from | what stops it | with `user.sudo` |",
        "| --- | --- | --- | --- | --- |",
    ]
    return "\n".join([HEAD, *head, *rows, ""])

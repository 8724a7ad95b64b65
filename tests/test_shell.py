"""Quoting, and the root shell with a real ``sh`` behind an SSH server in this process."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import threading
from types import SimpleNamespace

import paramiko
import pytest
from invoke import UnexpectedExit

from fabfile.kit.errors import ConnectionLost, Unreachable
from fabfile.kit.host import Host
from fabfile.kit.patchwork import files
from fabfile.kit.quote import sh, words
from fabfile.kit.shell import Shell

NASTY = [
    "",
    " a  b ",
    'it\'s "quoted"',
    "$HOME ${x} $(id) `id`",
    "back\\slash \\n \\\\",
    "line\nline\n\n",
    "tab\tand\rreturn",
    "{} {0} {x} %s %d %%",
    "-n",
    "~ * ? [a] ! # & ; | < >",
    "Jürgen 日本語 €",
    "byte \udcff",
]
FAKE_SUDO = """#!/bin/sh
[ "$1 $2" = "-S -p" ] || exit 64
prompt=$3; shift 3
echo "[sudo] we trust you have received the usual lecture" >&2
case $SUDO_MODE in
    free) ;;
    silent) echo "Verification code:" >&2; sleep 30; exit 1;;
    never) echo "ada is not in the sudoers file." >&2; exit 1;;
    *)
        for try in 1 2 3; do
            printf %s "$prompt" >&2
            IFS= read -r given || exit 1
            if [ "$given" = "$SUDO_EXPECTS" ]; then break; fi
            echo "Sorry, try again." >&2
            [ $try != 3 ] || exit 1
        done
esac
exec "$@"
"""


class Server(paramiko.ServerInterface):
    """An SSH server in this process; the local shell runs *before* and then each command."""

    def __init__(self):
        self.transport = None
        self.commands, self.processes, self.threads = [], [], []
        self.environment = {
            "PATH": os.environ["PATH"],
            "SSH_CONNECTION": "192.0.2.1 50000 192.0.2.2 2222",
        }
        self.before, self.refuses = "", False

    def check_auth_none(self, username):
        return paramiko.AUTH_SUCCESSFUL

    def check_channel_request(self, kind, chanid):
        return (
            paramiko.OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED
            if self.refuses
            else paramiko.OPEN_SUCCEEDED
        )

    def check_channel_exec_request(self, channel, command):
        self.commands.append(command.decode())
        process = subprocess.Popen(
            ["/bin/sh", "-c", f"{self.before}\n{command.decode()}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment,
            start_new_session=True,
        )
        self.processes.append(process)
        self.threads.append(
            threading.Thread(target=self.serve, args=(channel, process), daemon=True)
        )
        self.threads[-1].start()
        return True

    @staticmethod
    def serve(channel, process):
        """Carry bytes between the channel and the process until the process ends."""

        def give():
            try:
                while data := channel.recv(1 << 16):
                    process.stdin.write(data)
                    process.stdin.flush()
                process.stdin.close()
            except OSError:
                pass

        def take(stream, send):
            try:
                while data := os.read(stream.fileno(), 1 << 16):
                    send(data)
            except OSError:
                pass

        pumps = [
            threading.Thread(target=take, args=(process.stdout, channel.sendall), daemon=True),
            threading.Thread(
                target=take, args=(process.stderr, channel.sendall_stderr), daemon=True
            ),
        ]
        threading.Thread(target=give, daemon=True).start()
        for pump in pumps:
            pump.start()
        for pump in pumps:
            pump.join()
        for stream in (process.stdout, process.stderr):
            stream.close()
        channel.send_exit_status(process.wait() % 256)
        channel.close()


@pytest.fixture(scope="module")
def host_key():
    return paramiko.ECDSAKey.generate()


@pytest.fixture
def server(host_key):
    """A running server, and the client's side of the connection to it as `transport`."""
    with serving(host_key) as made:
        yield made


@contextlib.contextmanager
def serving(host_key):
    """Run a server until the block ends."""
    ours, theirs = socket.socketpair()
    made = Server()
    made.end = paramiko.Transport(theirs)
    made.end.add_server_key(host_key)
    made.end.start_server(event=threading.Event(), server=made)
    made.transport = paramiko.Transport(ours)
    made.transport.start_client(timeout=5)
    made.transport.auth_none("root")
    yield made
    made.transport.close()
    made.end.close()
    for process in made.processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # and what its steps left behind
    for thread in made.threads:
        thread.join(1)


def connection(server, user="root", password=None):
    """Return the parts of a Fabric connection that a root shell needs."""
    return SimpleNamespace(
        original_host="web",
        host="web",
        user=user,
        port=22,
        gateway=None,
        ssh_config={},
        is_connected=True,
        transport=server.transport,
        close=server.transport.close,
        config=SimpleNamespace(sudo=SimpleNamespace(password=password)),
    )


@pytest.fixture(autouse=True)
def no_hosts_left():
    """Forget the hosts after each test."""
    yield
    Host.close_all()


@pytest.fixture
def shell(server):
    return Shell(connection(server))


@pytest.fixture
def sudo(server, tmp_path, monkeypatch):
    """Put a sudo into the server's PATH that behaves as `sudo("free")` and so on says."""
    program = tmp_path / "sudo"
    program.write_text(FAKE_SUDO)
    program.chmod(0o755)
    for name in ("SUDO_PASSWORD", "SUDO_PASSWORD_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.stdin", open(os.devnull))  # noqa: SIM115

    def behave(mode, expects=""):
        server.environment |= {
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "SUDO_MODE": mode,
            "SUDO_EXPECTS": expects,
        }

    return behave


def outs(shell, *steps, **options):
    """Return what each of *steps* printed."""
    return [answer.out for answer in shell.batch(steps, **options)]


# -- quoting


@pytest.mark.parametrize("value", NASTY)
def test_a_value_becomes_one_word(value):
    script = sh("printf '%s' {}", value).encode("utf-8", "surrogateescape")
    done = subprocess.run(["sh"], input=script, capture_output=True)
    assert done.stdout.decode("utf-8", "surrogateescape") == value
    assert not done.stderr


def test_values_become_words_in_order():
    script = sh("printf '[%s]' {} {}", words(NASTY), "end").encode("utf-8", "surrogateescape")
    done = subprocess.run(["sh"], input=script, capture_output=True)
    assert done.stdout.decode("utf-8", "surrogateescape") == "".join(
        f"[{value}]" for value in [*NASTY, "end"]
    )


def test_shell_text_is_not_quoted_again():
    assert sh("{}; {}", sh("echo {}", "a b"), "c d") == "echo 'a b'; 'c d'"


def test_other_braces_stand_for_themselves():
    assert sh('f() { echo "${x:-}"; }; f {}', "a") == 'f() { echo "${x:-}"; }; f a'


@pytest.mark.parametrize("values", [(), ("a",), ("a", "b", "c")])
def test_a_wrong_number_of_values_is_an_error_without_values(values):
    with pytest.raises(ValueError, match=f"2 places but {len(values)} values") as caught:
        sh("echo {} {}", *values)
    assert "echo" not in str(caught.value)


# -- frames


@pytest.mark.parametrize("value", NASTY)
def test_output_comes_back_unchanged(shell, value):
    [answer] = shell.batch([sh("printf %s {}; printf %s {} >&2", value, value)])
    assert (answer.status, answer.out, answer.err) == (0, value, value)


def test_output_keeps_its_last_newline_or_its_absence(shell):
    assert outs(shell, "printf a", "printf 'a\\n'", "printf 'a\\n\\n'", "printf '\\n'", ":") == [
        "a",
        "a\n",
        "a\n\n",
        "\n",
        "",
    ]


def test_every_byte_comes_back(shell):
    octal = "".join(f"\\{number:03o}" for number in range(256))
    [answer] = shell.batch([f"printf '{octal}'"])
    assert answer.out.encode("utf-8", "surrogateescape") == bytes(range(256))


def test_a_large_script_and_a_large_answer_pass(shell):
    text = "".join(f"{number:>9}\n" for number in range(150_000))
    printed, counted, after = outs(
        shell, sh("printf %s {}", text), sh("printf %s {} | wc -c", text), "echo after"
    )
    assert printed == text
    assert int(counted) == len(text) == 1_500_000
    assert after == "after\n"


def test_output_and_errors_are_kept_apart_for_each_step(shell):
    answers = shell.batch(["echo o1; echo e1 >&2", "echo e2 >&2", "echo o3"])
    assert [(answer.out, answer.err) for answer in answers] == [
        ("o1\n", "e1\n"),
        ("", "e2\n"),
        ("o3\n", ""),
    ]


def test_each_step_has_its_own_exit_status(shell):
    assert [
        answer.status
        for answer in shell.batch(
            [":", "false", "exit 7", "kill -9 $(sh -c 'echo $PPID')", "(exit 255)"]
        )
    ] == [*(0, 1, 7, 128 + 9, 255)]


def test_many_steps_are_one_round_trip(shell):
    assert outs(shell, *["echo x"] * 200) == ["x\n"] * 200
    assert shell.round_trips == 1
    assert outs(shell, "echo y") == ["y\n"]
    assert shell.round_trips == 2


def test_a_wake_up_that_paramiko_loses_delays_nothing(shell, monkeypatch):
    # Its pipe for select is written and emptied under two locks, one for output and one for errors.
    silent, _ = pair = os.pipe()
    monkeypatch.setattr(shell._channel, "fileno", lambda: silent)
    assert outs(shell, "echo x", "echo y") == ["x\n", "y\n"]
    for end in pair:
        os.close(end)


def test_what_the_shell_itself_opens_stays_open(shell, tmp_path):
    shell.batch([":"], first=sh("exec 9>{}; x=kept", tmp_path / "lock"))
    assert outs(shell, "echo hello >&9; echo $x") == ["kept\n"]
    assert (tmp_path / "lock").read_text() == "hello\n"


def test_no_steps_have_no_answers(shell):
    assert shell.batch([]) == []


def test_after_a_failure_the_rest_can_be_skipped(shell, tmp_path):
    step = sh("echo x >>{}", tmp_path / "traces")
    answers = shell.batch([step, f"{step}; exit 3", step, step], stop=True)
    assert [answer.status for answer in answers] == [0, 3, None, None]
    assert (tmp_path / "traces").read_text() == "x\nx\n"
    assert [answer.status for answer in shell.batch([step, "false", step])] == [0, 1, 0]


def test_the_next_batch_runs_after_one_that_stopped(shell):
    shell.batch(["false"], stop=True)
    assert outs(shell, "echo on", stop=True) == ["on\n"]


@pytest.mark.parametrize(
    "broken",
    ["if", "echo 'open", "f() {", "done", "echo $((", "case x in", "(", ")", "cat <<EOF\nx"],
)
def test_a_syntax_error_fails_its_own_step_alone(shell, broken):
    before, wrong, after = shell.batch(["echo 1", broken, "echo 2"])
    assert (before.out, after.out) == ("1\n", "2\n")
    assert wrong.status != 0 or broken.startswith("cat")


@pytest.mark.parametrize(
    "step",
    [
        "exit 0",
        "set -euf; false",
        "x=leaked; export y=leaked; readonly z=leaked",
        "cd /usr; umask 077",
        "exec >/dev/null 2>&1",
        "trap 'echo leaked' EXIT; alias echo=false; echo() { false; }",
        "exec true",
        "ulimit -n 10",
        "go=0; status=9; printf() { :; }",
        "break; continue; return 3; shift 4",
    ],
)
def test_nothing_of_a_step_leaks_into_the_next(shell, step):
    after = 'echo "$x$y$z" "$-" "$(pwd)" "$(umask)" "$(ulimit -n)"; false; echo alive'
    [fresh] = shell.batch([after])
    assert fresh.out.endswith("alive\n")
    _, leaked, last = shell.batch([step, after, "printf %s last"])
    assert (leaked.status, leaked.out, leaked.err) == (0, fresh.out, "")
    assert last.out == "last"


@pytest.mark.parametrize(
    "reader", ["cat", "read -r line; echo \"$line\" | tr -d '\\n'", "sh", "head -c 10"]
)
def test_a_step_that_reads_gets_an_empty_input(shell, reader):
    read, after = shell.batch([reader, "echo after"])
    assert (read.out, after.out) == ("", "after\n")


def test_a_background_process_delays_nothing(shell):
    assert outs(shell, "sleep 0.3 & echo left", "echo next") == ["left\n", "next\n"]


def test_each_answer_is_passed_on_as_its_step_ends(shell, tmp_path):
    told = []

    def tell(number, answer):
        told.append((number, answer.out))
        (tmp_path / str(number)).touch()

    # Each step waits for what the test does about the answer before it.
    wait = "while [ ! -e {} ]; do sleep 0.01; done; echo {}"
    steps = ["echo 0", sh(wait, tmp_path / "0", 1), sh(wait, tmp_path / "1", 2)]
    shell.batch(steps, on_answer=tell)
    assert told == [(0, "0\n"), (1, "1\n"), (2, "2\n")]


def test_whole_lines_are_passed_on_while_a_step_runs(shell, tmp_path):
    told = []

    def tell(line):
        told.append(line)
        (tmp_path / line).touch()

    step = (
        "printf 'on'; sleep 0.02; printf 'e\\ntw';"
        " while [ ! -e {} ]; do sleep 0.01; done; printf 'o\\nrest'"
    )
    [answer, last] = shell.batch([sh(step, tmp_path / "one"), "echo three"], on_line=tell)
    assert answer.out == "one\ntwo\nrest"
    assert [line for line in told if line != "rest"] == ["one", "two", "three"]


@pytest.mark.parametrize("when", ["on_answer", "on_line"])
def test_an_interrupted_batch_does_not_shift_later_answers(server, when):
    c = connection(server)
    c.close = lambda: None

    def enough(*_):
        raise KeyError

    with pytest.raises(KeyError):
        Host.of(c).shell.batch(
            ["echo 1", "echo 2; echo 2 >&2", "sleep 0.05; echo 3"], **{when: enough}
        )
    # By a shell that knows where it is, or by a new one.
    [one, two] = Host.of(c).shell.batch(["echo a; echo b >&2", "exit 4"])
    assert (one.status, one.out, one.err, two.status, two.out, two.err) == (
        0,
        "a\n",
        "b\n",
        4,
        "",
        "",
    )


def test_output_before_the_first_step_is_discarded(server):
    server.before = (
        "echo 'Welcome to web!'; printf 'no newline at the end'; echo 'a warning' >&2; sleep 0.05"
    )
    shell = Shell(connection(server))
    [answer] = shell.batch(["echo mine"])
    assert (answer.status, answer.out, answer.err) == (0, "mine\n", "")


def test_the_shell_is_the_same_for_every_kind_of_login(server):
    server.environment |= {
        "LC_ALL": "de_DE",
        "TMPDIR": "/nowhere",
        "PATH": "/usr/bin:/bin",
        "HISTFILE": "/tmp/history",
    }
    server.before = "umask 077; cd /usr"
    shell = Shell(connection(server))
    step = (
        'echo "$LC_ALL" "$SSH_SERVER_PORT" "$(umask)" "$(pwd)"'
        ' "${TMPDIR-unset}" "${HISTFILE-unset}"; echo "$PATH"'
    )
    assert outs(shell, step) == [
        "C.UTF-8 2222 0022 / unset unset\n"
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
    ]


def test_no_step_shows_in_the_command_line_of_the_shell(server):
    shell = Shell(connection(server))
    shell.batch(["echo hidden"])
    assert server.commands == ["exec /bin/sh"]


# -- a peer that dies


def test_a_shell_that_ends_early_is_a_lost_connection(shell):
    told = []
    with pytest.raises(ConnectionLost):
        shell.batch(
            ["echo fine", "kill -9 $$", "echo never"], on_answer=lambda *answer: told.append(answer)
        )
    assert [(number, answer.out) for number, answer in told] == [(0, "fine\n")]
    assert shell.closed


def test_a_rejected_login_is_reported_in_the_servers_words(server):
    server.before = "echo 'This account is currently not available.'; exit 1"
    with pytest.raises(ConnectionLost, match="This account is currently not available"):
        Shell(connection(server)).batch(["echo never"])


def test_a_connection_that_breaks_is_a_lost_connection(server, shell):
    with pytest.raises(ConnectionLost):
        shell.batch(["echo now; sleep 30"], on_line=lambda _: server.end.close())


def test_a_lost_connection_stays_lost(shell):
    for _ in range(2):
        with pytest.raises(ConnectionLost):
            shell.batch(["kill -9 $$"])


def test_a_lost_connection_shows_no_script_and_no_output(shell):
    with pytest.raises(ConnectionLost) as caught:
        shell.batch(["echo hush; kill -9 $$; : hush"])
    assert "hush" not in str(caught.value)
    assert "rj-" not in str(caught.value)


def test_a_server_that_opens_no_session_is_unreachable(server):
    server.refuses = True
    with pytest.raises(Unreachable):
        Shell(connection(server))


def test_a_connection_lost_before_the_shell_is_unreachable(server):
    server.end.close()
    server.transport.join(5)
    with pytest.raises(Unreachable):
        Shell(connection(server))


# -- becoming root


def test_sudo_without_a_password_gives_a_shell(server, sudo):
    sudo("free")
    assert outs(Shell(connection(server, "ada")), "echo $SSH_SERVER_PORT") == ["2222\n"]


@pytest.mark.parametrize("password", ["simple", 'it\'s "q" $HOME `id` \\n', "Jürgen €"])
def test_sudo_reads_the_password_from_standard_input_only(server, sudo, monkeypatch, password):
    sudo("asks", password)
    monkeypatch.setenv("SUDO_PASSWORD", password)
    assert outs(Shell(connection(server, "ada")), "echo root") == ["root\n"]
    assert password not in "".join(server.commands)


def test_fabrics_own_sudo_password_is_used(server, sudo):
    sudo("asks", "from fabric")
    assert outs(Shell(connection(server, "ada", "from fabric")), "echo root") == ["root\n"]


def test_passwordless_sudo_is_sent_no_password(server, sudo, monkeypatch):
    sudo("free")
    monkeypatch.setenv("SUDO_PASSWORD", "touch-me-not")
    [answer] = Shell(connection(server, "ada")).batch([":"])
    assert (answer.out, answer.err) == ("", "")


def test_a_wrong_sudo_password_is_reported_and_not_shown(server, sudo, monkeypatch):
    sudo("asks", "right")
    monkeypatch.setenv("SUDO_PASSWORD", "wrong-one")
    with pytest.raises(Unreachable, match="sudo does not accept this password for ada") as caught:
        Shell(connection(server, "ada"))
    assert "wrong-one" not in str(caught.value)


def test_a_user_without_sudo_is_told_in_sudos_words(server, sudo):
    sudo("never")
    with pytest.raises(Unreachable, match="(?s)ada cannot become root: .*not in the sudoers file"):
        Shell(connection(server, "ada"))


def test_sudo_without_a_known_password_is_an_error(server, sudo):
    sudo("asks", "right")
    with pytest.raises(Unreachable, match="give it in SUDO_PASSWORD"):
        Shell(connection(server, "ada"))


# -- one shell a host


def test_tasks_share_the_shell_of_a_host_until_it_is_lost(server):
    c = connection(server)
    first = Host.of(c).shell
    assert Host.of(connection(server)).shell is first
    with pytest.raises(ConnectionLost):
        c.close = connection(server).close = lambda: None
        first.batch(["kill -9 $$"])
    assert Host.of(c).shell is not first


def test_one_address_behind_two_jump_hosts_is_two_hosts(host_key):
    names = {}
    for name in ("left", "right"):
        with serving(host_key) as server:
            server.environment["NAME"] = name
            c = connection(server)
            c.gateway, c.ssh_config = f"ssh jump-{name} -W %h:%p", {"hostkeyalias": name}
            c.close = lambda: None
            names[name] = Host.of(c).shell.batch(["echo $NAME"])[0].out.strip()
            again = connection(server)
            again.gateway, again.ssh_config = c.gateway, c.ssh_config
            assert Host.of(again) is Host.of(c)
    assert names == {"left": "left", "right": "right"}


def test_a_forged_frame_of_a_login_is_not_an_answer(server, sudo):
    # What stands in sudo's arguments, and so in its log, is no mark of a frame.
    sudo("free")
    shell = Shell(connection(server, "ada"))
    shell.batch([":"])
    [command] = server.commands
    told = re.findall(r"(?:root|sudo|rj)-[0-9a-f]+", command)
    forged = [f"printf '\\n%s.2 0\\n' {mark}; printf '\\n%s 0\\n' {mark}" for mark in told]
    [answer] = shell.batch(["; ".join([*forged, "echo mine"])])
    assert answer.out.endswith("mine\n")
    assert answer.out.count("\n") == 4 * len(told) + 1


def test_a_silent_sudo_times_out(server, sudo, monkeypatch):
    sudo("silent")
    monkeypatch.setattr("fabfile.kit.shell.SUDO_TIMEOUT", 0.2)
    with pytest.raises(Unreachable, match="Verification code"):
        Shell(connection(server, "ada"))


# -- patchwork's runner


def test_patchworks_helpers_run_over_the_shell(shell, tmp_path):
    c, folder = None, tmp_path / "made"
    assert not files.exists(c, str(folder), runner=shell.run)
    files.directory(c, str(folder), mode="0750", runner=shell.run)
    assert folder.stat().st_mode & 0o7777 == 0o750
    assert files.exists(c, str(folder), runner=shell.run)
    (folder / "file").write_text("one line\n")
    assert files.contains(c, str(folder / "file"), "one line", exact=True, runner=shell.run)
    assert not files.contains(c, str(folder / "file"), "another", runner=shell.run)


def test_a_failing_runner_raises_unless_warn_is_set(shell):
    assert shell.run("exit 5", hide=True, warn=True).exited == 5
    with pytest.raises(UnexpectedExit) as caught:
        shell.run("echo why >&2; exit 5", hide=True)
    assert caught.value.result.exited == 5
    assert caught.value.result.stderr == "why\n"


def test_a_runner_shows_its_output_unless_hide_is_set(shell, capsys):
    shell.run("echo shown; echo also >&2")
    shell.run("echo hidden", hide=True)
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("shown\n", "also\n")

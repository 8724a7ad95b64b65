"""Probes and changes that /bin/sh runs in a temporary folder, as the user who runs the tests."""

import datetime
import grp
import ipaddress
import os
import pwd
import subprocess

import argon2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from fabfile.kit.converge import Run
from fabfile.kit.ledger import Ledger
from fabfile.kit.plan import Item, Plan
from fabfile.kit.quote import sh, words
from fabfile.kit.resources import MARK, AuthorizedKeys, Directory, File, FileAbsent, Handler
from fabfile.kit.secret import Secret
from fabfile.kit.shell import PREAMBLE, Answer
from fabfile.resources import PasswordFile, SelfSigned, Venv

ME = pwd.getpwuid(os.getuid()).pw_name
GROUP = grp.getgrgid(os.getgid()).gr_name
NAMES = [
    "plain.conf",
    'a file\'s "name"',
    "$HOME `id` $(id)",
    "{} {0} %s %%",
    "ünï ☃",
    "back\\slash",
    "new\nline",
    "-n *",
]
CONTENTS = {
    "nothing": "",
    "quotes": "it's \"quoted\" '\\'' \n",
    "variables": "$HOME ${x:-y} $(id) $((1+1)) `id`\n",
    "backslashes": "\\n \\t \\0 \\\\ \\c \\x41\n",
    "braces": "{} {0} {name} {% x %} {{ x }}\n",
    "per cents": "%s %d %% %n %c\n",
    "letters": "Jürgen 日本語 €\n",
    "bytes": "\udcff\udc80 latin-1: \udce4\n",
    "newlines": "\n\none\n\n\n",
    "no newline at the end": "one\ntwo",
    "carriage returns": "one\r\ntwo\r\n",
    "an option": "-n",
    "heredoc": "<<EOF\nEOF\n",
    "much": "0123456789abcde\n" * 20_000,
}
# For a test run without root, in which the user is the right one already.
RUNUSER = 'runuser() { [ "$1 $3" = "-u --" ] && shift 3 && "$@"; }\n'
KEYS = [f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{letter * 43} {letter}@host" for letter in "ABC"]


def run(script):
    """Run shell text as the engine does, and return its status, output and errors."""
    whole = (
        PREAMBLE + ("" if os.getuid() == 0 else RUNUSER) + f"(eval {words([script])}) </dev/null"
    )
    done = subprocess.run(
        ["/bin/sh"], input=whole.encode("utf-8", "surrogateescape"), capture_output=True
    )
    return Answer(
        done.returncode,
        *(text.decode("utf-8", "surrogateescape") for text in (done.stdout, done.stderr)),
    )


def look(resource):
    """Return the state that the probe of *resource* finds."""
    answer = run(resource.probe())
    assert (answer.status, answer.err) == (0, "")
    return resource.parse(answer.out)


def change(resource, actual=None):
    """Apply *resource* and return the answer."""
    return run("set -e\n" + resource.apply(actual or look(resource)))


def converge(resource):
    """Apply *resource*, and assert that it was drifted before and is as desired now."""
    assert resource.changed(look(resource))
    answer = change(resource)
    assert (answer.status, answer.err) == (0, "")
    assert not resource.changed(look(resource))


def mode(path):
    return path.lstat().st_mode & 0o7777


def file(path, content="new\n", **options):
    return File(str(path), content, ME, **options)


# -- files


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_content_is_written_byte_for_byte(tmp_path, content):
    converge(file(tmp_path / "file", content))
    assert (tmp_path / "file").read_bytes() == content.encode("utf-8", "surrogateescape")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("check", ["", "test -s {}", "test -d /"])
def test_any_file_name_works_and_no_temporary_file_stays(tmp_path, name, check):
    folder = tmp_path / name
    folder.mkdir()
    converge(file(folder / name, check=check))
    assert os.listdir(folder) == [name]
    assert os.listdir(tmp_path) == [name]


def test_owner_group_and_mode_are_set_before_the_check(tmp_path):
    check = f"[ \"$(stat -c '%U %G %a' {{}})\" = '{ME} {GROUP} 640' ]"
    converge(file(tmp_path / "file", group=GROUP, mode="0640", check=check))
    assert mode(tmp_path / "file") == 0o640


def test_an_existing_file_is_replaced_with_owner_and_mode(tmp_path):
    (tmp_path / "file").write_text("old\n")
    (tmp_path / "file").chmod(0o600)
    converge(file(tmp_path / "file", mode="0755"))
    assert (tmp_path / "file").read_text() == "new\n"
    assert mode(tmp_path / "file") == 0o755


def test_a_change_can_be_repeated(tmp_path):
    new = file(tmp_path / "file", check="grep -q new {}")
    converge(new)
    assert change(new).ok
    assert change(new, {"content": None}).ok
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("check", ["grep -q good {}", "grep -q good FILE"], ids=["before", "after"])
def test_a_failed_check_restores_the_old_file(tmp_path, check):
    old = tmp_path / "file"
    old.write_text("good\n")
    old.chmod(0o604)
    before = old.stat()
    answer = change(file(old, "bad\n", check=check.replace("FILE", str(old))))
    assert answer.status == 1
    assert (old.read_text(), mode(old)) == ("good\n", 0o604)
    assert (old.stat().st_ino, old.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("check", ["grep -q good {}", "false"], ids=["before", "after"])
def test_a_failed_check_leaves_no_new_file(tmp_path, check):
    assert change(file(tmp_path / "file", "bad\n", check=check)).status == 1
    assert os.listdir(tmp_path) == []


def test_the_output_of_a_check_is_reported(tmp_path):
    answer = change(file(tmp_path / "file", check="echo 'line 3 is wrong' >&2; false"))
    assert "line 3 is wrong" in answer.err


def test_a_check_of_the_new_file_sees_it_before_it_is_in_place(tmp_path):
    (tmp_path / "file").write_text("old\n")
    converge(file(tmp_path / "file", check=f"grep -q new {{}} && grep -q old {tmp_path}/file"))


def test_a_check_without_a_place_sees_the_new_file_in_place(tmp_path):
    (tmp_path / "file").write_text("old\n")
    converge(file(tmp_path / "file", check=f"grep -q new {tmp_path}/file"))


def test_a_backup_of_an_interrupted_run_is_not_restored(tmp_path):
    (tmp_path / ".file.old").write_text("ancient\n")
    assert change(file(tmp_path / "file", check="false")).status == 1
    assert os.listdir(tmp_path) == []


def test_a_full_disk_leaves_the_old_file(tmp_path):
    (tmp_path / "file").write_text("old\n")
    new = file(tmp_path / "file", "x" * 100_000)
    answer = run("trap '' XFSZ; ulimit -f 16\nset -e\n" + new.apply(look(new)))
    assert answer.status
    assert answer.err
    assert (tmp_path / "file").read_text() == "old\n"
    assert os.listdir(tmp_path) == ["file"]


def test_a_missing_directory_is_an_error(tmp_path):
    assert change(file(tmp_path / "none/file")).status
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("target", ["other", "nothing", "."])
def test_a_symbolic_link_is_a_conflict_and_not_followed(tmp_path, target):
    (tmp_path / "other").write_text("other\n")
    (tmp_path / "file").symlink_to(target)
    new = file(tmp_path / "file")
    assert "a symbolic link" in new.conflict(look(new))
    change(new)  # which the engine would not do
    assert (tmp_path / "other").read_text() == "other\n"
    assert not (tmp_path / "nothing").exists()


def test_only_a_file_without_our_mark_is_a_conflict(tmp_path):
    new = file(tmp_path / "file", f"# {MARK}\nnew\n")
    assert new.conflict(look(new)) is None
    (tmp_path / "file").write_text("mine\n")
    assert "not ours" in new.conflict(look(new))
    (tmp_path / "file").write_text(f"# {MARK}\nold\n")
    assert new.conflict(look(new)) is None


@pytest.mark.parametrize("theirs", ["mine\n", f"{MARK[:-1]}\n", ""])
@pytest.mark.parametrize("content", [f"# {MARK}\nnew\n", "new\n"], ids=["marked", "unmarked"])
def test_a_file_that_appears_after_the_probe_is_kept(tmp_path, theirs, content):
    new, path = file(tmp_path / "file", content), tmp_path / "file"
    actual = look(new)
    path.write_text(theirs)
    answer = change(new, actual)
    assert answer.status == 1
    assert f"{path} has been written by someone else during this run" in answer.err
    assert path.read_text() == theirs
    assert os.listdir(tmp_path) == ["file"]


def test_a_file_that_loses_our_mark_after_the_probe_is_kept(tmp_path):
    new, path = file(tmp_path / "file", f"# {MARK}\nnew\n"), tmp_path / "file"
    path.write_text(f"# {MARK}\nold\n")
    actual = look(new)
    path.write_text("mine\n")
    assert change(new, actual).status == 1
    assert path.read_text() == "mine\n"


@pytest.mark.parametrize("content", [f"# {MARK}\nnew\n", "new\n"], ids=["marked", "unmarked"])
def test_a_link_that_appears_after_the_probe_is_kept(tmp_path, content):
    (tmp_path / "other").write_text(content)
    new, path = file(tmp_path / "file", content), tmp_path / "file"
    actual = look(new)
    path.symlink_to("other")
    assert change(new, actual).status == 1
    assert path.is_symlink()


def test_a_file_that_appears_before_its_removal_is_kept(tmp_path):
    path = tmp_path / "file"
    old = FileAbsent(str(path), owner=ME)
    path.write_text(f"# {MARK}\n")
    actual = look(old)
    path.write_text("mine\n")
    answer = change(old, actual)
    assert answer.status == 1
    assert f"{path} has been written by someone else during this run" in answer.err
    assert path.read_text() == "mine\n"


def test_a_probe_changes_nothing(tmp_path):
    (tmp_path / "file").write_text("x")
    paths = (tmp_path / "file", tmp_path)
    before = [path.stat().st_ctime_ns for path in paths]  # reading changes only st_atime
    for resource in (
        file(tmp_path / "file"),
        file(tmp_path / "absent"),
        Directory(str(tmp_path / "absent")),
        PasswordFile(str(tmp_path / "absent"), ME),
        Venv(str(tmp_path / "absent"), ME),
        AuthorizedKeys(ME, str(tmp_path)),
        SelfSigned(str(tmp_path / "absent"), str(tmp_path / "key"), ("a",)),
    ):
        look(resource)
    assert before == [path.stat().st_ctime_ns for path in paths]
    assert (tmp_path / "file").read_text() == "x"


# -- directories


@pytest.mark.parametrize("name", NAMES)
def test_any_directory_name_works(tmp_path, name):
    converge(Directory(str(tmp_path / name), ME, mode="0750"))
    assert mode(tmp_path / name) == 0o750
    assert (tmp_path / name).is_dir()
    assert os.listdir(tmp_path) == [name]


def test_a_directory_keeps_its_entries(tmp_path):
    (tmp_path / "folder").mkdir(mode=0o755)
    (tmp_path / "folder/file").write_text("kept\n")
    converge(Directory(str(tmp_path / "folder"), ME, GROUP, "0700"))
    assert (tmp_path / "folder/file").read_text() == "kept\n"


@pytest.mark.parametrize("what", ["link", "file", "empty file", "fifo"])
def test_anything_but_a_directory_is_a_conflict(tmp_path, what):
    path = tmp_path / "folder"
    if what == "link":
        path.symlink_to(tmp_path)
    elif what == "fifo":
        os.mkfifo(path)
    else:
        path.write_text("" if "empty" in what else "root root 0755\n")
        path.chmod(0o755)
    wanted = Directory(str(path), ME)
    assert wanted.conflict(look(wanted))


# -- hashes of passwords


def hashed(path):
    """Return the hash in a password file, whose prefix is ``argon2:``."""
    text = path.read_text()
    assert text.startswith("argon2:$argon2id$")
    assert text.count("\n") == 1
    assert text.endswith("\n")
    return text.strip().removeprefix("argon2:")


@pytest.mark.parametrize("password", ["simple", 'it\'s "q" $HOME `id` \\ {} %s', "Jürgen 日本語"])
def test_the_written_hash_is_that_of_the_password(tmp_path, cheap, password):
    path = tmp_path / "a hash"
    converge(PasswordFile(str(path), ME, Secret(password), "argon2:"))
    assert argon2.PasswordHasher().verify(hashed(path), password)
    assert mode(path) == 0o600
    assert os.listdir(tmp_path) == ["a hash"]


def test_a_matching_hash_stays_when_its_mode_changes(tmp_path, cheap):
    path = tmp_path / "hash"
    wanted = PasswordFile(str(path), ME, Secret("right"), "argon2:")
    converge(wanted)
    before = path.read_text()
    path.chmod(0o644)
    converge(wanted)
    assert path.read_text() == before
    assert mode(path) == 0o600


def test_a_hash_of_another_password_is_replaced(tmp_path, cheap):
    path = tmp_path / "hash"
    converge(PasswordFile(str(path), ME, Secret("old"), "argon2:"))
    converge(PasswordFile(str(path), ME, Secret("new"), "argon2:"))
    assert argon2.PasswordHasher().verify(hashed(path), "new")


def test_a_password_is_generated_only_once(tmp_path, cheap):
    path = tmp_path / "hash"
    first, later = (
        PasswordFile(str(path), ME, prefix="argon2:", purpose="password of Jupyter", told=[])
        for _ in range(2)
    )
    converge(first)
    assert argon2.PasswordHasher().verify(hashed(path), first.told[0].reveal())
    assert f"The password of Jupyter is now: {first.told[0].reveal()} " in first.notice()
    assert not later.changed(look(later))
    assert later.notice() is None


# -- keys


def keys_file(tmp_path, text=None, chmod=0o600):
    """Return the authorized_keys of a home in *tmp_path*, with this text."""
    path = tmp_path / ".ssh/authorized_keys"
    path.parent.mkdir(mode=0o700)
    if text is not None:
        path.write_text(text)
        path.chmod(chmod)
    return path


def test_keys_are_added_and_others_stay(tmp_path):
    path = keys_file(tmp_path, f"# mine\n{KEYS[0]}", 0o644)
    converge(AuthorizedKeys(ME, str(tmp_path), (KEYS[0], KEYS[1], KEYS[2])))
    assert path.read_text() == f"# mine\n{KEYS[0]}\n{KEYS[1]}\n{KEYS[2]}\n"
    assert mode(path) == 0o600
    assert os.listdir(path.parent) == ["authorized_keys"]


def test_a_key_keeps_its_options_and_comment(tmp_path):
    path = keys_file(tmp_path)
    key = f"""from="10.0.0.0/8",environment="A=$HOME `id`" {KEYS[0]}'s "laptop" $x ü"""
    converge(AuthorizedKeys(ME, str(tmp_path), (key,)))
    assert path.read_text() == f"{key}\n"


def test_a_wrong_mode_is_fixed_and_keys_stay(tmp_path):
    path = keys_file(tmp_path, f"{KEYS[0]}\n", 0o666)
    converge(AuthorizedKeys(ME, str(tmp_path), (KEYS[0],)))
    assert path.read_text() == f"{KEYS[0]}\n"
    assert mode(path) == 0o600


# -- environments


@pytest.mark.parametrize("name", NAMES)
def test_any_name_of_an_environment_works(tmp_path, name):
    path = tmp_path / name
    wanted = Venv(str(path), ME)
    assert look(wanted) == {"owner": None}
    for part in ("bin", "lib/python3.11/site-packages/pip"):
        (path / part).mkdir(parents=True)
    (path / "pyvenv.cfg").touch()
    assert look(wanted) == {"owner": None}  # unfinished
    (path / "bin/python3.11").touch(0o755)
    (path / "bin/python").symlink_to("python3.11")
    (path / "lib/python3.11/site-packages/pip/__init__.py").touch()
    assert look(wanted) == {"owner": ME}
    assert Venv(str(path), "grace").conflict({"owner": ME})
    (path / "bin/python3.13").touch(0o755)  # as after an upgrade of the release
    (path / "bin/python").unlink()
    (path / "bin/python").symlink_to("python3.13")
    assert look(wanted) == {"owner": None}


# -- certificates


@pytest.fixture
def certificate(tmp_path):
    """Return a certificate in *tmp_path* for a name in two spellings and an address."""
    return SelfSigned(
        str(tmp_path / "a cert.pem"),
        str(tmp_path / "a key.pem"),
        ("Web.Example.org", "2001:DB8::1"),
        days=90,
    )


def test_a_certificate_must_cover_exactly_the_names(tmp_path, certificate):
    actual = certificate.parse("address 192.0.2.10\nabsent\n")
    assert change(certificate, actual).ok
    made = x509.load_pem_x509_certificate((tmp_path / "a cert.pem").read_bytes())
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["web.example.org"]
    assert set(names.get_values_for_type(x509.IPAddress)) == set(
        map(ipaddress.ip_address, ("192.0.2.10", "2001:db8::1"))
    )
    assert made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    left = made.not_valid_after_utc - datetime.datetime.now(datetime.timezone.utc)
    assert datetime.timedelta(days=89) < left <= datetime.timedelta(days=90)
    key = load_pem_private_key((tmp_path / "a key.pem").read_bytes(), None)
    assert key.public_key() == made.public_key()
    assert (mode(tmp_path / "a key.pem"), mode(tmp_path / "a cert.pem")) == (0o600, 0o644)
    assert sorted(os.listdir(tmp_path)) == ["a cert.pem", "a key.pem"]


def test_a_new_certificate_has_the_desired_names(tmp_path, certificate):
    assert change(certificate).ok
    assert set(certificate.changed(look(certificate))) <= (set() if ME == "root" else {"mode"})


@pytest.mark.parametrize("text", ["", "rubbish\n"])
def test_rubbish_is_not_taken_for_a_certificate(tmp_path, certificate, text):
    for name in ("a cert.pem", "a key.pem"):
        (tmp_path / name).write_text(text)
    assert {"names", "issuer", "lasts", "key"} <= set(certificate.changed(look(certificate)))


def test_a_failure_leaves_the_old_certificate(tmp_path, certificate):
    for name in ("a cert.pem", "a key.pem"):
        (tmp_path / name).write_text("old\n")
    answer = change(certificate, {"wanted": ["a,no such kind:b"]})
    assert answer.status == 1
    assert answer.err
    assert {(tmp_path / name).read_text() for name in os.listdir(tmp_path)} == {"old\n"}
    assert len(os.listdir(tmp_path)) == 2


# -- handlers


@pytest.fixture
def ledger(tmp_path):
    """The notes of a server, in a folder of the test."""
    return Ledger(*(str(tmp_path / name) for name in ("run", "lib", "units")))


def pending(ledger):
    """Return the handlers that a new run finds pending."""
    answer = run(ledger.list())
    assert answer.ok, answer.err
    return list(ledger.parse(answer.out).pending.values())


def test_pending_handlers_are_read_back_unchanged(ledger):
    assert pending(ledger) == []
    handlers = [
        Handler("reload apache2", 'echo "it\'s"\n  $HOME `id` \\n %s {}\n'),
        Handler("restart jupyter", "exit 3\n\n"),
    ]
    for handler in handlers:
        assert run(ledger.mark_pending(handler)).ok
        assert run(ledger.mark_pending(handler)).ok
    assert pending(ledger) == handlers


def test_a_successful_handler_is_no_longer_pending(ledger, tmp_path):
    handler = Handler("restart it", sh("echo done >>{}", tmp_path / "traces"))
    for _ in range(2):
        run(ledger.mark_pending(handler))
    assert run(ledger.run(handler)).ok
    assert pending(ledger) == []
    assert (tmp_path / "traces").read_text() == "done\n"


def test_a_failed_handler_stays_pending(ledger):
    failing = Handler("restart it", "echo broken >&2; exit 3")
    run(ledger.mark_pending(failing))
    answer = run(ledger.run(failing))
    assert answer.status
    assert answer.err == "broken\n"
    assert pending(ledger) == [failing]


def test_a_handler_cannot_change_its_shell(ledger):
    handler = Handler("restart it", "cd /nowhere 2>/dev/null; set -e; exit 0")
    run(ledger.mark_pending(handler))
    assert run(ledger.run(handler)).ok
    assert pending(ledger) == []


def step(ledger, resource):
    """Return the shell text with which a run applies *resource*, which is absent."""
    one = Run(None, Plan([]), None, ledger)
    return one.step(Item("task", resource, {"content": None}))


def test_a_handler_that_cannot_be_marked_stops_the_change(ledger, tmp_path):
    (tmp_path / "run").write_text("a file in the way")
    resource = file(tmp_path / "file", notify=Handler("restart it", ":"))
    assert run(step(ledger, resource)).status
    assert not (tmp_path / "file").exists()


def test_a_change_marks_its_handler_first(ledger, tmp_path):
    resource = file(tmp_path / "file", check="false", notify=Handler("restart it", ":"))
    assert run(step(ledger, resource)).status
    assert pending(ledger) == [Handler("restart it", ":")]

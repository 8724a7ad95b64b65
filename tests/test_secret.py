"""Passwords: their hashes, where they come from, and that nothing shows them."""

import copy
import json
import logging
import pickle
import subprocess
import traceback

import argon2
import pytest

from fabfile.kit import secret as module
from fabfile.kit.report import Report, write_json
from fabfile.kit.resources import File, User
from fabfile.kit.secret import Secret, generated, given
from fabfile.resources import PasswordFile

HUSH = 'hush\'s "Pässwörd" $x `id`'


def openssl(password, stored):
    """Return the hash that openssl makes of *password* with the salt and rounds of *stored*."""
    salt = stored.removeprefix("$6$").rpartition("$")[0]
    done = subprocess.run(
        ["openssl", "passwd", "-6", "-salt", salt, "-stdin"],
        input=password + "\n",
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


# -- a secret does not show


@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        "{}".format,
        "{:>40}".format,
        "{!r}".format,
        lambda secret: logging.makeLogRecord(
            {"msg": "%s %r", "args": (secret, secret)}
        ).getMessage(),
        lambda secret: f"{secret}{secret!s}{secret!r}{secret:x<5}",
        lambda secret: repr([secret, {"password": secret}]),
        lambda secret: repr(User("ada", "/home/ada", password=secret)),
        lambda secret: repr(PasswordFile("/x", "ada", secret)),
        lambda secret: str(vars(PasswordFile("/x", "ada", secret))),
        lambda secret: str(dir(secret)),
    ],
)
def test_a_secret_does_not_show(show):
    assert "hush" not in show(Secret("hush"))


@pytest.mark.parametrize(
    "spread", [pickle.dumps, copy.copy, copy.deepcopy, vars, json.dumps, len, list, bytes]
)
def test_a_secret_cannot_be_converted_or_copied(spread):
    with pytest.raises(TypeError) as caught:
        spread(Secret("hush"))
    assert "hush" not in str(caught.value)


def test_a_secret_does_not_show_in_a_traceback_or_log(caplog):
    def fail(secret):
        logging.getLogger("test").warning("given %s", secret)
        raise ValueError(secret)

    with pytest.raises(ValueError) as caught:
        fail(Secret(HUSH))
    shown = "".join(traceback.TracebackException(*caught._excinfo, capture_locals=True).format())
    assert "secret = <secret>" in shown
    assert "ValueError: <secret>" in shown
    assert "Pässwörd" not in shown + caplog.text + str(caught.value)
    assert "given <secret>" in caplog.text


def test_reveal_returns_the_text():
    assert Secret(HUSH).reveal() == HUSH


# -- hashes, compared with those of other implementations


@pytest.mark.parametrize("password", ["simple", HUSH, "日本語", "x" * 200])
def test_argon2_hash_is_argon2id_of_the_password(cheap, password):
    stored = Secret(password).hashed("argon2")
    assert stored.startswith("$argon2id$v=19$")
    assert argon2.PasswordHasher().verify(stored, password)
    with pytest.raises(argon2.exceptions.VerifyMismatchError):
        argon2.PasswordHasher().verify(stored, f"{password}x")


@pytest.mark.parametrize("password", ["simple", HUSH, "日本語", "x" * 200])
def test_sha512_crypt_hash_is_that_of_openssl(cheap, password):
    stored = Secret(password).hashed("sha512_crypt")
    assert stored.startswith("$6$")
    assert openssl(password, stored) == stored
    assert openssl(f"{password}x", stored) != stored


def test_hashes_cost_what_owasp_asks():
    memory, rounds, lanes = (
        part[2:] for part in Secret("x").hashed("argon2").split("$")[3].split(",")
    )
    assert int(memory) >= 19 * 1024
    assert int(rounds) >= 2
    assert int(lanes) >= 1  # the minimum that OWASP names
    assert module._scheme("sha512_crypt").default_rounds >= 100_000


def test_each_hash_has_a_new_salt(cheap):
    assert Secret("x").hashed("argon2") != Secret("x").hashed("argon2")
    assert Secret("x").hashed("sha512_crypt") != Secret("x").hashed("sha512_crypt")


def test_hashes_of_other_programs_are_verified():
    made = argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash(HUSH)
    assert Secret(HUSH).matches("argon2", made)
    assert not Secret("x").matches("argon2", made)
    made = openssl(HUSH, "$6$ofatest$")
    assert Secret(HUSH).matches("sha512_crypt", made)
    assert not Secret("x").matches("sha512_crypt", made)


@pytest.mark.parametrize("scheme", ["argon2", "sha512_crypt"])
@pytest.mark.parametrize(
    "stored",
    ["", "!", "*", "plain", "$6$", "$argon2id$", "$y$j9T$abc$def", "$argon2id$v=19$m=1,t", "\0"],
)
def test_a_malformed_hash_matches_nothing(scheme, stored):
    assert Secret("x").matches(scheme, stored) is False


def test_generated_passwords_are_long_and_differ():
    made = {generated().reveal() for _ in range(200)}
    assert len(made) == 200
    assert all(len(text) == 20 and text.isalnum() and text.isascii() for text in made)
    assert not set("".join(made)) & set("lIO01")


# -- where a password comes from


@pytest.fixture
def environment(monkeypatch):
    for name in ("JUPYTER_PASSWORD", "JUPYTER_PASSWORD_FILE"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch.setenv


def test_without_a_password_the_answer_is_none(environment):
    assert given("JUPYTER_PASSWORD") is None


@pytest.mark.parametrize("password", ["x", HUSH, " spaces ", "日本語", "-n", "%s {}"])
def test_the_environment_gives_the_exact_password(environment, password):
    environment("JUPYTER_PASSWORD", password)
    assert given("JUPYTER_PASSWORD").reveal() == password


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_file_gives_the_password_without_its_last_newline(environment, tmp_path, end):
    (tmp_path / "secret").write_text(HUSH + end, encoding="utf-8")
    environment("JUPYTER_PASSWORD_FILE", str(tmp_path / "secret"))
    assert given("JUPYTER_PASSWORD").reveal() == HUSH


def test_the_path_of_the_file_may_start_with_a_tilde(environment, tmp_path):
    (tmp_path / "secret").write_text("x")
    environment("HOME", str(tmp_path))
    environment("JUPYTER_PASSWORD_FILE", "~/secret")
    assert given("JUPYTER_PASSWORD").reveal() == "x"


def test_the_environment_wins_over_the_file(environment, tmp_path):
    (tmp_path / "secret").write_text("file")
    environment("JUPYTER_PASSWORD", "environment")
    environment("JUPYTER_PASSWORD_FILE", str(tmp_path / "secret"))
    assert given("JUPYTER_PASSWORD").reveal() == "environment"


@pytest.mark.parametrize(
    "password",
    ["", "hush\n", "\nhush", "hu\nsh", "hu\tsh", "hu\rsh", "hu\x1bsh", "hush\x7f", "hush\u2028"],
)
@pytest.mark.parametrize("by_file", [False, True])
def test_untypeable_passwords_are_rejected_and_not_shown(environment, tmp_path, password, by_file):
    if by_file:
        (tmp_path / "secret").write_bytes(f"{password}\n".encode())
        environment("JUPYTER_PASSWORD_FILE", str(tmp_path / "secret"))
    else:
        environment("JUPYTER_PASSWORD", password)
    with pytest.raises(ValueError, match="JUPYTER_PASSWORD: ") as caught:
        given("JUPYTER_PASSWORD")
    assert "hu" not in str(caught.value)


@pytest.mark.parametrize("what", ["nothing", "a folder", "bytes"])
def test_an_unreadable_file_is_named(environment, tmp_path, what):
    path = tmp_path / "secret"
    if what == "a folder":
        path.mkdir()
    elif what == "bytes":
        path.write_bytes(b"hush\xff")
    environment("JUPYTER_PASSWORD_FILE", str(path))
    with pytest.raises(ValueError, match=f"JUPYTER_PASSWORD_FILE={path}: .") as caught:
        given("JUPYTER_PASSWORD")
    assert "hush" not in str(caught.value)


def test_the_prompt_repeats_until_both_entries_match(environment, monkeypatch, capsys):
    typed = iter(["one", "two", "three", "three"])
    monkeypatch.setattr(module.sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(module.getpass, "getpass", lambda prompt: next(typed))
    assert given("JUPYTER_PASSWORD", ask=True).reveal() == "three"
    assert "three" not in capsys.readouterr().out


def test_there_is_no_prompt_without_a_terminal(environment, monkeypatch):
    monkeypatch.setattr(module.sys.stdin, "isatty", lambda: False)
    with pytest.raises(ValueError, match="JUPYTER_PASSWORD: .*no terminal"):
        given("JUPYTER_PASSWORD", ask=True)


def test_there_is_no_prompt_for_a_given_password(environment, monkeypatch):
    monkeypatch.setattr(module.getpass, "getpass", lambda prompt: pytest.fail("there was a prompt"))
    environment("JUPYTER_PASSWORD", "x")
    assert given("JUPYTER_PASSWORD", ask=True).reveal() == "x"


# -- what leaves: diffs, shell text, reports


SECRET = "hush line one\nhush line two\n"


@pytest.mark.parametrize(
    "seen",
    [
        {"content": None},
        {"content": "hush old\n", "owner": "root", "group": "root", "mode": "0600"},
        {"content": SECRET, "owner": "ada", "group": "ada", "mode": "0644"},
        {"content": "", "owner": "root", "group": "root", "mode": "0600"},
    ],
)
def test_the_diff_of_a_secret_file_shows_no_content(seen):
    diff = File("/x", SECRET, mode="0600", secret=True).diff(seen)
    assert diff
    assert "hush" not in diff


def test_the_diff_of_a_secret_file_shows_owner_and_mode():
    file = File("/x", SECRET, mode="0600", secret=True)
    assert "+mode: 0600" in file.diff(
        {"content": SECRET, "owner": "root", "group": "root", "mode": "0644"}
    )


def test_the_repr_of_a_secret_file_shows_no_content():
    assert "hush" not in repr(File("/x", SECRET, secret=True))


def test_shell_text_never_contains_the_password(cheap):
    file = PasswordFile("/x", "ada", Secret("hush"), "argon2:")
    user = User("ada", "/home/ada", password=Secret("hush"))
    texts = [
        file.probe(),
        file.apply({"password": None}),
        file.diff({"password": None}),
        str(file.notice()),
    ]
    seen = user.parse("ada:x:1000:1000::/home/ada:/bin/sh\nada:!:1::::::\nada\n")
    texts += [user.probe(), user.apply(seen), user.diff(seen), str(user.notice())]
    assert "hush" not in "".join(texts)
    assert "$argon2id$" in texts[1]
    assert "$6$" in texts[5]


@pytest.mark.parametrize(
    "stored", ["argon2:$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$hushhash", "hush"]
)
def test_the_diff_shows_no_stored_hash(stored):
    file = PasswordFile("/x", "ada", Secret("other"), "argon2:")
    assert "hush" not in file.diff(file.parse(f"ada ada 600\n{stored}\n"))
    user = User("ada", "/home/ada", password=Secret("other"))
    assert "hush" not in user.diff(
        user.parse("ada:x:1000:1000::/home/ada:/bin/sh\nada:$6$hush$hush:1::::::\nada\n")
    )


def test_a_generated_password_is_shown_once_and_not_reported(cheap, tmp_path, capsys):
    file = PasswordFile("/x", "ada", prefix="argon2:", told=[])
    seen = {"password": None, "owner": None, "mode": None}
    file.apply(seen)
    [shown] = file.told
    report = Report("web", verbose=True)
    report.add("task", file.label, "changed", 0.1, file.diff(seen))
    assert shown.reveal() not in capsys.readouterr().out
    report.notices.append(file.notice())
    report.recap()
    report.recap()
    assert capsys.readouterr().out.count(shown.reveal()) == 1
    write_json(tmp_path / "report.json", [report])
    assert shown.reveal() not in (tmp_path / "report.json").read_text()

"""Resources against what their probes printed on real hosts: tests/samples/KIND/CASE.toml."""

import dataclasses
import re
import shlex
import shutil
import subprocess

import pytest

from fabfile.kit.resources.base import CANNOT_KNOW
from fabfile.kit.resources.check import Verdict
from fabfile.kit.secret import Secret
from tests.samples import load, resources, samples

ALL = samples()
KINDS = sorted({name.partition("/")[0] for name in ALL})


def cases(kind):
    """Return the samples of *kind*, by the names of their cases."""
    start = f"{kind}/"
    return {name.removeprefix(start): ALL[name] for name in ALL if name.startswith(start)}


def is_shell(texts):
    """Return whether a POSIX shell can read each of *texts*."""
    script = "".join(f"f{number}() {{\n{text}\n}}\n" for number, text in enumerate(texts))
    return (
        subprocess.run(
            [shutil.which("dash") or "sh", "-n"], input=script.encode("utf-8", "surrogateescape")
        ).returncode
        == 0
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_samples_of_three_hosts(kind):
    """A bare host, one that drifted and one that is as desired; unknown, if the probe says so."""
    found = {case.split("-")[0] for case in cases(kind)}
    assert found >= {"absent", "drifted", "converged"}
    probes = [load(sample).probe() for sample in cases(kind).values()]
    assert ("unknown" in found) == any(re.search(rf"\b{CANNOT_KNOW}\b", text) for text in probes)


@pytest.mark.parametrize("kind", KINDS)
def test_some_sample_of_every_kind_says_what_apply_has(kind):
    assert any("apply" in sample["expect"] for sample in cases(kind).values())


@pytest.mark.parametrize("sample", ALL.values(), ids=ALL)
def test_the_output_of_a_probe_is_understood(sample):
    resource, answer, expect = load(sample), sample["probe"], sample["expect"]
    if expect.get("unknown"):
        assert answer["status"] == CANNOT_KNOW
        return
    assert answer["status"] == 0
    actual = resource.parse(answer["output"])
    # TOML has no None, so a name that is missing there stands for it. Other names do not count.
    names = {*resource.desired(), *expect["actual"]}
    assert {name: actual.get(name) for name in names} == {
        name: expect["actual"].get(name) for name in names
    }
    assert sorted(resource.changed(actual)) == sorted(expect["changed"])
    assert bool(resource.diff(actual)) == bool(expect["changed"])
    why = resource.conflict(actual)
    assert (expect["conflict"] in why) if "conflict" in expect else (why is None)


APPLIED = {name: sample for name, sample in ALL.items() if "apply" in sample["expect"]}


@pytest.mark.parametrize("sample", APPLIED.values(), ids=APPLIED)
def test_apply_has_what_the_sample_says(sample, cheap):
    resource, expect = load(sample), sample["expect"]["apply"]
    assert expect.keys() <= {"contains", "lacks"}
    code = resource.apply(resource.parse(sample["probe"]["output"]))
    assert not [text for text in expect.get("contains", ()) if text not in code]
    assert not [text for text in expect.get("lacks", ()) if text in code]


@pytest.mark.parametrize("kind", KINDS)
def test_probes_and_changes_are_posix_shell(kind, cheap):
    texts = []
    for sample in cases(kind).values():
        resource = load(sample)
        texts.append(resource.probe())
        if sample["expect"].get("changed") and "conflict" not in sample["expect"]:
            texts.append(resource.apply(resource.parse(sample["probe"]["output"])))
    assert texts
    assert is_shell(texts)


@pytest.mark.parametrize("kind", vars(resources))
def test_a_kind_is_immutable_and_documented(kind):
    thing = getattr(resources, kind)
    if isinstance(thing, type):
        assert dataclasses.is_dataclass(thing)
        assert thing.__dataclass_params__.frozen
        assert thing.__doc__
        assert not thing.__doc__.startswith(f"{kind}(")


def test_equal_arguments_make_equal_resources():
    one, same = (
        resources.User("ada", "/home/ada", groups=("sudo",), needs_password=True) for _ in range(2)
    )
    assert one == same
    assert one != resources.User("ada", "/home/ada", groups=("adm",), needs_password=True)


# -- what only one kind has


def test_packages_merge_and_keep_the_longest_timeout():
    merge = resources.Package("b", "a", lock_timeout=5).merge(
        resources.Package("a", "c", lock_timeout=9)
    )
    assert merge.names == ("b", "a", "c")
    assert merge.lock_timeout == 9
    assert resources.Package("a").merge(resources.Directory("/a")) is None


def test_a_bare_user_merges_into_an_earlier_one():
    whole = resources.User(
        "ada", "/home/ada", shell="/bin/sh", groups=("sudo",), needs_password=True
    )
    assert whole.merge(resources.User("ada", "/home/ada")) is whole
    assert whole.merge(resources.User("grace", "/home/grace")) is None
    assert whole.merge(resources.User("ada", "/srv/ada")) is None


def test_only_missing_packages_are_installed():
    script = resources.Package("here", "gone").apply({"here": "installed", "gone": "absent"})
    [line] = [line for line in script.splitlines() if re.search(r"\binstall\b.*\bgone\b", line)]
    assert "here" not in line


def test_each_requirement_reaches_pip_as_one_word(tmp_path):
    python = tmp_path / "bin/python"
    python.parent.mkdir()
    python.write_text('#!/bin/sh\n[ "$1" != -m ] || printf \'%s\\n\' "$@"\n')
    python.chmod(0o755)
    packages = resources.PipPackages(str(tmp_path), "ada", ("here", "notebook>=7,<8; echo $HOME"))
    script = packages.apply({"here": "installed", "notebook>=7,<8; echo $HOME": None})
    done = subprocess.run(
        ["sh", "-c", script_of_unit(script)], capture_output=True, text=True, check=True
    )
    assert "notebook>=7,<8; echo $HOME" in done.stdout.splitlines()


def script_of_unit(script):
    """Return the shell text that *script* gives to its transient unit."""
    words = shlex.split(script.partition("/bin/sh -ec ")[2])
    return words[0].replace("$$", "$")  # as systemd has it


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("pmstatus:apache2:66.6667:Unpacking apache2 (amd64)", "66 %  Unpacking apache2 (amd64)"),
        ("dlstatus:1:8.3333:Retrieving file 1 of 12", "8 %  Retrieving file 1 of 12"),
        ("pmstatus:broken", "pmstatus:broken"),
        ("pmstatus:of:another:form", "pmstatus:of:another:form"),
        ("Reading package lists...", "Reading package lists..."),
    ],
)
def test_progress_of_apt_is_shown_in_per_cent(line, shown):
    assert resources.Package("apache2").progress(line) == shown


def test_a_password_is_generated_if_there_is_none(cheap):
    user = resources.User("ada", "/home/ada", needs_password=True)
    actual = user.parse("ada:x:1000:1000::/home/ada:/bin/bash\nada:!:1:0:99999:7:::\nada\n")
    assert user.notice() is None
    script = user.apply(actual)
    assert len(user.told) == 1
    assert user.told[0].reveal() in user.notice()
    assert user.told[0].reveal() not in script
    assert "$6$" in script
    assert "chpasswd -e" in script


def test_an_existing_user_is_not_created_again():
    user = resources.User("ada", "/home/ada", groups=("sudo",))
    script = user.apply(
        user.parse("ada:x:1000:1000::/home/ada:/bin/bash\nada:!:1:0:99999:7:::\nada\n")
    )
    assert script.strip() == "usermod -a -G sudo ada"


def test_a_password_that_fits_is_not_hashed_again():
    user = resources.User("ada", "/home/ada", groups=("sudo",), password=Secret("right"))
    actual = {
        "exists": "yes",
        "uid": "1000",
        "home": "/home/ada",
        "shell": "/bin/sh",
        "missing groups": "sudo",
        "password": "set",
    }
    assert "chpasswd" not in user.apply(actual)


def test_a_certificate_has_every_name_and_address():
    certificate = resources.SelfSigned("/t/cert.pem", "/t/key.pem", ("a.example.org",), days=90)
    actual = certificate.parse("address 192.0.2.10\naddress 2001:db8::1\nabsent\n")
    assert "days=90\n" in certificate.apply(actual)
    assert "IP:192.0.2.10,IP:2001:db8::1,DNS:a.example.org" in certificate.apply(actual)
    assert "+names: 192.0.2.10 2001:db8::1 a.example.org" in certificate.diff(actual)


def test_starting_a_service_supersedes_its_restart():
    service = resources.Service("probe")
    assert service.supersedes({"active": "inactive"}) == (service.restart.name,)
    assert service.supersedes({"active": "active"}) == ()


@pytest.mark.parametrize("handler", ["reload", "restart"])
@pytest.mark.parametrize("fine", [True, False])
def test_a_service_is_checked_before_its_handlers_act(handler, fine):
    check = "echo checked" if fine else "echo checked; false"
    service = resources.Service("probe", check=check)
    stand_in = 'systemctl() { case $1 in show) echo success;; *) echo "$*";; esac; }\n'
    code = stand_in + getattr(service, handler).script
    done = subprocess.run(["/bin/sh", "-c", code], capture_output=True, text=True)
    assert (done.returncode == 0) == fine
    assert done.stdout.splitlines()[1] == "checked"
    assert (f"{handler} probe" in done.stdout.splitlines()) == fine


@pytest.mark.parametrize(("problem", "refused"), [("too small", "too small"), ("", None)])
def test_a_check_fails_or_warns_as_its_judge_says(problem, refused):
    check = resources.Check("memory", "free", lambda output: Verdict(problem, f"only {output}"))
    actual = check.parse("1 MiB")
    assert check.conflict(actual) == refused
    assert actual["warning"] == "only 1 MiB"
    assert bool(check.changed(actual)) == bool(problem)

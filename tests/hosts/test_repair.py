"""A damaged installation is found and repaired, with nothing else changed."""

import pytest

PREFIX = "/home/jupyter/jupyter-env"
SITE = f"{PREFIX}/lib/python3*/site-packages"
PACKAGES = "PipPackages jupyterlab notebook"
STAMP = "/var/lib/remote-jupyter/installed/%home%jupyter%jupyter-env"


def as_user(server, command):
    """Run a command as the user who owns the environment."""
    return server.nsenter(f"runuser -u jupyter -- sh -c '{command}'").stdout


@pytest.mark.parametrize("module", ["jupyter_server/serverapp.py", "pip/__init__.py"])
def test_an_emptied_module_is_installed_again(server, full_setup, module):
    before = as_user(server, f"cksum {SITE}/{module}")
    as_user(server, f": >$(echo {SITE}/{module})")
    run = full_setup(server)
    assert run.status == 0, run.text
    assert run.changed == {PACKAGES, "restart jupyter"}, run.text
    assert as_user(server, f"cksum {SITE}/{module}") == before
    assert full_setup(server).is_calm


def test_a_missing_requirement_is_installed_again(server, full_setup):
    as_user(server, f"{PREFIX}/bin/pip uninstall -qy tornado")
    run = full_setup(server)
    assert run.status == 0, run.text
    assert run.changed == {PACKAGES, "restart jupyter"}, run.text
    assert full_setup(server).is_calm


def test_an_interrupted_installation_is_checked_and_stamped(server, full_setup):
    # As after a power failure: no stamp, and a file of the right size with another content.
    module = f"$(echo {SITE}/jupyter_server/serverapp.py)"
    before = as_user(server, f"cksum {module}")
    as_user(server, f"tr a b <{module} >/tmp/other; cat /tmp/other >{module}; rm /tmp/other")
    server.nsenter(f"rm '{STAMP}'")
    run = full_setup(server)
    assert run.status == 0, run.text
    assert run.changed == {PACKAGES, "restart jupyter"}, run.text
    assert as_user(server, f"cksum {module}") == before
    assert full_setup(server).is_calm


def test_packages_of_the_user_are_left_alone(server, full_setup):
    as_user(server, f"{PREFIX}/bin/pip install -q --no-deps toolz")
    as_user(server, f": >$(echo {SITE}/toolz/curried/operator.py)")
    assert full_setup(server).is_calm
    as_user(server, f"{PREFIX}/bin/pip uninstall -qy toolz")

"""The table of attacks is what docs/attacks.md shows, and names each path below the home."""

import re

from fabric import Config, Connection

import fabfile
from fabfile.kit.resources.base import Resource
from fabfile.kit.task import hidden

from .hosts import attacks


def test_the_page_of_attacks_is_up_to_date():
    assert attacks.PAGE.read_text(encoding="utf-8") == attacks.page(), "update it with: inv attacks"


def test_attacks_have_different_names():
    for _, table in attacks.PARTS:
        assert len({attack.name for attack in table}) == len(table)


def planned(preset, settings):
    """Return the parts of a preset's plan."""
    c = Connection("root@server.example.org", config=Config(user_prefix="/nonexistent/"))
    task = fabfile.ns[preset]
    with hidden("FABRIC_"):
        return list(task.body(c, task.schema.load(c, settings)))


def test_every_path_in_the_home_is_attacked():
    named = set()
    for preset in ("full-setup", "tunnel-setup"):
        for part in planned(preset, {"python.distribution": "venv"}):
            if isinstance(part, Resource):
                named |= {*re.findall(r"/home/jupyter/([^\s'\";:]+)", part.probe())}
    assert named - {*attacks.PATHS} == set()
    assert ".jupyter/password-hash" in named

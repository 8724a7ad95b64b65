"""What several of the fast tests share."""

import pytest

from fabfile.kit import secret

from .hosts.fixtures import PLUGINS

pytest_plugins = ["tests.session", *PLUGINS]


@pytest.fixture
def cheap(monkeypatch):
    """Make hashes of passwords fast; how slow they are otherwise is tested by itself."""
    monkeypatch.setattr(secret._scheme("argon2"), "default_rounds", 1)
    monkeypatch.setattr(secret._scheme("argon2"), "memory_cost", 64)
    monkeypatch.setattr(secret._scheme("sha512_crypt"), "default_rounds", 5000)  # as openssl does

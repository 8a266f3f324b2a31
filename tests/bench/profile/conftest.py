from __future__ import annotations

import pytest

from bench.plugin import Registry
from bench.profile.host import Host
from bench.profile.messages import ProfileSettings
from bench.run.isolation import isolated
from tests.bench.profile import toy


@pytest.fixture
def host(monkeypatch):
    """A host in this process whose installed code is the toy."""

    def load(plugins):
        registry = Registry()
        toy.register(registry)
        return registry

    monkeypatch.setattr("bench.profile.host.load", load)
    with isolated([]) as isolation:
        yield Host(ProfileSettings(worker=0, data="none", seed=0), isolation)

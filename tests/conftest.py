from __future__ import annotations

import itertools
import os

# MKL rounds by where in memory a vector lies, on some processors and unless it is told not to: what a test loads or
# copies lies elsewhere. It is read when torch is first used.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")

import pytest
import torch
from hypothesis import settings

from tests.repositories import Repository

# A test machine is shared: how long an example takes says nothing about the code.
settings.register_profile("shared-machine", deadline=None)
settings.load_profile("shared-machine")


# What runs whole commands takes longest. Begun first, none of it is left to one process at the end.
LONGEST = ("tests/tools", "tests/suites", "tests/browser")


def pytest_collection_modifyitems(items):
    """Puts the tests first that take longest, and leaves the others in their order."""
    items.sort(key=lambda item: not str(item.path.relative_to(item.config.rootpath)).startswith(LONGEST))


@pytest.fixture(autouse=True)
def _seeded():
    """Lets a test that draws without a generator of its own draw the same in every run and order."""
    torch.manual_seed(0)


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Makes git repositories of files; copies of their versions go to a cache of the test's own."""
    monkeypatch.setenv("STEPBENCH_CACHE", str(tmp_path / "cache"))
    count = itertools.count()

    def make(files):
        return Repository(tmp_path / f"a 'repo' {next(count)}", files)

    return make

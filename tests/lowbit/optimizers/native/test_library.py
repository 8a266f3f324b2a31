from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from lowbit.optimizers.eva import Eva
from lowbit.optimizers.native import library
from lowbit.optimizers.sgd_8bit import SGD8bit


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """A machine that has not compiled anything."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for cached in (library.load, library.missing):
        cached.cache_clear()
    yield tmp_path / "cache" / "stepbench"
    for cached in (library.load, library.missing):
        cached.cache_clear()


def program(path, script):
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_what_is_compiled_is_kept(fresh, monkeypatch):
    library.load()
    (made,) = fresh.iterdir()
    library.load.cache_clear()
    monkeypatch.setattr(library, "_compiled", lambda *_: pytest.fail("compiled again"))
    library.load()
    assert list(fresh.iterdir()) == [made]


@pytest.mark.parametrize("damage", [lambda content: content[:100], lambda content: content[:-64] + b"?" * 64])
def test_a_damaged_library_is_made_anew(fresh, damage):
    # By another process: it would be this one's own that is damaged.
    subprocess.run([sys.executable, "-c", "from lowbit.optimizers.native import library; library.load()"], check=True)
    (made,) = fresh.iterdir()
    content = made.read_bytes()
    made.write_bytes(damage(content))
    library.load()
    assert made.read_bytes() == content


def test_what_was_compiled_serves_where_there_is_no_compiler_any_more(fresh, monkeypatch, tmp_path):
    library.load()
    library.load.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert set(library.load()) == set(library.SIGNATURES)


def test_a_compiler_that_refuses_leaves_it_to_the_next(fresh, monkeypatch, tmp_path):
    real = next(filter(None, map(shutil.which, library.COMPILERS)))
    # It has a version, and no headers.
    program(tmp_path / "g++", "test $# = 1 && exec echo 1.0\necho 'error: broken' >&2\nexit 1")
    program(tmp_path / "c++", f'exec {real} "$@"')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(library, "COMPILERS", ("g++", "c++"))
    monkeypatch.delenv("CXX", raising=False)
    assert set(library.load()) == set(library.SIGNATURES)


@pytest.mark.parametrize("place", ["file", "name" * 100])
def test_without_a_place_to_keep_it_each_process_compiles(fresh, monkeypatch, tmp_path, place):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / place))
    assert set(library.load()) == set(library.SIGNATURES)
    assert not fresh.exists()


def test_without_a_compiler_torchs_operations_serve_and_the_row_says_so(fresh, monkeypatch):
    monkeypatch.setenv("PATH", str(fresh))
    monkeypatch.delenv("CXX", raising=False)
    layer = nn.Linear(3, 2)
    optimizer = Eva(layer, 0.1)
    assert not optimizer.compiled
    assert list(optimizer.remarks) == ["no-compiler"]
    layer(torch.randn(4, 3)).sum().backward()
    optimizer.step()
    with pytest.raises(library.CannotCompile, match="none of g\\+\\+, clang\\+\\+, c\\+\\+ is on PATH"):
        Eva(layer, 0.1, compiled=True)


def test_a_compiler_that_refuses_is_quoted(fresh, monkeypatch, tmp_path):
    refuses = program(tmp_path / "refuses", "echo 'error: no such option' >&2\nexit 1")
    monkeypatch.setenv("CXX", str(refuses))
    with pytest.raises(library.CannotCompile, match="refuses failed: error: no such option"):
        library.load()
    assert "no such option" in library.missing()


def test_rows_say_what_counters_do_not_see():
    layer = nn.Linear(3, 2)
    assert list(Eva(layer, 0.1).remarks) == ["native-code"]
    assert Eva(layer, 0.1, compiled=False).remarks == {}
    assert Eva(layer.double(), 0.1).remarks == {}
    assert list(SGD8bit(nn.Linear(3, 2).parameters(), 0.1).remarks) == ["native-code"]


def test_profilers_see_calls_by_their_names():
    layer = nn.Linear(3, 2)
    optimizer = Eva(layer, 0.1)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        layer(torch.randn(4, 3)).square().sum().backward()
        optimizer.step()
    assert {"lowbit::vectors", "lowbit::precondition", "lowbit::descend"} <= {event.name for event in seen.events()}


def test_importing_the_optimizers_compiles_nothing(tmp_path):
    code = "import lowbit.optimizers.eva_8bit_cpu, lowbit.optimizers.sgd_8bit, lowbit.optimizers.eva_f"
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    assert list(tmp_path.iterdir()) == []

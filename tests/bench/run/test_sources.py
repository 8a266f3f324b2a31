from __future__ import annotations

import textwrap

import pytest

from bench.data.variant import Variant
from bench.run.build import build, open_data
from bench.run.load import load
from bench.run.sources import hash_parts

PLUGIN = """
import torch
from bench import Workload

def register(registry):
    @registry.model("toy")
    def toy(device, dtype, seed):
        import toybox.net
        return Workload(module=toybox.net.Net(), loss=torch.nn.functional.mse_loss, sample=sample)

    @registry.optimizer("toy-sgd")
    def toy_sgd(module):
        return torch.optim.SGD(module.parameters(), lr=0.1)

def sample(batch, generator):
    return torch.zeros(batch, 2), torch.zeros(batch, 2)
"""
FILES = {
    "toybox/__init__.py": "",
    "toybox/net.py": """\
        from torch import nn
        from .layer import width
        class Net(nn.Linear):
            def __init__(self): super().__init__(2, width())
        """,
    "toybox/layer.py": "from toybox import deep\ndef width(): return deep.TWO\n",
    "toybox/deep.py": "TWO = 2\n",
    "toybox/other.py": "unrelated = 1\n",
    "toybox/kernel.cpp": "int two() { return 2; }\n",
}


@pytest.fixture
def hashes(tmp_path, monkeypatch):
    import sys

    monkeypatch.syspath_prepend(str(tmp_path))

    def compute(**changed):
        for name in [name for name in sys.modules if name.split(".")[0] == "toybox"]:
            del sys.modules[name]
        (tmp_path / "toybox").mkdir(exist_ok=True)
        for name, text in FILES.items():
            (tmp_path / name).write_text(
                textwrap.dedent(text) + changed.get(name.rpartition("/")[2].partition(".")[0], "")
            )
        (tmp_path / "plug.py").write_text(PLUGIN)
        registry = load([str(tmp_path / "plug.py")])
        return hash_parts(
            registry, build(registry, Variant.parse("toy/toy-sgd/none"), data=open_data(registry, "digits"), seed=0)
        )

    yield compute
    for name in [name for name in sys.modules if name.split(".")[0] == "toybox"]:
        del sys.modules[name]


def test_every_part_of_a_variant_has_a_hash_and_the_same_source_the_same_one(hashes):
    first = hashes()
    assert set(first) == {"model:toy", "optimizer:toy-sgd"}
    assert first == hashes()


@pytest.mark.parametrize("file", ["net", "layer", "deep", "kernel"])
def test_a_change_in_any_file_that_the_model_imports_or_compiles_changes_its_hash_only(hashes, file):
    before, after = hashes(), hashes(**{file: "\n"})
    assert before["model:toy"] != after["model:toy"]
    assert before["optimizer:toy-sgd"] == after["optimizer:toy-sgd"]


def test_a_file_that_nothing_imports_changes_no_hash(hashes):
    assert hashes() == hashes(other="# changed\n")

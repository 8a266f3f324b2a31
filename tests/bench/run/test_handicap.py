from __future__ import annotations

from dataclasses import replace

import torch

from bench.plugin import Registry
from bench.run.handicap import handicapped
from bench.run.load import load_file
from tests.bench.report.duets import version


def test_a_handicapped_version_registers_the_same_and_its_optimizers_do_so_much_more(tmp_path, monkeypatch):
    (tmp_path / "inner_parts.py").write_text(
        "import torch\n"
        "def register(registry):\n"
        "    registry.optimizer('sgd')(lambda module: torch.optim.SGD(module.parameters(), lr=0.1))\n"
        "    registry.quantization('same', phases=('forward',))(lambda module: module)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    slow = handicapped(replace(version("head", "main", "c" * 40), plugins=("inner_parts",)), 3, tmp_path)
    assert slow.plugins == (str(tmp_path / "head_3.py"),)
    registry = Registry()
    load_file(tmp_path / "head_3.py").register(registry)
    assert registry.get("quantization", "same").options["phases"] == ("forward",)
    calls = []
    monkeypatch.setattr(torch, "mm", lambda *_: calls.append(1))
    module = torch.nn.Linear(2, 2)
    module(torch.ones(1, 2)).sum().backward()
    before = module.weight.detach().clone()
    registry.get("optimizer", "sgd").factory(module).step()
    assert len(calls) == 3
    assert not torch.equal(module.weight, before)

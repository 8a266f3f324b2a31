"""Two copies of the library in one process: nothing global leaks from one to the other."""

from __future__ import annotations

import importlib
import sys

import torch
import torch.nn.functional as F


def fresh_copy():
    """Imports lowbit anew and takes it out of sys.modules again."""
    kept = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "lowbit"}
    try:
        names = (
            "lowbit.optimizers.eva",
            "lowbit.optimizers.eva_8bit",
            "lowbit.optimizers.eva_8bit_cpu",
            "lowbit.plugin",
        )
        modules = [importlib.import_module(name) for name in names]
        importlib.import_module("lowbit.models.autoencoder")
        return modules
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == "lowbit"]:
            del sys.modules[name]
        sys.modules.update(kept)


def train(form, interleave=None):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))
    optimizer = form(model, 1e-2)
    for index in range(4):
        generator = torch.Generator().manual_seed(index)
        model.zero_grad()
        F.cross_entropy(model(torch.randn(4, 6, generator=generator)), torch.arange(4) % 3).backward()
        if interleave:
            interleave()
        optimizer.step()
    optimizer.close()
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_two_copies_train_side_by_side_as_each_does_alone():
    first, second = fresh_copy(), fresh_copy()
    for name in ("Eva", "Eva8bit", "Eva8bitCPU"):
        ours, theirs = (next(getattr(m, name) for m in side if hasattr(m, name)) for side in (first, second))
        assert ours is not theirs
        alone = train(ours)
        assert torch.equal(train(ours, interleave=lambda form=theirs: train(form)), alone)


def test_importing_registers_no_operator_and_changes_no_default_of_torch():
    def settings():
        return (
            torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled(), torch.initial_seed(),
            torch.are_deterministic_algorithms_enabled(), torch.get_float32_matmul_precision(),
            sorted({name.split("::")[0] for name in torch._C._dispatch_get_all_op_names()}),
        )  # fmt: skip

    before = settings()
    fresh_copy()
    assert settings() == before

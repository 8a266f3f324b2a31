"""Steps in C++ that are laid out once, where something between two steps is no longer as it was."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lowbit.optimizers import inductor_steps
from lowbit.optimizers.eva import Eva
from lowbit.optimizers.eva_8bit import Eva8bit
from lowbit.optimizers.native import library
from lowbit.optimizers.whole_update import update_

pytestmark = pytest.mark.skipif(library.missing() is not None, reason="no C++ compiler")


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1, groups=1), nn.BatchNorm2d(64), nn.Conv2d(64, 64, 3, groups=2, bias=False),
        nn.Flatten(), nn.Linear(64 * 36, 10), nn.Linear(10, 4),
    )  # fmt: skip


def loss(model, index):
    inputs = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(index))
    return model(inputs).square().mean()


def nothing(_model, _optimizer, _index):
    pass


def other_memory(model, _optimizer, index):
    """Moves parameters, as loading a model's state by assignment does."""
    if index == 2:
        for p in model.parameters():
            p.data = p.data.clone()


def other_layout(model, _optimizer, index):
    model.to(memory_format=torch.channels_last if index % 2 else torch.contiguous_format)


def other_momentum(_model, optimizer, index):
    if index == 2:
        optimizer.load_state_dict(optimizer.state_dict())


def other_rates(_model, optimizer, index):
    for group in optimizer.param_groups:
        group["lr"], group["momentum"] = 0.05 / (1 + index), 0.8


def frozen(model, _optimizer, index):
    model[4].requires_grad_(index % 2 == 0)
    model[0].bias.requires_grad_(index % 3 == 0)


def tensor_rates(_model, optimizer, index):
    optimizer.param_groups[0]["lr"] = torch.tensor(0.05) if index % 2 else 0.05


@pytest.mark.parametrize(("form", "by"), [(Eva, True), (Eva8bit, True), (Eva, "inductor")])
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize(
    "between", [nothing, other_memory, other_layout, other_momentum, other_rates, frozen, tensor_rates]
)
def test_steps_are_those_of_torchs_operations(between, groups, form, by, monkeypatch):
    # What is compiled; that it is the same compiled is in the tests of inductor_steps.
    monkeypatch.setattr(inductor_steps, "_compiled", lambda: update_)
    found = []
    for compiled in (by, False):
        model = net()
        parts = [{"params": list(model.parameters())[at::groups], "lr": 0.05 / (1 + at)} for at in range(groups)]
        optimizer = form(model, 0.05, param_groups=parts, compiled=compiled)
        for index in range(5):
            between(model, optimizer, index)
            optimizer.zero_grad()
            loss(model, index).backward()
            optimizer.step()
        found.append([p.detach() for p in model.parameters()])
    # Momentum in codes may differ by a code, and what follows from it as far.
    tolerance = {"rtol": 1e-3, "atol": 1e-5} if form is Eva else {"rtol": 2e-2, "atol": 2e-3}
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, **tolerance)


def test_state_that_shrank_after_it_was_laid_out_is_refused():
    model = net()
    optimizer = Eva(model, 0.05)
    for index in range(2):
        loss(model, index).backward()
        optimizer.step()
    buffer = optimizer.state[model[4].weight]["momentum_buffer"]
    optimizer.state[model[4].weight]["momentum_buffer"] = buffer[:5].clone()
    loss(model, 2).backward()
    with pytest.raises(RuntimeError, match="is that of another shape"):
        optimizer.step()

"""Training loops that do things in another order, or something in between."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import prune
from torch.utils.checkpoint import checkpoint

from lowbit.optimizers.eva import Eva
from lowbit.optimizers.native import library
from lowbit.optimizers.sgd_8bit import SGD8bit


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(96, 80), nn.Tanh(), nn.Linear(80, 64), nn.Tanh(), nn.Linear(64, 3))


def inputs(index=0):
    return torch.randn(2, 96, generator=torch.Generator().manual_seed(index))


def trained(model, between, compiled):
    """Takes three steps; `between` runs backward and whatever a loop does around it."""
    optimizer = Eva(model, 0.05, compiled=compiled)
    for index in range(3):
        optimizer.zero_grad()
        between(model, optimizer, inputs(index))
        optimizer.step()
    return [p.detach().clone() for p in model.parameters()]


def hooked(model, _optimizer, x):
    handle = model[0].weight.register_hook(lambda grad: grad * 0.1)
    model(x).square().sum().backward()
    handle.remove()


def penalized(model, _optimizer, x):
    (0.1 * model[0].weight.square().sum() + model(x).square().sum()).backward()


def overwritten(model, _optimizer, x):
    model(x).square().sum().backward()
    x.zero_()


def late(model, optimizer, x):
    loss = model(x).square().sum()
    optimizer.zero_grad()
    loss.backward()
    assert optimizer.capture._held == []
    x.zero_()


@pytest.mark.skipif(library.missing() is not None, reason="no C++ compiler")
@pytest.mark.parametrize("between", [hooked, penalized, overwritten, late])
def test_a_gradient_that_its_factors_do_not_give_is_read(between, monkeypatch):
    found = trained(net(), between, compiled=True)
    monkeypatch.setattr("lowbit.optimizers.known_gradients.KnownGradients.comes", lambda *_: None)
    for one, other in zip(found, trained(net(), between, compiled=False), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_what_accumulates_without_an_end_is_not_held():
    model = net()
    optimizer = Eva(model, 0.05)
    for index in range(10):
        # An output that nobody uses awaits a gradient for good.
        model(inputs(index))
        model(inputs(index)).square().sum().backward()
    assert len(optimizer.capture._held) < 2 * len(optimizer.layers)


def test_a_checkpoint_keeps_no_input():
    block = nn.Conv2d(4, 4, 3, padding=1)
    held = []

    class Seen(nn.Module):
        def forward(self, values):
            inner = values * 2
            held.append(torch.utils.weak.WeakTensorKeyDictionary({inner: True}))
            return block(inner)

    model = nn.Sequential(Seen())
    optimizer = Eva(block, 0.05)
    output = checkpoint(model, torch.randn(8, 4, 64, 64), use_reentrant=False)
    assert len(held[0]) == 0
    output.sum().backward()
    optimizer.step()


def test_a_pruned_layer_gets_plain_sgd():
    layer = nn.Linear(300, 300)
    prune.random_unstructured(layer, "weight", 0.5)
    model = nn.Sequential(layer, nn.Linear(300, 2))
    optimizer = Eva(model, 0.05)
    model(torch.randn(2, 300)).square().sum().backward()
    optimizer.step()


def load_and_step(optimizer, state):
    optimizer.load_state_dict(state)
    optimizer.step()


@pytest.mark.parametrize("make", [lambda m: Eva(m, 0.1), lambda m: SGD8bit(m.parameters(), 0.1)])
def test_the_state_of_another_model_is_refused(make):
    states = []
    for width in (64, 256):
        model = nn.Sequential(nn.Linear(width, width), nn.Linear(width, 3))
        optimizer = make(model)
        states.append(optimizer)
        model(torch.randn(2, width)).square().sum().backward()
        optimizer.step()
    with pytest.raises((ValueError, RuntimeError), match=r"another model|another shape"):
        load_and_step(states[1], states[0].state_dict())


def test_momentum_of_another_layout_is_read_as_it_is_meant():
    model = nn.Conv2d(3, 4, 3)
    plain = torch.optim.SGD(model.parameters(), 0.1, 0.9)
    model(torch.randn(2, 3, 8, 8)).square().sum().backward()
    plain.step()
    state = plain.state_dict()
    expected = state["state"][0]["momentum_buffer"].clone()
    state["state"][0]["momentum_buffer"] = expected.contiguous(memory_format=torch.channels_last)
    optimizer = Eva(model, 0.1)
    ours = optimizer.state_dict()
    optimizer.load_state_dict({**ours, "state": state["state"]})
    buffer = optimizer.state[model.weight]["momentum_buffer"]
    assert buffer.is_contiguous()
    assert torch.equal(buffer, expected)

"""What hooks hold between forward, backward and step."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from lowbit.optimizers.eva import Eva


def net():
    torch.manual_seed(0)
    return nn.Sequential(*(layer for _ in range(6) for layer in (nn.Conv2d(8, 8, 3, padding=1), nn.Tanh())))


@pytest.mark.parametrize("compiled", [None, False])
def test_inputs_are_dropped_with_the_graph_that_has_them(compiled):
    model = net()
    optimizer = Eva(model, 0.05, compiled=compiled)
    for _ in range(5):
        values = torch.randn(2, 8, 8, 8).mul(1)
        seen = weakref.ref(values)
        output = model(values)
        del values
        assert seen() is not None
        del output
        gc.collect()
        assert seen() is None
    assert len(optimizer.capture._waiting) <= 2 * 6


@pytest.mark.parametrize("compiled", [None, False])
def test_backward_leaves_no_inputs_and_no_gradients_behind(compiled):
    model = net()
    optimizer = Eva(model, 0.05, compiled=compiled)
    model(torch.randn(2, 8, 8, 8)).sum().backward()
    assert optimizer.capture._waiting == []
    assert optimizer.capture._held == []
    assert set(optimizer.capture.sums) == {"0", "2", "4", "6", "8", "10"}


def test_gradients_are_held_up_to_the_size_of_the_largest_weight(monkeypatch):
    monkeypatch.setattr("lowbit.optimizers.curvature.HELD", 1)
    model = net()
    optimizer = Eva(model, 0.05)
    most, elements = 8 * 8 * 3 * 3, 2 * 8 * 8 * 8
    held = []
    receive = optimizer.capture.receive

    def counted(*given):
        receive(*given)
        held.append(optimizer.capture._held_elements)

    monkeypatch.setattr(optimizer.capture, "receive", counted)
    model(torch.randn(2, 8, 8, 8)).sum().backward()
    assert len(held) == 6
    assert max(held) < most + elements
    monkeypatch.setattr(optimizer.capture, "_most", 3 * elements)
    held.clear()
    model(torch.randn(2, 8, 8, 8)).sum().backward()
    assert max(held) == 2 * elements


def test_a_retained_graph_gives_its_inputs_again():
    found = []
    for times in (1, 2):
        model = net()
        optimizer = Eva(model, 0.05)
        loss = model(torch.ones(2, 8, 8, 8)).square().sum()
        for _ in range(times):
            optimizer.zero_grad()
            loss.backward(retain_graph=True)
        optimizer.step()
        found.append([p.detach().clone() for p in model.parameters()])
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))


@pytest.mark.parametrize("compiled", [None, False])
def test_a_layer_inside_a_checkpoint_is_seen_once(compiled):
    found = []
    for checkpointed in (False, True):
        model = net()
        optimizer = Eva(model, 0.05, compiled=compiled)
        inputs = torch.ones(2, 8, 8, 8)
        output = checkpoint(model, inputs, use_reentrant=False) if checkpointed else model(inputs)
        output.square().sum().backward()
        optimizer.step()
        found.append([p.detach().clone() for p in model.parameters()])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)

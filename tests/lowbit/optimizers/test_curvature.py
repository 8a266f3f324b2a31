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


def statistics(optimizer):
    return optimizer.capture.take()


@pytest.mark.parametrize("compiled", [None, False])
def test_inputs_that_autograd_has_copied_may_be_written_to(compiled):
    layer = nn.Linear(6, 3)
    optimizer = Eva(layer, 0.05, compiled=compiled)
    inputs = torch.randn(4, 6, 3)
    expected = inputs.transpose(1, 2).mean((0, 1))
    output = layer(inputs.transpose(1, 2))
    inputs += 100
    output.sum().backward()
    torch.testing.assert_close(statistics(optimizer)[""][0], expected)


def test_many_passes_at_once_are_not_looked_through_at_each():
    layer = nn.Linear(4, 4)
    optimizer = Eva(layer, 0.05)
    values, limits = torch.randn(2, 4), set()
    for _ in range(200):
        values = layer(values)
        limits.add(optimizer.capture._enough)
    assert len(limits) < 10
    values.sum().backward()
    assert optimizer.capture.sums[""].passes == 200


def test_a_loss_that_is_kept_keeps_no_inputs_of_factors():
    model = nn.Sequential(nn.Tanh(), nn.Linear(300, 300))
    optimizer = Eva(model, 0.05, compiled=None)
    seen, losses = [], []
    for _ in range(3):
        values = torch.randn(2, 300)
        loss = model(values).square().sum()
        seen.append(weakref.ref(values))
        del values
        loss.backward()
        losses.append(loss)
        optimizer.step()
        optimizer.zero_grad()
    gc.collect()
    assert [each() for each in seen] == [None] * 3


@pytest.mark.parametrize("compiled", [None, False])
def test_a_batch_of_nothing_counts_for_nothing(compiled):
    model = net()
    optimizer = Eva(model, 0.05, compiled=compiled)
    for size in (2, 0, 2):
        optimizer.zero_grad()
        model(torch.randn(size, 8, 8, 8)).sum().backward()
        optimizer.step()
    assert all(p.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("mode", ["zeros", "reflect"])
@pytest.mark.parametrize("compiled", [None, False])
def test_backward_inside_autocast_of_a_layer_outside(mode, compiled):
    layer = nn.Conv2d(3, 4, 3, padding=1, padding_mode=mode)
    optimizer = Eva(layer, 0.05, compiled=compiled)
    with torch.autocast("cpu", torch.bfloat16):
        with torch.autocast("cpu", enabled=False):
            output = layer(torch.randn(2, 3, 8, 8))
        output.square().sum().backward()
    optimizer.step()
    assert optimizer.state[layer.weight]["a"].dtype == torch.float32


@pytest.mark.parametrize("compiled", [None, False])
def test_transformations_of_torch_func_are_passed_by(compiled):
    model = net()
    optimizer = Eva(model, 0.05, compiled=compiled)
    named = dict(model.named_parameters())

    def loss(parameters, inputs):
        return torch.func.functional_call(model, parameters, (inputs,)).square().sum()

    torch.func.grad(loss)(named, torch.randn(2, 8, 7, 7))
    assert statistics(optimizer) == {}
    model(torch.randn(2, 8, 7, 7)).sum().backward()
    optimizer.step()


class Nothing(torch.autograd.Function):
    """Its gradient is a tensor of zeros that lie nowhere."""

    @staticmethod
    def forward(ctx, values):
        return values.clone()

    @staticmethod
    def backward(ctx, gradient):
        return torch._efficientzerotensor(gradient.shape)


@pytest.mark.parametrize("compiled", [None, False])
def test_a_gradient_of_zeros_that_lie_nowhere(compiled):
    layer = nn.Conv2d(3, 4, 3)
    optimizer = Eva(layer, 0.05, compiled=compiled)
    Nothing.apply(layer(torch.randn(2, 3, 8, 8))).sum().backward()
    assert (statistics(optimizer)[""][1] == 0).all()

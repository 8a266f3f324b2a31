"""Parity with the published formula, and what a step may not do."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bench.run.counters import Operations
from lowbit.models.autoencoder import Autoencoder
from lowbit.models.vit import ViT
from lowbit.optimizers.eva import Eva
from tests.lowbit.optimizers.reference import ReferenceEva


def largest_difference(first, second):
    return max((p - q).abs().max().item() for p, q in zip(first.parameters(), second.parameters(), strict=True))


def train_both(model, make_batch, steps=30, lr=1e-2, **options):
    """Trains two copies, one with each optimizer, and returns the largest difference of their parameters."""
    twin = copy.deepcopy(model)
    ours, theirs = Eva(model, lr, **options), ReferenceEva(twin, lr, **options)
    for index in range(steps):
        inputs, targets = make_batch(index)
        for module, optimizer in ((model, ours), (twin, theirs)):
            torch.manual_seed(index)  # dropout
            module.zero_grad()
            F.cross_entropy(module(inputs), targets).backward()
            optimizer.step()
    return largest_difference(model, twin)


def pictures(count):
    def make(index):
        generator = torch.Generator().manual_seed(index)
        images = torch.randn(count, 3, 32, 32, generator=generator, dtype=torch.float64)
        return images, torch.randint(10, (count,), generator=generator)

    return make


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"kl_clip": 0},
        {"kl_clip": None, "lr": 1e-4},
        {"kl_clip": 1e9, "lr": 1e-4},
        {"stat_every": 3},
        {"stat_decay": 0.3, "damping": 0.3},
        {"momentum": 0.0, "weight_decay": 0.0},
        {"stat_samples": 2},
    ],
)
def test_parity_on_a_conv_net_with_stride_padding_and_layers_without_bias(small_net, batch, options):
    model = small_net()
    model(batch()[0])
    assert train_both(model, lambda index: batch(5, index), **options) <= 1e-10


def test_parity_on_the_autoencoder():
    torch.manual_seed(0)
    assert train_both(Autoencoder().double(), pictures(1), lr=1e-3) <= 1e-10


@pytest.mark.slow
def test_parity_on_the_vision_transformer():
    torch.manual_seed(0)
    assert train_both(ViT().double(), pictures(1), lr=1e-3) <= 1e-10


def test_a_batch_larger_than_the_samples_takes_the_first_of_them():
    torch.manual_seed(0)
    assert train_both(ViT(dim=32, depth=2, heads=2, head_dim=8, hidden=24).double(), pictures(19), lr=1e-3) <= 1e-10


@pytest.mark.parametrize("options", [{}, {"kl_clip": 0}, {"kl_clip": None}])
def test_a_step_never_waits_for_the_device(small_net, batch, options):
    model = small_net()
    model(batch()[0])
    optimizer = Eva(model, 1e-3, **options)
    for index in range(3):
        inputs, targets = batch(2, index)
        with Operations() as counter:
            F.cross_entropy(model(inputs), targets).backward()
            optimizer.step()
        assert counter.operations > 0
        assert counter.syncs == 0


def test_the_number_of_operations_does_not_grow_with_what_one_step_has_seen():
    torch.manual_seed(0)
    model = Autoencoder()
    optimizer = Eva(model, 1e-3)
    counts = []
    for index in range(3):
        F.cross_entropy(model(pictures(1)(index)[0].float()), torch.tensor([1])).backward()
        with Operations() as counter:
            optimizer.step()
        counts.append(counter.operations)
    assert counts[1] == counts[2] <= 85


def test_gradients_are_rewritten_by_what_was_descended_along(small_net, batch):
    model = small_net()
    optimizer = Eva(model, 1e-2, weight_decay=0.0)
    inputs, targets = batch()
    F.cross_entropy(model(inputs), targets).backward()
    before = [p.detach().clone() for p in model.parameters()]
    optimizer.step()
    for p, old in zip(model.parameters(), before, strict=True):
        torch.testing.assert_close(old - p, 1e-2 * p.grad)


@pytest.mark.parametrize(
    "options",
    [
        {"lr": -1}, {"momentum": 1.0}, {"weight_decay": -1e-4}, {"damping": 0}, {"stat_decay": 0}, {"stat_decay": 1.1},
        {"stat_samples": 0}, {"stat_every": 0},
    ],
)  # fmt: skip
def test_an_argument_out_of_range_is_named_with_what_is_allowed(options):
    name = next(iter(options))
    with pytest.raises(ValueError, match=rf"{name}=.*: must be"):
        Eva(nn.Linear(2, 2), **{"lr": 0.1, **options})


def test_a_closure_is_evaluated_with_gradients_and_its_loss_returned(batch):
    model = nn.Sequential(nn.Flatten(), nn.Linear(243, 4)).double()
    optimizer = Eva(model, 1e-2)

    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(model(batch()[0]), batch()[1])
        loss.backward()
        return loss

    assert optimizer.step(closure) > optimizer.step(closure)

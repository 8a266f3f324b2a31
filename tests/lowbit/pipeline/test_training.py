from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from lowbit.pipeline import training
from lowbit.quantization.flow import QuantizationError
from tests.lowbit.pipeline.tiny import data, make, with_nan


@given(count=st.integers(1, 60), batch=st.integers(2, 20), seed=st.integers(0, 9), epoch=st.integers(0, 9))
def test_batches_are_whole_and_no_example_is_in_two(count, batch, seed, epoch):
    found = training.batches_of(count, batch, seed, epoch)
    assert {len(chosen) for chosen in found} == {min(batch, count)}
    assert len(found) == max(1, count // batch)
    drawn = torch.cat(found).tolist()
    assert len(set(drawn)) == len(drawn)


def test_seed_and_epoch_decide_how_they_are_mixed():
    first, again = training.batches_of(40, 8, 1, 1), training.batches_of(40, 8, 1, 1)
    assert torch.equal(torch.cat(first), torch.cat(again))
    for other in (training.batches_of(40, 8, 2, 1), training.batches_of(40, 8, 1, 2)):
        assert not torch.equal(torch.cat(first), torch.cat(other))


@pytest.mark.parametrize(("algorithm", "lr"), [("adam", 0.01), ("sgd", 0.1)])
def test_training_lowers_the_loss(algorithm, lr):
    module = make(0)
    images = data().train
    optimizer = training.optimizer_of(module, algorithm, lr)
    batches = training.batches_of(96, 16, 0, 0)
    advanced = []
    losses = [
        training.train_epoch(module, optimizer, functional.cross_entropy, images, batches, advanced.append)
        for _ in range(5)
    ]
    assert losses[-1] < 0.9 * losses[0]
    assert advanced[:6] == [1, 2, 3, 4, 5, 6]


def test_the_rate_is_halved_on_a_plateau_of_the_training_loss():
    optimizer = training.optimizer_of(make(0), "sgd", 0.1)
    scheduler = training.scheduler_of(optimizer)
    rates = []
    for loss in (1.0, 0.5, 0.5, 0.5, 0.5, 0.5):
        scheduler.step(loss)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == [0.1, 0.1, 0.1, 0.1, 0.05, 0.05]


def test_a_loss_that_is_not_finite_is_refused():
    module, images = make(0), with_nan(data()).train
    optimizer = training.optimizer_of(module, "adam", 0.01)
    with pytest.raises(QuantizationError, match="training diverged: the loss is NaN or infinite; give a lower lr"):
        training.train_epoch(module, optimizer, functional.cross_entropy, images, [torch.arange(8)], lambda _: None)

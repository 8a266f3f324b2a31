from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from lowbit.data.images import ImageSet
from lowbit.pipeline.evaluation import evaluate
from lowbit.quantization.flow import QuantizationError, calibrate
from lowbit.quantization.stage import Stage
from tests.lowbit.pipeline.tiny import data, job, make


@pytest.mark.parametrize("batch", [2, 7, 40, 64])
def test_it_is_what_a_plain_loop_counts_whatever_the_batch(batch):
    module, images = make(0).eval(), data().test
    logits = module(images.images).detach()
    found = evaluate(module, images, batch)
    assert found.examples == 40
    assert torch.equal(found.right, logits.argmax(1) == images.labels)
    expected = sum(int(label) in row.topk(5).indices.tolist() for row, label in zip(logits, images.labels, strict=True))
    assert found.right5 == expected
    assert found.loss == pytest.approx(float(functional.cross_entropy(logits.double(), images.labels)), abs=1e-6)
    assert found.moved == ()


class Sizes(nn.Module):
    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, pictures):
        self.seen.append(len(pictures))
        return torch.zeros(len(pictures), 10)


def test_every_batch_has_one_size_and_no_value_that_was_not_in_it():
    module = Sizes()
    evaluate(module, data().test, 16)
    assert module.seen == [16, 16, 16]


class Moving(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("range", torch.tensor(0.0))
        self.register_buffer("still", torch.tensor(float("nan")))

    def forward(self, pictures):
        self.range = torch.maximum(self.range, pictures.abs().max())
        return torch.zeros(len(pictures), 10)


def test_buffers_that_change_between_two_batches_are_named():
    images = data().test.images.clone()
    images[20] *= 100
    found = evaluate(Moving(), ImageSet(images=images, labels=data().test.labels), 16)
    assert found.moved == ("range",)


@pytest.mark.parametrize("batch", [40, 64])
def test_buffers_that_change_are_named_where_one_batch_is_all(batch):
    assert evaluate(Moving(), data().test, batch).moved == ("range",)


def test_ranges_of_weights_that_follow_the_weights_are_no_observers():
    found = job(batch=64)
    prepared = found.flow.prepare(make(0), [found.data.train.images])
    calibrate(found.flow, prepared, [found.data.train.images])
    found.flow.enter(prepared, Stage.VALIDATION)
    assert evaluate(prepared, found.data.test, 64).moved == ()


def test_answers_that_are_not_finite_are_refused():
    with pytest.raises(QuantizationError, match="gives NaN or infinities on the test part"):
        evaluate(nn.Sequential(nn.Flatten(), nn.Linear(3072, 10), nn.Threshold(1e9, float("nan"))), data().test, 16)

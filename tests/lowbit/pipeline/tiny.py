"""A model and image sets that are trained in a blink, for tests of what happens around training."""

from __future__ import annotations

import dataclasses

import torch
from torch import nn
from torch.nn import functional

from lowbit.data.images import ImageSet
from lowbit.data.split import Split
from lowbit.pipeline.job import Job
from lowbit.pipeline.plan import Plan
from lowbit.quantization.flows import flow


class Tiny(nn.Module):
    """Two convolutions, the first with batch norm, dropout, and two linear layers."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, stride=4), nn.BatchNorm2d(8)
        self.middle = nn.Conv2d(8, 16, 3, stride=2)
        self.drop = nn.Dropout(0.1)
        self.hidden, self.classifier = nn.Linear(16, 16), nn.Linear(16, 10)

    def forward(self, pictures):
        x = torch.relu(self.norm(self.stem(pictures)))
        x = torch.relu(self.middle(x)).mean((2, 3))
        return self.classifier(self.drop(torch.relu(self.hidden(x))))


def make(seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Tiny()


def part(count, seed):
    """Pictures whose class is which tenth of their rows is bright."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(10, (count,), generator=generator)
    images = torch.randn(count, 3, 32, 32, generator=generator) * 0.3
    for image, label in zip(images, labels, strict=True):
        image[:, 3 * int(label) : 3 * int(label) + 3] += 2
    return ImageSet(images=images, labels=labels)


def data(seed=0, train=96, test=40):
    return Split(train=part(train, seed), test=part(test, seed + 1000), name="stripes")


DATA = data()


def job(*, data=DATA, start=None, made=None, **given):
    usual = {"model": "tiny", "flow": "kbit-4", "epochs": 2, "qat_epochs": 2, "batch": 16, "calibration": 32}
    plan = Plan(**usual | {"lr": 0.02, "qat_lr": 0.005} | given)
    own = flow(plan.flow, modules=plan.modules, wide_output=plan.wide_output) if made is None else made
    return Job(plan=plan, make=make, loss=functional.cross_entropy, data=data, flow=own, start=start)


class Kill(BaseException):
    """Ends a run as a signal would: nothing in between can catch it."""


def killed_at(text, batch):
    """What to show a run's steps to, for it to be killed after a batch of one of them."""

    def show(said, done, total):
        if said == text and done % (96 // 16) == batch % (96 // 16):
            raise Kill

    return show


def with_nan(found):
    images = found.train.images.clone()
    images[0, 0, 0, 0] = float("nan")
    return dataclasses.replace(found, train=ImageSet(images=images, labels=found.train.labels))


def same(state, other):
    """Says whether two states hold the same bits."""
    assert list(state) == list(other)
    return all(
        torch.equal(value, other[name]) if isinstance(value, torch.Tensor) else True for name, value in state.items()
    )

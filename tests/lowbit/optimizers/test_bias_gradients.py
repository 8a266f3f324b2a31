"""Mean output gradients from gradients of biases: those that hooks see, and hooks where they would not be."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lowbit.optimizers.eva import Eva
from lowbit.optimizers.eva_8bit import Eva8bit

SAMPLES = 6


class Net(nn.Module):
    """Convolutions with and without bias, linear layers of rows and of tokens, and one that may run twice."""

    def __init__(self, times=1):
        super().__init__()
        self.times = times
        self.first = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.second = nn.Conv2d(6, 8, 3, groups=2)
        self.third = nn.Conv2d(8, 8, 1, bias=False)
        self.tokens = nn.Linear(8, 8)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = self.third(torch.tanh(self.second(torch.tanh(self.first(x)))))
        x = x.flatten(2).transpose(1, 2)
        for _ in range(self.times):
            x = torch.tanh(self.tokens(x))
        return self.head(x.mean(1))


def data(index, count=4):
    generator = torch.Generator().manual_seed(index)
    inputs = torch.randn(count, 3, 9, 9, generator=generator, dtype=torch.float64)
    return inputs, torch.randint(4, (count,), generator=generator)


def train(step, *, form=Eva, times=1, steps=5, **options):
    """Returns a model and its optimizer after some steps, and how many gradients hooks gave in each."""
    torch.manual_seed(0)
    model = Net(times).double()
    optimizer = form(model, 0.05, stat_samples=SAMPLES, **options)
    hooked = []
    receive = optimizer.capture.receive

    def noted(*given):
        hooked[-1] += 1
        receive(*given)

    optimizer.capture.receive = noted
    for index in range(steps):
        hooked.append(0)
        step(model, optimizer, index)
        optimizer.step()
    return model, optimizer, hooked


def loss(model, index, count=4):
    inputs, targets = data(index, count)
    return F.cross_entropy(model(inputs), targets)


def plain(model, optimizer, index):
    optimizer.zero_grad()
    loss(model, index).backward()


def larger(model, optimizer, index):
    optimizer.zero_grad()
    loss(model, index, SAMPLES + 3).backward()


def now_and_then_larger(model, optimizer, index):
    optimizer.zero_grad()
    loss(model, index, SAMPLES + 3 * (index % 2)).backward()


def accumulated(model, optimizer, index):
    optimizer.zero_grad()
    for part in range(3):
        loss(model, 10 * index + part).backward()


def onto_zeros(model, optimizer, index):
    optimizer.zero_grad(set_to_none=False)
    loss(model, index).backward()


def given_up(model, optimizer, index):
    loss(model, index + 100)
    plain(model, optimizer, index)


def partly(model, optimizer, index):
    optimizer.zero_grad()
    model.second.requires_grad_(index % 2 == 0)
    loss(model, index).backward()


def without_bias(model, optimizer, index):
    optimizer.zero_grad()
    model.second.bias.requires_grad_(index % 2 == 0)
    loss(model, index).backward()


def hook_on_a_bias(model, optimizer, index):
    if index == 2:
        model.second.bias.register_hook(lambda grad: 2 * grad)
    plain(model, optimizer, index)


# By the steps after the first, in which all have hooks: how many layers have them. Two always do, the last in forward
# and the one without a bias.
@pytest.mark.parametrize(
    ("step", "times", "hooked"),
    [
        (plain, 1, [2, 2]), (plain, 2, [4, 4]), (larger, 1, [5, 5]), (now_and_then_larger, 1, [5, 2]),
        (accumulated, 1, [12, 12]), (onto_zeros, 1, [5, 5]), (given_up, 1, [2, 2]), (partly, 1, [2, 2]),
        (without_bias, 1, [3, 2]), (hook_on_a_bias, 1, [2, 3]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", [Eva, Eva8bit])
def test_steps_are_those_with_hooks_and_hooks_are_where_they_must_be(step, times, hooked, form):
    wanted = train(step, form=form, times=times)[0]
    found, _, counts = train(step, form=form, times=times, bias_gradients=True)
    assert counts[1:3] == hooked
    # Codes may differ by one where values lie between two.
    tolerance = 1e-12 if form is Eva else 1e-4
    for one, other in zip(found.parameters(), wanted.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


def test_gradients_that_were_clipped_are_not_taken_and_hooks_come_back():
    def clipped(model, optimizer, index):
        plain(model, optimizer, index)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.01)

    seen = []

    def noting(model, optimizer, index):
        clipped(model, optimizer, index)
        seen.append(optimizer.state.get(model.first.weight, {}).get("g", torch.zeros(6)).clone())

    _, optimizer, hooked = train(noting, bias_gradients=True)
    assert hooked == [5, 2, 5, 5, 5]
    # Averages stayed as they were in the step that could not know, and in no other.
    assert torch.equal(seen[1], seen[2])
    assert not torch.equal(seen[2], seen[3])
    assert optimizer.state[optimizer.layers["first"].weight]["g"].isfinite().all()


def test_a_second_pass_that_comes_late_loses_a_step_of_that_layer_only():
    averages = []

    def sometimes_twice(model, optimizer, index):
        averages.append({
            name: optimizer.state.get(layer.weight, {}).get("g", torch.zeros(1)).clone()
            for name, layer in optimizer.layers.items()
        })  # fmt: skip
        model.times = 2 if index == 2 else 1
        plain(model, optimizer, index)

    hooked = train(sometimes_twice, bias_gradients=True)[2]
    assert hooked == [5, 2, 3, 3, 3]
    stayed = {name for name, value in averages[2].items() if torch.equal(value, averages[3][name])}
    assert stayed == {"tokens"}


def test_a_pass_without_backward_holds_its_inputs_no_longer_than_the_batch():
    model, optimizer, _ = train(plain, bias_gradients=True)
    inputs = data(0)[0]
    held = weakref.ref(inputs)
    F.cross_entropy(model(inputs), data(0)[1])
    del inputs
    optimizer.zero_grad()
    gc.collect()
    assert held() is None


def test_without_a_backward_pass_nothing_is_renewed():
    model, optimizer, _ = train(plain, bias_gradients=True)
    before = optimizer.state[model.first.weight]["g"].clone()
    optimizer.zero_grad()
    loss(model, 0)
    optimizer.step()
    assert torch.equal(optimizer.state[model.first.weight]["g"], before)

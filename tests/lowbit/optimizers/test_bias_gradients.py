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


def averages_of(optimizer):
    return {
        name: optimizer.state.get(layer.weight, {}).get("g", torch.zeros(1)).clone()
        for name, layer in optimizer.layers.items()
    }


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


def with_nothing(model, optimizer, index):
    plain(model, optimizer, index)
    model(data(index, 0)[0]).sum().backward()


def watched(model, optimizer, index):
    optimizer.zero_grad()
    loss(model, index + 100)
    loss(model, index).backward()


def zeroed_late(model, optimizer, index):
    found = loss(model, index)
    optimizer.zero_grad()
    found.backward()


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
        (accumulated, 1, [12, 12]), (with_nothing, 1, [2, 2]), (onto_zeros, 1, [5, 5]), (given_up, 1, [5, 2]),
        (watched, 1, [5, 5]), (zeroed_late, 1, [5, 5]), (partly, 1, [2, 3]), (without_bias, 1, [3, 2]),
        (hook_on_a_bias, 1, [2, 3]),
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


def clipped(model, found):
    found.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 0.01)


def hooked_late(model, found):
    model.second.bias.register_hook(lambda grad: 2 * grad)
    found.backward()


def weights_alone(model, found):
    found.backward(inputs=[p for p in model.parameters() if p.ndim > 1])


def twice(_model, found):
    found.backward(create_graph=True)
    found.backward()


@pytest.mark.filterwarnings("ignore:Using backward:UserWarning")
@pytest.mark.parametrize(
    ("back", "stay", "hooks"),
    [
        (clipped, {"first", "second", "tokens"}, 5), (hooked_late, {"second"}, 3),
        (weights_alone, {"first", "second", "tokens"}, 5), (twice, {"first", "second", "tokens"}, 5),
    ],
)  # fmt: skip
def test_what_is_another_gradient_after_all_loses_a_step_of_its_layer_and_hooks_come_back(back, stay, hooks):
    averages = []

    def step(model, optimizer, index):
        averages.append(averages_of(optimizer))
        optimizer.zero_grad()
        found = loss(model, index)
        if index == 2:
            back(model, found)
        else:
            found.backward()

    hooked = train(step, bias_gradients=True)[2]
    assert [*hooked[:2], *hooked[3:]] == [5, 2, hooks, hooks]
    assert {name for name, value in averages[2].items() if torch.equal(value, averages[3][name])} == stay
    assert not any(torch.equal(value, averages[4][name]) for name, value in averages[3].items())


def test_a_second_pass_that_comes_late_loses_a_step_of_that_layer_only():
    averages = []

    def sometimes_twice(model, optimizer, index):
        averages.append(averages_of(optimizer))
        model.times = 2 if index == 2 else 1
        plain(model, optimizer, index)

    hooked = train(sometimes_twice, bias_gradients=True)[2]
    assert hooked == [5, 2, 3, 3, 3]
    stayed = {name for name, value in averages[2].items() if torch.equal(value, averages[3][name])}
    assert stayed == {"tokens"}


@pytest.mark.parametrize("changes", [False, True])
def test_inputs_are_taken_after_backward_where_no_hook_began_it_unless_they_have_changed(changes):
    def step(model, optimizer, index):
        optimizer.zero_grad()
        # Of the layers that have hooks none gets a gradient.
        model.head.requires_grad_(index != 2)
        model.third.requires_grad_(index != 2)
        inputs, targets = data(index)
        F.cross_entropy(model(inputs), targets).backward()
        if changes:
            inputs.fill_(float("nan"))

    wanted, before, _ = train(step)
    found, after, hooked = train(step, bias_gradients=True)
    assert hooked[1:3] == [2, 0]
    # The mean input of the first layer could not be taken.
    equal = torch.equal(before.state[wanted.first.weight]["a"], after.state[found.first.weight]["a"])
    assert equal is not changes
    for one, other in zip(found.parameters(), wanted.parameters(), strict=True):
        assert one.isfinite().all()
        if not changes:
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_a_scaler_that_changes_gradients_before_the_step_is_refused():
    with pytest.raises(ValueError, match="bias_gradients=True with grad_scaler"):
        Eva(Net(), 0.1, bias_gradients=True, grad_scaler=torch.amp.GradScaler("cpu"))


def test_a_scaler_that_leaves_gradients_to_the_step_scales_those_of_biases_too():
    def scaled(model, optimizer, index):
        optimizer.zero_grad()
        scaler.scale(loss(model, index)).backward()
        # The optimizer then divides by the scale: `train` steps it.
        optimizer.grad_scale, optimizer.found_inf = scaler.scale(torch.ones(())), torch.zeros(())

    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    wanted, found = train(plain)[0], train(scaled, bias_gradients=True)[0]
    for one, other in zip(found.parameters(), wanted.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-7)


def test_weights_that_are_computed_are_left_alone():
    def step(model, optimizer, index):
        if index == 0:
            torch.nn.utils.parametrizations.spectral_norm(model.second)
        plain(model, optimizer, index)

    assert train(step, bias_gradients=True)[0].first.weight.isfinite().all()


def test_a_pass_without_backward_holds_its_inputs_no_longer_than_to_the_next_step():
    model, optimizer, _ = train(plain, bias_gradients=True)
    inputs = data(0)[0]
    held = weakref.ref(inputs)
    F.cross_entropy(model(inputs), data(0)[1])
    del inputs
    plain(model, optimizer, 1)
    optimizer.step()
    gc.collect()
    assert held() is None


def test_without_a_backward_pass_nothing_is_renewed():
    model, optimizer, _ = train(plain, bias_gradients=True)
    before = optimizer.state[model.first.weight]["g"].clone()
    optimizer.zero_grad()
    loss(model, 0)
    optimizer.step()
    assert torch.equal(optimizer.state[model.first.weight]["g"], before)

"""Sums of the rows of gradients that are taken in backward: whether they serve the step, and where they must not."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import nn

from lowbit.optimizers.eva import Eva
from lowbit.optimizers.eva_8bit import Eva8bit
from lowbit.optimizers.eva_8bit_cpu import Eva8bitCPU
from lowbit.optimizers.native import library
from lowbit.optimizers.native.precondition import Preconditioner, Rows

pytestmark = pytest.mark.skipif(library.missing() is not None, reason="no C++ compiler")


def net():
    """Layers large enough to be summed, of more rows than factors are kept for, and one of groups."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(16, 32, 3, groups=4, bias=False), nn.Flatten(), nn.Linear(32 * 36, 130), nn.Tanh(), nn.Linear(130, 5)
    )


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr("lowbit.optimizers.curvature.LARGE", 1)


def loss(model, index=0):
    inputs = torch.randn(48, 16, 8, 8, generator=torch.Generator().manual_seed(index))
    return model(inputs).square().mean()


def trained(form, between, steps=4):
    model = net()
    optimizer = form(model, 0.05)
    for index in range(steps):
        optimizer.zero_grad()
        between(model, optimizer, index)
        optimizer.step()
    if isinstance(optimizer, Eva8bitCPU):
        optimizer.close()
    return [p.detach().clone() for p in model.parameters()]


def in_the_second_step():
    """A model with its optimizer after backward: in the first step nobody knows an average to come."""
    model = net()
    optimizer = Eva(model, 0.05)
    loss(model).backward()
    optimizer.step()
    optimizer.zero_grad()
    loss(model, 1).backward()
    return model, optimizer


def plainly(model, _optimizer, index):
    loss(model, index).backward()


def accumulated(model, _optimizer, index):
    loss(model, index).backward()
    loss(model, index + 10).backward()


def twice_in_one_pass(model, _optimizer, index):
    (loss(model, index) + loss(model, index + 10)).backward()


def twice_and_one_held(model, optimizer, index):
    """Of two passes one is released at once and one still held when the step asks: another is awaited for good."""
    model(torch.randn(2, 16, 8, 8))
    unused = model(torch.randn(2, 16, 8, 8))
    receive, optimizer.capture._most = optimizer.capture.receive, 1
    optimizer.capture.receive = lambda *given: (receive(*given), setattr(optimizer.capture, "_most", 1 << 30))
    (loss(model, index) + loss(model, index + 10)).backward()
    optimizer.capture.receive = receive
    del unused


def clipped(model, _optimizer, index):
    loss(model, index).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1e-2)


def penalized(model, _optimizer, index):
    (loss(model, index) + 0.01 * sum(p.square().sum() for p in model.parameters())).backward()


def hooked(model, _optimizer, index):
    handle = model[2].weight.register_hook(lambda grad: grad * 0.1)
    loss(model, index).backward()
    handle.remove()


def replaced(model, _optimizer, index):
    loss(model, index).backward()
    model[2].weight.grad = model[2].weight.grad * 0.5


def overwritten_past_the_counter(model, _optimizer, index):
    loss(model, index).backward()
    model[2].weight.grad.data *= 0.5


def reloaded(model, optimizer, index):
    loss(model, index).backward()
    state = optimizer.state_dict()
    for values in state["state"].values():
        for key in values.keys() & {"a", "a_scales"}:
            values[key] = values[key] * 2
    optimizer.load_state_dict(state)


def rated(model, optimizer, index):
    loss(model, index).backward()
    optimizer.stat_decay = 0.5


@pytest.mark.parametrize("form", [Eva, Eva8bit, Eva8bitCPU])
@pytest.mark.parametrize(
    "between",
    [
        plainly, accumulated, twice_in_one_pass, twice_and_one_held, clipped, penalized, hooked, replaced,
        overwritten_past_the_counter, reloaded, rated,
    ],
)  # fmt: skip
def test_a_step_is_bit_for_bit_that_which_reads_gradients(form, between, monkeypatch):
    found = trained(form, between)
    monkeypatch.setattr("lowbit.optimizers.known_gradients.KnownGradients.comes", lambda *_: None)
    for one, other in zip(found, trained(form, between), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("form", [Eva, Eva8bit])
def test_from_the_second_step_on_gradients_are_summed_where_they_are_made(form):
    model = net()
    optimizer = form(model, 0.05)
    kinds = []
    for index in range(2):
        optimizer.zero_grad()
        loss(model, index).backward()
        kinds.append({name: type(known) for name, known in optimizer.capture.known().items()})
        optimizer.step()
    # In the first step nobody knows an average to come.
    assert kinds == [{}, {"0": Rows, "2": Rows, "4": Rows}]


def test_what_is_known_is_not_read_again():
    model, optimizer = in_the_second_step()
    # Of 130 rows those are compared that are 32 apart, from 16 on.
    model[2].weight.grad.data[1] = float("nan")
    optimizer.step()
    assert model[2].weight[1].isnan().all()
    assert model[2].weight[0].isfinite().all()
    assert model[4].weight.isfinite().all()


def test_hooks_hold_no_optimizer():
    model = net()
    optimizer = Eva(model, 0.05)
    loss(model).backward()
    reference = weakref.ref(optimizer)
    optimizer.step()
    del optimizer
    gc.collect()
    assert reference() is None
    model.zero_grad()
    loss(model).backward()


def test_a_change_past_the_counter_shows_in_the_longest_row():
    model, optimizer = in_the_second_step()
    rows = optimizer.capture.known()["2"]
    longest = int(rows.sums[:, 0].argmax())
    # Not one of those that are compared at any rate.
    assert longest % 32 != 16
    a = optimizer._expected("2", optimizer.capture.sums["2"].a)
    given = {"groups": [1], "lrs": [0.05], "damping": 0.03, "kl_clip": 1e-3}
    vectors = [a], [torch.randn(130)]
    grad = model[2].weight.grad
    for change in (1.0, 0.5):
        grad.data[longest] *= change
        known, read = (Preconditioner()([grad], [None], *vectors, known=[each], **given) for each in (rows, None))
        assert torch.equal(known[0], read[0])
        assert torch.equal(known[1].flat, read[1].flat)


@pytest.mark.parametrize("form", [Eva, Eva8bit, Eva8bitCPU])
def test_layers_of_no_group_get_no_state(form):
    model = net()
    optimizer = form(model, 0.05, param_groups=[{"params": list(model[4].parameters())}])
    for index in range(2):
        optimizer.zero_grad()
        loss(model, index).backward()
        optimizer.step()
    assert len(optimizer.state_dict()["state"]) == 2


@pytest.mark.parametrize("form", [Eva, Eva8bit])
def test_statistics_of_another_size_are_refused_by_the_step_and_not_by_backward(form):
    model = net()
    optimizer = form(model, 0.05)
    loss(model).backward()
    optimizer.step()
    state = optimizer.state[model[2].weight]
    key = "a" if form is Eva else "a_codes"
    state[key] = state[key][:10].clone()
    loss(model, 1).backward()
    with pytest.raises(RuntimeError):
        optimizer.step()


def test_a_gradient_that_its_weight_has_no_more_is_dropped_at_the_next_pass():
    model, optimizer = in_the_second_step()
    model.zero_grad()
    assert optimizer.capture.gradients.names
    loss(model, 2)
    assert optimizer.capture.gradients.names == []


def test_rows_are_not_summed_for_torchs_operations():
    model = net()
    optimizer = Eva(model, 0.05)
    optimizer.param_groups[0]["lr"] = torch.tensor(0.05)
    for index in range(3):
        optimizer.zero_grad()
        loss(model, index).backward()
        assert optimizer.capture.known() == {}
        optimizer.step()

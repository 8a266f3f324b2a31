"""Training loops on which public code fails: groups, schedulers, saved states, accumulation and scaled losses."""

from __future__ import annotations

import copy
import io

import pytest
import torch
import torch.nn.functional as F

from lowbit.optimizers.eva import Eva
from tests.lowbit.optimizers.training import data, forms, net, step, values


@forms
def test_groups_have_their_own_rates_and_one_that_is_still_does_not_move(form):
    model = net()
    groups = [
        {"params": list(model[0].parameters()), "lr": 0.0},
        {"params": [model[2].weight]},
        {"params": [model[2].bias], "weight_decay": 0.0, "momentum": 0.0},
    ]
    optimizer = form(model, 1e-2, param_groups=groups)
    before = copy.deepcopy(model.state_dict())
    for index in range(2):
        step(model, optimizer, *data(index))
    assert torch.equal(before["0.weight"], model[0].weight)
    assert not torch.equal(before["2.weight"], model[2].weight)
    assert not torch.equal(before["2.bias"], model[2].bias)
    optimizer.close()


def test_the_clip_weighs_each_layer_with_its_own_rate():
    model, twin = net(), net()
    groups = [{"params": list(model[0].parameters()), "lr": 1e-2}, {"params": list(model[2].parameters()), "lr": 1e-2}]
    optimizers = Eva(model, 3.0, param_groups=groups), Eva(twin, 1e-2)
    for index in range(3):
        step(model, optimizers[0], *data(index))
        step(twin, optimizers[1], *data(index))
    assert torch.equal(values(model), values(twin))


def test_the_clip_takes_the_square_of_each_layers_own_rate():
    """nu = sqrt(kl_clip / S) with S = sum lr_i^2 <V_i, G_i>; lr_i V_i is what a step without clip and decay takes."""
    rates = (1e-2, 3e-2)
    changes = []
    for kl_clip in (None, 1e-3):
        model = net()
        groups = [{"params": list(model[at].parameters()), "lr": lr} for at, lr in zip((0, 2), rates, strict=True)]
        optimizer = Eva(model, 1.0, momentum=0.0, weight_decay=0.0, kl_clip=kl_clip, param_groups=groups)
        before = values(model)
        inputs, targets = data()
        F.cross_entropy(model(inputs), targets).backward()
        gradient = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
        optimizer.step()
        changes.append(before - values(model))
    first = sum(parameter.numel() for parameter in model[0].parameters())
    rate = torch.full_like(gradient, rates[1])
    rate[:first] = rates[0]
    s = (rate * changes[0] * gradient).sum()
    assert s > 1e-3
    torch.testing.assert_close(changes[1], changes[0] * (1e-3 / s).sqrt(), rtol=0, atol=1e-12)


@forms
def test_a_scheduler_reaches_the_step(form):
    model, twin = net(), net()
    scheduled, manual = form(model, 1e-2), form(twin, 1e-2)
    scheduler = torch.optim.lr_scheduler.StepLR(scheduled, step_size=1, gamma=0.5)
    for index in range(4):
        step(model, scheduled, *data(index))
        scheduler.step()
        manual.param_groups[0]["lr"] = 1e-2 * 0.5**index
        step(twin, manual, *data(index))
    assert torch.equal(values(model), values(twin))
    scheduled.close()
    manual.close()


@forms
@pytest.mark.parametrize("through_file", [False, True])
def test_a_saved_state_goes_on_bit_for_bit(form, through_file):
    model = net(torch.float32, width=1200)  # 6,000 weights: large enough to be kept in 8 bits
    optimizer = form(model, 1e-2, stat_every=2)
    for index in range(3):
        step(model, optimizer, *data(index, width=1200, dtype=torch.float32))
    twin = copy.deepcopy(model)
    other = form(twin, 0.5, stat_every=2)
    saved = copy.deepcopy(optimizer.state_dict())
    if through_file:
        file = io.BytesIO()
        torch.save(saved, file)
        file.seek(0)
        saved = torch.load(file, weights_only=True)
    other.load_state_dict(saved)
    assert other.state_bytes() == optimizer.state_bytes()
    for index in range(3, 7):
        step(model, optimizer, *data(index, width=1200, dtype=torch.float32))
        step(twin, other, *data(index, width=1200, dtype=torch.float32))
    assert torch.equal(values(model), values(twin))
    optimizer.close()
    other.close()


@forms
def test_a_state_loads_into_another_dtype_and_codes_stay_codes(form):
    model = net(torch.float64, width=1200)
    optimizer = form(model, 1e-2)
    step(model, optimizer, *data(width=1200))
    twin = net(torch.float32, width=1200)
    other = form(twin, 1e-2)
    other.load_state_dict(optimizer.state_dict())
    for state in other.state.values():
        for key, value in state.items():
            codes = torch.int8 if key.startswith("momentum") else torch.uint8
            assert value.dtype == (codes if key.endswith("_codes") else torch.float32), key
    assert torch.isfinite(step(twin, other, *data(width=1200, dtype=torch.float32)))
    optimizer.close()
    other.close()


def test_the_state_of_another_class_is_refused():
    model = net()
    saved = torch.optim.Adam(model.parameters())
    step(model, saved, *data())
    with pytest.raises(ValueError, match=r"exp_avg.* is not that of Eva"):
        Eva(net(), 1e-2).load_state_dict(saved.state_dict())


def test_accumulated_gradients_take_the_mean_of_the_vectors():
    model = net()
    optimizer = Eva(model, 1e-2)
    batches = [data(index) for index in range(3)]
    for inputs, targets in batches:
        (F.cross_entropy(model(inputs), targets) / 3).backward()
    expected = torch.stack([inputs.mean(0) for inputs, _ in batches]).mean(0)
    optimizer.step()
    torch.testing.assert_close(optimizer.state[model[0].weight]["a"], expected)


def scaled_run(form, *, unscale, bad_step=None, scale=2.0**10, aware=False):
    model = net()
    scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=10**6, backoff_factor=0.5)
    optimizer = form(model, 1e-2, grad_scaler=scaler if aware else None)
    for index in range(4):
        model.zero_grad()
        inputs, targets = data(index)
        if index == bad_step:
            inputs = inputs * torch.inf
        scaler.scale(F.cross_entropy(model(inputs), targets)).backward()
        if unscale:
            scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
    state = copy.deepcopy(optimizer.state_dict()["state"])
    optimizer.close()
    return values(model), state


def plain_run(form, skip=None):
    model = net()
    optimizer = form(model, 1e-2)
    for index in range(4):
        if index != skip:
            step(model, optimizer, *data(index))
    state = copy.deepcopy(optimizer.state_dict()["state"])
    optimizer.close()
    return values(model), state


@forms
@pytest.mark.parametrize(("unscale", "aware"), [(False, False), (True, True), (False, True)])
@pytest.mark.parametrize("bad_step", [None, 0, 2])
def test_a_scaled_loss_gives_the_step_of_the_plain_one_and_an_overflow_changes_nothing(form, unscale, aware, bad_step):
    result, state = scaled_run(form, unscale=unscale, aware=aware, bad_step=bad_step)
    expected, plain_state = plain_run(form, skip=bad_step)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-12)
    for number, kept in plain_state.items():
        assert set(kept) == set(state[number])
        assert all(torch.isfinite(value).all() for value in state[number].values())


def test_unscaling_by_hand_needs_the_scaler():
    with pytest.raises(RuntimeError, match="give the optimizer grad_scaler=scaler"):
        scaled_run(Eva, unscale=True)


def test_what_is_in_no_group_stays_as_it_is():
    model = net()
    optimizer = Eva(model, 1e-2, param_groups=[{"params": list(model[2].parameters())}])
    before = model[0].weight.detach().clone()
    step(model, optimizer, *data())
    assert torch.equal(model[0].weight, before)
    assert len(optimizer.state_dict()["state"]) == 2


@forms
def test_a_batch_that_is_given_up_leaves_no_trace(form):
    model, twin = net(), net()
    watched, plain = form(model, 1e-2), form(twin, 1e-2)
    F.cross_entropy(model(data(9)[0] * 100), data(9)[1]).backward()
    watched.zero_grad()
    step(model, watched, *data())
    step(twin, plain, *data())
    assert torch.equal(values(model), values(twin))
    watched.close()
    plain.close()

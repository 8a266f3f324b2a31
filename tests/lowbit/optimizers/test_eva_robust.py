"""Models and training loops on which public code fails; every form of Eva must get through each of them."""

from __future__ import annotations

import copy
import gc
import io
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from lowbit.optimizers.eva import Eva
from lowbit.optimizers.eva_8bit import Eva8bit
from lowbit.optimizers.eva_8bit_cpu import Eva8bitCPU
from tests.lowbit.optimizers.reference import ReferenceEva

FORMS = [Eva, Eva8bit, Eva8bitCPU]
forms = pytest.mark.parametrize("form", FORMS)


def step(model, optimizer, inputs, targets):
    model.zero_grad()
    loss = F.cross_entropy(model(inputs), targets)
    loss.backward()
    optimizer.step()
    return loss.detach()


def data(index=0, count=4, width=6, dtype=torch.float64):
    generator = torch.Generator().manual_seed(index)
    return torch.randn(count, width, generator=generator, dtype=dtype), torch.randint(3, (count,), generator=generator)


def net(dtype=torch.float64, width=6):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(width, 5), nn.Tanh(), nn.Linear(5, 3)).to(dtype)


def values(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


class Split(nn.Module):
    """Has a frozen layer, a layer that is never used, and one that is used twice."""

    def __init__(self):
        super().__init__()
        self.frozen = nn.Linear(6, 6).requires_grad_(requires_grad=False)
        self.unused = nn.Linear(6, 6)
        self.twice = nn.Linear(6, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        return self.head(torch.tanh(self.twice(torch.tanh(self.twice(self.frozen(x))))))


@forms
def test_frozen_and_unused_layers_stay_as_they_are_and_a_layer_used_twice_trains(form):
    torch.manual_seed(0)
    model = Split().double()
    before = copy.deepcopy(model.state_dict())
    optimizer = form(model, 1e-2)
    for index in range(3):
        step(model, optimizer, *data(index))
    after = model.state_dict()
    for name in before:
        assert torch.equal(before[name], after[name]) is name.startswith(("frozen", "unused")), name
    assert set(optimizer.capture.pairs) == set()
    optimizer.close()


def test_a_layer_used_twice_takes_the_mean_of_its_vectors():
    torch.manual_seed(0)
    model = Split().double()
    optimizer = Eva(model, 1e-2)
    seen = []
    model.twice.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0].detach().mean(0)))
    step(model, optimizer, *data())
    torch.testing.assert_close(optimizer.state[model.twice.weight]["a"], (seen[0] + seen[1]) / 2)


@forms
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(
    "options",
    [
        {"groups": 2}, {"groups": 4, "bias": False}, {"dilation": 2}, {"padding": "same"}, {"padding": "valid"},
        {"padding": 2, "padding_mode": "reflect"}, {"padding": (1, 0), "padding_mode": "circular", "stride": 2},
        {"padding": 1, "padding_mode": "replicate", "groups": 4, "dilation": (1, 2)},
    ],
)  # fmt: skip
def test_every_kind_of_convolution_trains(form, count, options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(4, 8, 3, **options), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3)).double()
    inputs = torch.randn(count, 4, 9, 8, dtype=torch.float64)
    model(inputs)
    optimizer = form(model, 1e-3)
    before = values(model)
    for _ in range(2):
        assert torch.isfinite(step(model, optimizer, inputs, torch.arange(count)))
    assert not torch.equal(values(model), before)
    optimizer.close()


def test_a_grouped_convolution_is_its_groups_side_by_side():
    """With one block a group, grouped and separate convolutions make the same step."""
    torch.manual_seed(0)

    class Separate(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = nn.ModuleList(nn.Conv2d(2, 3, 3, padding=1) for _ in range(2))

        def forward(self, x):
            return torch.cat([part(half) for part, half in zip(self.parts, x.chunk(2, 1), strict=True)], 1).mean((2, 3))

    separate = Separate().double()
    grouped = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1, groups=2), nn.AdaptiveAvgPool2d(1), nn.Flatten()).double()
    with torch.no_grad():
        grouped[0].weight.copy_(torch.cat([part.weight for part in separate.parts]))
        grouped[0].bias.copy_(torch.cat([part.bias for part in separate.parts]))
    inputs, targets = torch.randn(5, 4, 6, 6, dtype=torch.float64), torch.arange(5)
    for model in (separate, grouped):
        optimizer = Eva(model, 1e-2)
        for _ in range(4):
            step(model, optimizer, inputs, targets)
    torch.testing.assert_close(
        grouped[0].weight, torch.cat([part.weight for part in separate.parts]), rtol=0, atol=1e-12
    )


@forms
def test_an_addition_in_place_behind_a_hooked_layer_leaves_its_vector_right(form):
    class Residual(nn.Module):
        def __init__(self, *, in_place):
            super().__init__()
            torch.manual_seed(0)
            self.first, self.second, self.in_place = nn.Linear(6, 6), nn.Linear(6, 3), in_place

        def forward(self, x):
            y = self.first(x)
            if self.in_place:
                y += x
                y.mul_(2)
            else:
                y = (y + x) * 2
            return self.second(torch.tanh(y))

    models = [Residual(in_place=flag).double() for flag in (True, False)]
    for model in models:
        optimizer = form(model, 1e-2)
        for index in range(3):
            step(model, optimizer, *data(index))
        optimizer.close()
    assert torch.equal(values(models[0]), values(models[1]))


def test_shared_weights_are_refused_with_the_names_and_the_way_out():
    model = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6), nn.Linear(6, 3)).double()
    model[2].weight = model[0].weight
    with pytest.raises(ValueError, match=r"modules '0' and '2' share a parameter.*exclude=\['0', '2'\]"):
        Eva(model, 1e-2)
    optimizer = Eva(model, 1e-2, exclude=["0", model[2]])
    assert set(optimizer.layers) == {"3"}
    step(model, optimizer, *data())
    with pytest.raises(ValueError, match="exclude='7': the model has no such module"):
        Eva(model, 1e-2, exclude=["7"])


def test_an_embedding_tied_to_a_layer_is_refused_too():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.head = nn.Embedding(5, 6), nn.Linear(6, 5, bias=False)
            self.head.weight = self.embedding.weight

    with pytest.raises(ValueError, match="'embedding' and 'head' share"):
        Eva(Tied(), 1e-2)


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
    groups = [{"params": list(twin[0].parameters()), "lr": 1e-2}, {"params": list(twin[2].parameters()), "lr": 2e-2}]
    before = values(twin)
    step(twin, Eva(twin, 1.0, param_groups=groups), *data())
    assert torch.isfinite(values(twin)).all()
    assert not torch.equal(values(twin), before)


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
            assert value.dtype == (torch.uint8 if key.endswith("_codes") else torch.float32), key
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


@forms
def test_multi_head_attention_trains_with_plain_sgd(form):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.attention, self.head = nn.MultiheadAttention(6, 2, batch_first=True), nn.Linear(6, 3)

        def forward(self, x):
            return self.head(self.attention(x, x, x, need_weights=False)[0].mean(1))

    model = Model().double()
    optimizer = form(model, 1e-2)
    assert set(optimizer.layers) == {"head"}
    before = model.attention.in_proj_weight.detach().clone()
    step(model, optimizer, torch.randn(4, 5, 6, dtype=torch.float64), data()[1])
    assert not torch.equal(model.attention.in_proj_weight, before)
    optimizer.close()


@forms
def test_passes_without_gradients_or_without_backward_leave_no_trace(form):
    model, twin = net(), net()
    watched, plain = form(model, 1e-2), form(twin, 1e-2)
    for index in range(3):
        with torch.no_grad():
            model(data(99)[0])
        model(data(98)[0])
        step(model, watched, *data(index))
        step(twin, plain, *data(index))
    assert torch.equal(values(model), values(twin))
    watched.close()
    plain.close()


def test_checkpointing_gives_the_same_step():
    model, twin = net(), net()
    optimizers = Eva(model, 1e-2), Eva(twin, 1e-2)
    inputs, targets = data()
    F.cross_entropy(checkpoint(model, inputs, use_reentrant=False), targets).backward()
    optimizers[0].step()
    step(twin, optimizers[1], inputs, targets)
    torch.testing.assert_close(values(model), values(twin), rtol=0, atol=1e-14)


def test_copies_and_pickles_of_a_hooked_model_feed_nothing_to_its_optimizer():
    model = net()
    optimizer = Eva(model, 1e-2)
    twin = copy.deepcopy(model)
    file = io.BytesIO()
    torch.save(model, file)
    F.cross_entropy(twin(data()[0]), data()[1]).backward()
    assert optimizer.capture.pairs == {}


def test_hooks_hold_neither_optimizer_nor_activations():
    model = net()
    optimizer = Eva(model, 1e-2)
    inputs, targets = data()
    kept = weakref.ref(inputs)
    step(model, optimizer, inputs, targets)
    del inputs
    gone = weakref.ref(optimizer)
    del optimizer
    gc.collect()
    assert kept() is None
    assert gone() is None
    step(model, torch.optim.SGD(model.parameters(), 0.1), *data())


def test_closing_removes_the_hooks():
    model = net()
    optimizer = Eva(model, 1e-2)
    optimizer.close()
    assert all(not module._forward_hooks for module in model.modules())


def test_layers_without_statistics_or_gradients_are_passed_over():
    model = net()
    optimizer = Eva(model, 1e-2)
    before = values(model)
    optimizer.step()
    assert torch.equal(values(model), before)
    step(model, optimizer, *data())
    model.zero_grad(set_to_none=False)
    optimizer.step()
    model[0].weight.grad = None
    optimizer.step()
    assert torch.isfinite(values(model)).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@forms
def test_half_precision_parameters_keep_vectors_in_fp32(form, dtype):
    model = net(dtype)
    optimizer = form(model, 1e-3)
    for index in range(2):
        assert torch.isfinite(step(model, optimizer, *data(index, dtype=dtype)))
    state = optimizer.state_dict()["state"][0]
    assert state["a" if form is Eva else "a_scales"].dtype == torch.float32
    assert state["momentum_buffer"].dtype == dtype
    optimizer.close()


def test_autocast_does_not_reach_the_vectors():
    model = net(torch.float32)
    optimizer = Eva(model, 1e-2)
    inputs, targets = data(dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = F.cross_entropy(model(inputs), targets)
    loss.backward()
    optimizer.step()
    assert optimizer.state[model[2].weight]["g"].dtype == torch.float32


def test_channels_last_pictures_give_the_same_step():
    results = []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        torch.manual_seed(0)
        model = (
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(64, 3)).double().to(memory_format=memory_format)
        )
        inputs = torch.randn(2, 3, 6, 6, dtype=torch.float64).to(memory_format=memory_format)
        optimizer = Eva(model, 1e-2)
        for _ in range(3):
            step(model, optimizer, inputs, torch.tensor([0, 1]))
        results.append(torch.cat([p.detach().contiguous().flatten() for p in model.parameters()]))
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=1e-12)


def test_an_input_without_a_batch_is_its_own_mean():
    model, twin = net(), net()
    inputs, targets = data(count=1)
    optimizers = Eva(model, 1e-2), ReferenceEva(twin, 1e-2)
    F.cross_entropy(model(inputs[0]), targets[0]).backward()
    optimizers[0].step()
    step(twin, optimizers[1], inputs, targets)
    torch.testing.assert_close(values(model), values(twin), rtol=0, atol=1e-12)

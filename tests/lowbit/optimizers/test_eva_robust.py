"""Models on which public code fails; every form of Eva must get through each of them."""

from __future__ import annotations

import copy
import gc
import io
import pickle
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from lowbit.optimizers.eva import Eva
from lowbit.optimizers.eva_8bit import Eva8bit
from lowbit.optimizers.eva_f import EvaF
from lowbit.optimizers.sgd_8bit import SGD8bit
from tests.lowbit.optimizers.training import data, forms, net, step, values


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
    assert set(optimizer.capture.sums) == set()
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
    assert optimizer.capture.sums == {}


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


def test_excluding_a_module_excludes_what_it_contains():
    model = nn.Sequential(net(), nn.Linear(3, 3).double())
    assert set(Eva(model, 1e-2, exclude=["0"]).layers) == {"1"}


@pytest.mark.parametrize("make", [Eva, EvaF, lambda model, lr: SGD8bit(model.parameters(), lr)])
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_copy_would_be_half_an_optimizer_and_is_refused(make, copied):
    optimizer = make(nn.Linear(3, 2), lr=0.1)
    with pytest.raises(TypeError, match=r"cannot be copied or pickled: copy the model, make a new optimizer"):
        copied(optimizer)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors:UserWarning")
@pytest.mark.parametrize("make", [Eva, Eva8bit, EvaF])
def test_layers_without_elements_are_passed_by(make):
    model = nn.Sequential(nn.Linear(4, 0), nn.Linear(0, 3))
    optimizer = make(model, lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.randn(2, 4)).sum().backward()
        optimizer.step()
    assert torch.isfinite(model[1].bias).all()

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lowbit.models.autoencoder import Autoencoder
from lowbit.models.vit import ViT
from lowbit.optimizers import momentum_8bit
from lowbit.optimizers.sgd_8bit import SGD8bit

SETTINGS = {"lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4}


def net(dtype=torch.float64, width=64):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(width, 100), nn.Tanh(), nn.Linear(100, 3)).to(dtype)


def pair(make, **settings):
    """A module under SGD8bit and its twin under torch's SGD."""
    module = make()
    twin = copy.deepcopy(module)
    chosen = SETTINGS | settings
    return (module, SGD8bit(module.parameters(), **chosen)), (twin, torch.optim.SGD(twin.parameters(), **chosen))


def train(module, optimizer, steps, width=64):
    generator = torch.Generator().manual_seed(1)
    dtype = next(module.parameters()).dtype
    for _ in range(steps):
        inputs = torch.randn(8, width, generator=generator, dtype=torch.float64).to(dtype)
        optimizer.zero_grad()
        F.cross_entropy(module(inputs), torch.randint(3, (8,), generator=generator)).backward()
        optimizer.step()


def values(module):
    return torch.cat([parameter.detach().flatten().double() for parameter in module.parameters()])


def test_without_codes_it_is_torchs_sgd_in_fp64(monkeypatch):
    monkeypatch.setattr(momentum_8bit, "SMALLEST", 1 << 60)
    (module, low), (twin, plain) = pair(net)
    train(module, low, 30)
    train(twin, plain, 30)
    assert (values(module) - values(twin)).abs().max() <= 1e-14


def test_where_codes_are_exact_it_is_torchs_sgd_bit_for_bit():
    """Gradients of one value, and zeros, give a momentum that the top of the map and its zero hold exactly."""
    torch.manual_seed(0)
    start = torch.randn(100, 64, dtype=torch.float64)
    grad = (torch.rand(start.shape) < 0.5).to(torch.float64) * 0.25
    found = []
    for make in (SGD8bit, torch.optim.SGD):
        parameter = nn.Parameter(start.clone())
        optimizer = make([parameter], 0.1, momentum=0.5)
        for _ in range(10):
            parameter.grad = grad.clone()
            optimizer.step()
        found.append(parameter.detach())
        if make is SGD8bit:
            assert set(optimizer.state[parameter]) == {"momentum_codes", "momentum_scales"}
    assert torch.equal(*found)


def test_what_is_stored_is_within_half_a_step_of_the_map():
    """Of a block's largest magnitude the map's values are at most 2/127 apart."""
    (module, low), (twin, plain) = pair(lambda: net(torch.float32))
    train(module, low, 1)
    train(twin, plain, 1)
    weight, exact = module[0].weight, plain.state[twin[0].weight]["momentum_buffer"]
    work = momentum_8bit.load([low.state[weight]], [weight])
    scales = low.state[weight]["momentum_scales"].repeat_interleave(64)
    error = (work.buffers[0] - exact).abs().flatten()
    assert error.max() > 0
    assert (error <= 1 / 127 * scales).all()


def test_momentum_in_8_bits_follows_momentum_in_fp32():
    (module, low), (twin, plain) = pair(lambda: net(torch.float32))
    start = values(module)
    train(module, low, 20)
    train(twin, plain, 20)
    exact = values(twin) - start
    assert 0 < (values(module) - start - exact).norm() <= 2e-2 * exact.norm()


@pytest.mark.parametrize("model", [Autoencoder, ViT])
def test_state_is_at_most_27_percent_of_that_in_fp32(model):
    module = model()
    optimizer = SGD8bit(module.parameters(), 1e-3)
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    parts = optimizer.state_bytes()
    assert parts["statistics"] == 0
    assert sum(parts.values()) <= 0.27 * 4 * sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_state_that_is_saved_and_loaded_goes_on_bit_for_bit(dtype):
    module = net(dtype)
    optimizer = SGD8bit(module.parameters(), **SETTINGS)
    train(module, optimizer, 3)
    saved = copy.deepcopy(optimizer.state_dict())
    twin = copy.deepcopy(module)
    other = SGD8bit(twin.parameters(), lr=1.0)
    other.load_state_dict(saved)
    assert other.state[twin[0].weight]["momentum_codes"].dtype == torch.int8
    train(module, optimizer, 3)
    train(twin, other, 3)
    assert torch.equal(values(module), values(twin))


def test_a_state_of_another_class_is_refused():
    (_, low), (twin, _) = pair(net)
    adam = torch.optim.Adam(twin.parameters())
    train(twin, adam, 1)
    with pytest.raises(ValueError, match="is not that of SGD8bit"):
        low.load_state_dict(adam.state_dict())


@pytest.mark.parametrize("portion", [1, 7000])
def test_taken_in_portions_the_parameters_are_the_same_bit_for_bit(monkeypatch, portion):
    found = []
    for size in (1 << 30, portion):
        monkeypatch.setattr(momentum_8bit, "PORTION", size)
        module = net(torch.float32)
        train(module, SGD8bit(module.parameters(), **SETTINGS), 3)
        found.append(values(module))
    assert torch.equal(*found)


def test_a_parameter_that_gets_its_first_gradient_later_begins_with_no_momentum():
    parameters = [nn.Parameter(torch.zeros(5000)) for _ in range(2)]
    optimizer = SGD8bit(parameters, 1.0, momentum=0.5)
    for given in ((0,), (0, 1)):
        for place in range(2):
            parameters[place].grad = torch.ones(5000) if place in given else None
        optimizer.step()
    assert torch.equal(parameters[0], torch.full((5000,), -2.5))
    assert torch.equal(parameters[1], torch.full((5000,), -1.0))


def test_a_weight_that_lies_in_another_order_is_updated_as_it_should_be():
    torch.manual_seed(0)
    start, grad = torch.randn(64, 32, 3, 3), torch.randn(64, 32, 3, 3)
    found = []
    for layout in (torch.contiguous_format, torch.channels_last):
        parameter = nn.Parameter(start.clone().to(memory_format=layout))
        optimizer = SGD8bit([parameter], 0.1)
        for _ in range(2):
            parameter.grad = grad.clone().to(memory_format=layout)
            optimizer.step()
        found.append(parameter.detach().contiguous())
    assert (found[0] - found[1]).abs().max() <= 1e-6


def test_a_rate_set_in_the_group_is_the_one_of_the_next_step():
    parameter = nn.Parameter(torch.zeros(5000))
    optimizer = SGD8bit([parameter], 1.0)
    optimizer.param_groups[0]["lr"] = 0.0
    parameter.grad = torch.ones(5000)
    optimizer.step()
    assert not parameter.any()


@pytest.mark.parametrize(("name", "value"), [("lr", -1.0), ("momentum", 0.0), ("momentum", 1.0), ("weight_decay", -1)])
def test_an_argument_outside_its_range_is_named(name, value):
    with pytest.raises(ValueError, match=f"{name}={value!r}: must be"):
        SGD8bit(net().parameters(), **{"lr": 0.1, name: value})


def test_a_sparse_gradient_is_refused():
    table = nn.Embedding(1000, 8, sparse=True)
    optimizer = SGD8bit(table.parameters(), 0.1)
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(RuntimeError, match="no sparse gradients"):
        optimizer.step()

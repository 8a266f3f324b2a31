from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from lowbit.models.vit import ViT
from lowbit.optimizers import eva_f_update
from lowbit.optimizers.eva_f import EvaF
from tests.lowbit.optimizers.reference_eva_f import ReferenceEvaF
from tests.lowbit.optimizers.training import data, net, step, values


@pytest.mark.parametrize("count", [1, 3, 20])
@pytest.mark.parametrize("every", [1, 3])
def test_thirty_steps_in_fp64_are_those_of_the_published_algorithm(small_net, batch, count, every):
    """Stride, padding, with and without bias; at batch 20 the statistics are of the first 16 samples."""
    module = small_net()
    inputs, _ = batch(count)
    module(inputs)
    twin = copy.deepcopy(module)
    fast = EvaF(module, 1e-2, stat_every=every)
    plain = ReferenceEvaF(twin, 1e-2, stat_every=every)
    start = values(module)
    for index in range(30):
        inputs, targets = batch(count, seed=index)
        for model, optimizer in ((module, fast), (twin, plain)):
            step(model, optimizer, inputs, targets)
    assert (values(twin) - start).norm() > 0.1
    assert (values(module) - values(twin)).abs().max() <= 1e-10


def test_a_transformer_gets_the_published_step():
    torch.manual_seed(0)
    module = ViT().double().eval()
    twin = copy.deepcopy(module)
    inputs, targets = torch.randn(2, 3, 32, 32, dtype=torch.float64), torch.tensor([3, 7])
    for model, optimizer in ((module, EvaF(module, 1e-2)), (twin, ReferenceEvaF(twin, 1e-2))):
        step(model, optimizer, inputs, targets)
    assert (values(module) - values(twin)).abs().max() <= 1e-10


def test_directions_are_divided_by_the_root_of_their_product_with_the_gradient():
    """With V' = nu V and nu = <V, G>^-1/2, nu <V', G> = 1; with a bias, without one, and in two groups."""
    torch.manual_seed(0)
    grads = [torch.randn(4, 6, dtype=torch.float64), torch.randn(6, 2, 3, 3, dtype=torch.float64)]
    biases = [torch.randn(4, dtype=torch.float64), None]
    a = [torch.randn(6, dtype=torch.float64), torch.randn(36, dtype=torch.float64)]
    scale, columns = eva_f_update.precondition(grads, biases, a, groups=[1, 2], damping=0.03)
    first = scale * (grads[0] + torch.outer(columns[0], a[0]))
    bias = scale * (biases[0] + columns[0])
    halves = [torch.outer(columns[1][3 * n : 3 * n + 3], a[1][18 * n : 18 * n + 18]) for n in (0, 1)]
    second = scale * (grads[1] + torch.cat(halves).view(6, 2, 3, 3))
    product = (first * grads[0]).sum() + (bias * biases[0]).sum() + (second * grads[1]).sum()
    assert (scale * product).item() == pytest.approx(1.0, rel=1e-12)


def test_in_fp32_a_gradient_of_rank_one_along_large_inputs_keeps_a_normalizer_above_zero():
    """At batch 1 |G a| is |G| |a| exactly: of the difference only damping is left, and less than rounding takes."""
    a = torch.full((3072,), 30.0)
    grad = torch.outer(torch.linspace(-1, 1, 50), a)
    scale, (column,) = eva_f_update.precondition([grad], [None], [a], groups=[1], damping=0.03)
    exact = (grad.double().square().sum() * 0.03 / (a.double() @ a.double() + 0.03)).rsqrt()
    assert torch.isfinite(column).all()
    assert 0 < scale.item() <= 1.01 * exact.item()


def test_gradients_of_zero_leave_parameters_finite():
    module = net()
    optimizer = EvaF(module, 0.1, weight_decay=0.0)
    before = values(module)
    (module(data()[0]) * 0).sum().backward()
    optimizer.step()
    assert torch.equal(values(module), before)


def test_no_hook_runs_in_backward_and_evaluation_leaves_no_trace():
    module = net()
    optimizer = EvaF(module, 0.1)
    with torch.no_grad():
        module(data()[0])
    assert optimizer.capture.take() == {}
    output = module(data()[0])
    assert all(not child._backward_hooks for child in module.modules())
    assert output._backward_hooks is None
    assert set(optimizer.capture.take()) == {"0", "2"}


def test_gradients_dropped_between_forward_and_backward_change_nothing():
    """`loss = model(x); optimizer.zero_grad(); loss.backward()` is as common as the other order."""
    found = []
    for late in (False, True):
        module = net()
        optimizer = EvaF(module, 0.1)
        for index in range(3):
            inputs, targets = data(index)
            if not late:
                optimizer.zero_grad()
            loss = nn.functional.cross_entropy(module(inputs), targets)
            if late:
                optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        found.append(values(module))
    assert torch.equal(*found)


def test_a_layer_that_runs_twice_gives_the_mean_of_its_inputs():
    layer = nn.Linear(3, 3).double()
    optimizer = EvaF(layer, 0.0)
    first, second = torch.randn(2, 4, 3, dtype=torch.float64)
    (layer(first) + layer(second)).sum().backward()
    optimizer.step()
    assert torch.allclose(optimizer.state[layer.weight]["a"], (first.mean(0) + second.mean(0)) / 2)


def test_a_layer_without_statistics_gets_plain_sgd():
    module = net()
    twin = copy.deepcopy(module)
    low = EvaF(module, 0.1, exclude=["0", "2"])
    plain = torch.optim.SGD(twin.parameters(), 0.1, 0.9, weight_decay=5e-4)
    for index in range(3):
        step(module, low, *data(index))
        step(twin, plain, *data(index))
    assert (values(module) - values(twin)).abs().max() <= 1e-15
    assert low.state_bytes()["statistics"] == 0


def test_a_state_that_is_saved_and_loaded_goes_on_bit_for_bit():
    module = net()
    optimizer = EvaF(module, 0.1)
    for index in range(3):
        step(module, optimizer, *data(index))
    twin = copy.deepcopy(module)
    other = EvaF(twin, 1.0)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for index in range(3):
        step(module, optimizer, *data(index))
        step(twin, other, *data(index))
    assert torch.equal(values(module), values(twin))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_a_copy_of_the_model_gives_the_optimizer_nothing(duplicate):
    module = net()
    optimizer = EvaF(module, 0.1)
    duplicate(module)(data()[0]).sum().backward()
    assert optimizer.capture.take() == {}


def test_closed_it_leaves_the_model_without_hooks():
    module = net()
    optimizer = EvaF(module, 0.1)
    optimizer.close()
    assert all(not child._forward_hooks for child in module.modules())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_statistics_of_half_precision_are_kept_in_fp32(dtype):
    module = net(dtype)
    optimizer = EvaF(module, 0.1)
    step(module, optimizer, *data(dtype=dtype))
    assert optimizer.state[module[0].weight]["a"].dtype == torch.float32
    assert values(module).isfinite().all()


@pytest.mark.parametrize(("name", "value"), [("lr", -1.0), ("damping", 0.0), ("stat_decay", 0.0), ("stat_every", 0)])
def test_an_argument_outside_its_range_is_named(name, value):
    with pytest.raises(ValueError, match=f"{name}={value!r}: must be"):
        EvaF(net(), **{"lr": 0.1, name: value})

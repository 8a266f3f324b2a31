"""Whether a gradient is still the product of its factors, and when they are kept."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lowbit.optimizers.eva import Eva
from lowbit.optimizers.factors import worth_keeping
from lowbit.optimizers.native import library

pytestmark = pytest.mark.skipif(library.missing() is not None, reason="no C++ compiler")


@pytest.mark.parametrize(("rows", "kept"), [(1, True), (50, True), (100, False), (200, False)])
def test_factors_serve_where_their_products_cost_less_than_the_gradient(rows, kept):
    assert worth_keeping(nn.Linear(1000, 1000), torch.zeros(rows, 1000)) is kept
    assert not worth_keeping(nn.Conv2d(1, 1, 1), torch.zeros(1, 1, 1, 1))


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(60, 50), nn.Tanh(), nn.Linear(50, 3))


def ran(change=None, passes=1, keep=False):
    """Trains one step of a net whose gradients a loop has changed; returns the optimizer as it stood before."""
    model = net()
    optimizer = Eva(model, 0.1)
    if keep:
        F.cross_entropy(model(torch.ones(2, 60)), torch.tensor([0, 1])).backward()
        optimizer.zero_grad(set_to_none=False)
    for _ in range(passes):
        F.cross_entropy(model(torch.ones(2, 60)), torch.tensor([0, 1])).backward()
    if change is not None:
        change(model)
    return optimizer.capture.known()


def replace(model):
    model[0].weight.grad = model[0].weight.grad * 0.5


def test_a_gradient_as_autograd_left_it_is_the_product_of_its_factors():
    factors = ran()
    assert "0" in factors
    model = net()
    F.cross_entropy(model(torch.ones(2, 60)), torch.tensor([0, 1])).backward()
    torch.testing.assert_close(factors["0"].gradients.T @ factors["0"].inputs, model[0].weight.grad)


@pytest.mark.parametrize(
    "changed",
    [
        {"change": lambda model: nn.utils.clip_grad_norm_(model.parameters(), 1e-3)},
        {"change": lambda model: model[0].weight.grad.mul_(2)},
        {"change": replace},
        {"passes": 2},
        {"keep": True},
    ],
    ids=["clipped", "written to", "replaced", "accumulated", "zeroed in place"],
)
def test_a_gradient_that_may_have_changed_is_read_itself(changed):
    assert "0" not in ran(**changed)


@pytest.mark.parametrize("how", [{"compiled": False}, {"dtype": torch.float64}])
def test_what_torchs_operations_precondition_is_read(how):
    model = net().to(how.get("dtype", torch.float32))
    optimizer = Eva(model, 0.1, compiled=how.get("compiled"))
    inputs = torch.ones(2, 60, dtype=how.get("dtype", torch.float32))
    F.cross_entropy(model(inputs), torch.tensor([0, 1])).backward()
    assert optimizer.capture.known() == {}

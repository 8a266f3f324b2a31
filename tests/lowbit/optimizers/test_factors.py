"""What Eva needs of a gradient from its factors, and whether the gradient is still their product."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lowbit.optimizers.eva import Eva
from lowbit.optimizers.factors import Factors, across, few_rows, square, worth_keeping


@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("with_bias", [True, False])
def test_both_numbers_are_those_of_the_product(rows, with_bias):
    torch.manual_seed(0)
    x, d = torch.randn(rows, 7, dtype=torch.float64), torch.randn(rows, 4, dtype=torch.float64)
    a, g = torch.randn(7, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    matrix, vector = d.T @ x, a
    if with_bias:
        matrix, vector = torch.cat([matrix, d.sum(0).unsqueeze(1)], 1), torch.cat([a, a.new_ones(1)])
    factors = Factors(x, d)
    torch.testing.assert_close(square(factors, with_bias=with_bias), (matrix**2).sum().view(1))
    torch.testing.assert_close(across(factors, a, g, with_bias=with_bias), (g @ matrix @ vector).view(1))


@pytest.mark.parametrize(
    ("rows", "kept", "few"), [(1, True, True), (50, True, True), (100, True, False), (200, False, False)]
)
def test_factors_serve_where_their_products_cost_less_than_the_gradient(rows, kept, few):
    assert worth_keeping(nn.Linear(1000, 1000), torch.zeros(rows, 1000)) is kept
    assert few_rows(Factors(torch.zeros(rows, 1000), torch.zeros(rows, 1000))) is few


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
    return optimizer._factors()


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

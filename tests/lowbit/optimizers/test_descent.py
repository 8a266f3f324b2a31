"""One descent by every way there is, against the equation written out."""

from __future__ import annotations

import pytest
import torch

from lowbit.optimizers.descent import descend
from lowbit.optimizers.direction import Direction
from lowbit.optimizers.hyperparameters import Rates

RATES = Rates(lr=0.1, momentum=0.9, weight_decay=0.01)


def problem(shape=(6, 8), dtype=torch.float32, groups=1):
    torch.manual_seed(0)
    p, grad, buffer = (torch.randn(shape, dtype=dtype) for _ in range(3))
    rows, columns = shape[0], grad[0].numel()
    direction = Direction(torch.randn(rows, dtype=dtype), torch.randn(columns * groups, dtype=dtype), groups)
    return p, grad, buffer, torch.tensor(1.7, dtype=dtype), direction


def expected(p, grad, buffer, scale, direction):
    column, a, groups = direction
    height = p.shape[0] // groups
    width = p[0].numel()
    outer = torch.cat([
        torch.outer(column[n * height : (n + 1) * height], a[n * width : (n + 1) * width]) for n in range(groups)
    ])  # fmt: skip
    moved = 0.9 * buffer + scale * (grad + outer.view(p.shape)) + 0.01 * p
    return p - 0.1 * moved, moved


def descended(p, grad, buffer, scale, direction, **options):
    p, grad, buffer = p.clone(), grad.clone(), buffer.clone()
    descend([p], [grad], [buffer], RATES, scale=scale, directions=[direction], **options)
    return p, buffer


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("shape", "groups"), [((6, 8), 1), ((6, 4, 3, 3), 1), ((6, 2, 3, 3), 2)])
def test_buffer_and_parameter_are_those_of_the_equation(shape, groups, dtype):
    given = problem(shape, dtype, groups)
    for found, wanted in zip(descended(*given), expected(*given), strict=True):
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("directed", [True, False])
def test_half_precision_moves_as_far(dtype, directed):
    # More elements than a vector has: torch's fused kernel leaves whole vectors of them as they are.
    p, grad, buffer, scale, direction = problem((6, 40))
    zero = Direction(torch.zeros(6), torch.zeros(40), 1)
    wanted = expected(p, grad, buffer, scale if directed else torch.ones(()), direction if directed else zero)
    half = [x.to(dtype) for x in (p, grad, buffer)]
    descend(
        half[:1], half[1:2], half[2:], RATES, scale=scale if directed else None,
        directions=[direction if directed else None],
    )  # fmt: skip
    for found, value in zip((half[0], half[2]), wanted, strict=True):
        torch.testing.assert_close(found.float(), value, rtol=3e-2, atol=3e-2)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_without_momentum_the_buffer_stays_as_it_is(layout):
    p, grad, buffer, scale, direction = problem((6, 4, 3, 3))
    p, before = p.contiguous(memory_format=layout), buffer.clone()
    descend([p], [grad], [buffer], RATES._replace(momentum=0.0), scale=scale, directions=[direction])
    assert torch.equal(buffer, before)


def test_a_parameter_in_another_layout_goes_the_same_way():
    p, grad, buffer, scale, direction = problem((6, 4, 3, 3))
    wanted = expected(p, grad, buffer, scale, direction)
    laid_out = p.contiguous(memory_format=torch.channels_last)
    descend([laid_out], [grad], [buffer], RATES, scale=scale, directions=[direction])
    torch.testing.assert_close(laid_out.contiguous(), wanted[0])
    torch.testing.assert_close(buffer, wanted[1])


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_nothing_changes_where_gradients_are_not_finite(layout):
    p, grad, buffer, scale, direction = problem((6, 4, 3, 3))
    p = p.contiguous(memory_format=layout)
    before = p.clone(), buffer.clone()
    grad[0] = float("nan")
    descend([p], [grad], [buffer], RATES, scale=scale, directions=[direction], healthy=torch.tensor(False))
    assert torch.equal(p, before[0])
    assert torch.equal(buffer, before[1])


def test_a_rate_may_be_a_tensor():
    given = problem()
    p, grad, buffer, scale, direction = (x.clone() if isinstance(x, torch.Tensor) else x for x in given)
    descend([p], [grad], [buffer], RATES._replace(lr=torch.tensor(0.1)), scale=scale, directions=[direction])
    torch.testing.assert_close(p, expected(*given)[0])

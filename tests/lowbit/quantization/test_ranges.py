from __future__ import annotations

import math

import pytest
import torch

from lowbit.quantization.affine import grid
from lowbit.quantization.kbit_layers import Quantizer
from lowbit.quantization.ranges import Histogram, MinMax, MovingAverage

GRID = grid(8, signed=False)


def observed(observer, *batches):
    for batch in batches:
        observer.observe(torch.tensor(batch))
    return observer


def test_the_first_batch_sets_a_moving_average_and_others_move_it_by_a_hundredth():
    found = observed(MovingAverage(), [-1.0, 3.0], [-2.0, 5.0])
    assert (float(found.low), float(found.high)) == (pytest.approx(-1.01), pytest.approx(3.02))


def test_a_moving_average_may_be_one_for_each_channel():
    found = observed(MovingAverage(0), [[0.0, 1.0], [2.0, 4.0]], [[0.0, 1.0], [2.0, 6.0]])
    assert found.low.tolist() == [0, 2]
    assert found.high.tolist() == [1, pytest.approx(4.02)]


@pytest.mark.parametrize("observer", [MinMax, MovingAverage, Histogram])
@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("rest", [[], [1.0]])
def test_a_batch_that_is_not_finite_is_not_forgotten(observer, wrong, place, rest):
    batches = [[-1.0, 1.0], [0.0, 2.0]]
    batches.insert(place, [wrong, *rest])
    quantizer = Quantizer(GRID, observed(observer(), *batches), symmetric=False)
    with pytest.raises(ValueError, match="the range is not finite: calibration saw NaN, an infinity"):
        quantizer.parameters_of()

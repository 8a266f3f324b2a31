from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lowbit.quantization.fixed_point import (
    effective_weight,
    fix_quant,
    fix_scaling,
    fraction_length_by_formula,
    fraction_length_by_search,
    fraction_lengths_by_search,
    running_fraction_length,
    shift_right,
)


@given(st.floats(-40, 40), st.integers(0, 7), st.booleans())
def test_values_are_rounded_half_to_even_and_clamped(value, length, signed):
    found = float(fix_quant(torch.tensor(value, dtype=torch.float64), length, signed=signed))
    low, high = (-127, 127) if signed else (0, 255)
    expected = max(low, min(high, round(Fraction(value) * 2**length)))
    assert found == expected / 2**length


def test_the_gradient_passes_strictly_inside_the_bounds_of_the_rounded_integer():
    signed = torch.tensor([127.4, 126.4, -127.0, -126.6, 0.0], requires_grad=True)
    fix_quant(signed, 0, signed=True).sum().backward()
    assert signed.grad.tolist() == [0, 1, 0, 0, 1]
    unsigned = torch.tensor([0.3, 0.6, 254.4, 254.6, -3.0], requires_grad=True)
    fix_quant(unsigned, 0, signed=False).sum().backward()
    assert unsigned.grad.tolist() == [0, 1, 1, 0, 0]


def test_a_fraction_length_may_stand_for_each_channel():
    values = torch.full((2, 3), 0.3)
    found = fix_quant(values, torch.tensor([[1], [4]]), signed=True)
    assert found[:, 0].tolist() == [0.5, 0.3125]


def sweep(signed):
    """How often formula and search agree for normal values of 60 spreads, and the worst error beside the best."""
    agree, worst = 0, 1.0
    # The quantiles of the normal distribution: a sample without the noise of drawing one.
    normal = torch.special.ndtri((torch.arange(40_000, dtype=torch.float64) + 0.5) / 40_000)
    for index in range(60):
        sigma = 10 ** (-2.2 + 3.9 * index / 59)
        before = normal * sigma
        values = before if signed else before.relu()
        formula = int(fraction_length_by_formula(before.std(), signed=signed))
        best = fraction_length_by_search(values, signed=signed)
        error = [float((values - fix_quant(values, n, signed=signed)).square().mean().sqrt()) for n in (formula, best)]
        agree += formula == best
        worst = max(worst, error[0] / error[1])
    return agree, worst


def test_the_formula_finds_what_the_search_finds():
    assert sweep(signed=True)[0] == 60
    agree, worst = sweep(signed=False)
    assert agree >= 55
    assert worst < 2.5


def test_the_search_finds_for_each_row_what_it_finds_for_it_alone():
    values = torch.randn(20, 3, 7) * torch.logspace(-2, 1.5, 20)[:, None, None]
    lengths = fraction_lengths_by_search(values, signed=True)
    assert lengths.tolist() == [fraction_length_by_search(row, signed=True) for row in values]
    assert len(lengths.unique()) > 5


def test_a_spread_of_nothing_and_one_that_is_not_finite():
    assert int(fraction_length_by_formula(torch.tensor(0.0), signed=True)) == 7
    assert int(fraction_length_by_formula(torch.tensor(1e9), signed=False)) == 0
    with pytest.raises(ValueError, match="hold NaN or an infinity"):
        fraction_length_by_formula(torch.tensor(float("nan")), signed=True)


def test_the_running_average_moves_by_a_tenth():
    assert float(running_fraction_length(torch.tensor(5.0), torch.tensor(7.0))) == pytest.approx(5.2)


def test_folding_and_scaling_follow_their_formulas():
    weight = torch.randn(4, 3, 3, 3, dtype=torch.float64)
    gamma, deviation = torch.rand(4, dtype=torch.float64), torch.rand(4, dtype=torch.float64) + 0.5
    found = effective_weight(weight, gamma, deviation, 3.0, 2.0)
    for channel in range(4):
        assert torch.allclose(found[channel], gamma[channel] / deviation[channel] * weight[channel] * 1.5)
    assert float(fix_scaling(torch.tensor(-8.0), 3, signed=False)) == pytest.approx(8 * 8 / 255)
    assert float(fix_scaling(torch.tensor(8.0), 3, signed=True)) == pytest.approx(8 * 8 / 127)


@given(st.integers(-(2**40), 2**40), st.integers(-8, 20))
def test_shifting_is_rounding_half_to_even(value, places):
    found = int(shift_right(torch.tensor(value), places))
    assert found == round(Fraction(value) / Fraction(2) ** places)


def test_shifting_ten_thousand_integers_is_exact():
    values = torch.randint(-(2**31), 2**31, (10_000,))
    places = torch.randint(0, 16, (10_000,))
    expected = [round(Fraction(int(v), 2 ** int(p))) for v, p in zip(values, places, strict=True)]
    assert shift_right(values, places).tolist() == expected


@pytest.mark.parametrize(("dtype", "bits"), [(torch.int32, 32), (torch.int64, 64)])
def test_shifting_by_as_many_places_as_there_are_bits_and_more_is_exact(dtype, bits):
    ends = torch.iinfo(dtype)
    half = 2 ** (bits - 2)
    values = [ends.min, ends.min + 1, -3 * half // 2, -half - 1, -half, -half + 1, -1, 0]
    values += [1, half - 1, half, half + 1, 3 * half // 2, ends.max]
    for places in range(bits - 4, bits + 8):
        expected = [round(Fraction(value, 2**places)) for value in values]
        assert shift_right(torch.tensor(values, dtype=dtype), places).tolist() == expected


@given(st.integers(-(2**31), 2**31 - 1), st.integers(0, 40))
def test_shifting_32_bits_is_rounding_half_to_even(value, places):
    found = shift_right(torch.tensor(value, dtype=torch.int32), places)
    assert int(found) == round(Fraction(value, 2**places))


@pytest.mark.parametrize("word_length", [1, 33])
def test_other_word_lengths_are_refused(word_length):
    with pytest.raises(ValueError, match="must be from 2 to 32"):
        fix_quant(torch.ones(1), 1, word_length, signed=True)

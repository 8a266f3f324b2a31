from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from lowbit.quantization.f8net_stream import Average, Entry, Flatten, Stream
from lowbit.quantization.flow import QuantizationError
from lowbit.quantization.stage import Stage, enter


def test_scalings_are_those_of_pact_with_a_clip_and_one_without():
    stream = Stream(1, signed=False, clips=True)
    assert float(stream.scaling().detach()) == pytest.approx(2**6 * 8 / 255)
    assert float(Stream(1, signed=True, clips=True, alpha=-4.0).scaling().detach()) == pytest.approx(2**6 * 4 / 127)
    free = Stream(1, signed=False, clips=False)
    assert (float(free.scaling()), list(free.parameters())) == (1, [])


def test_fraction_lengths_are_rounded_and_stay_inside_the_word():
    stream = Stream(3, signed=True, clips=True)
    stream.running.copy_(torch.tensor([4.5, 9.3, -2.0]))
    assert [int(stream.length(reader)) for reader in range(3)] == [4, 7, 0]


def test_readers_share_the_clip_and_differ_by_a_shift():
    stream = Stream(2, signed=False, clips=True)
    stream.running.copy_(torch.tensor([6.0, 3.0]))
    values = torch.rand(1000, dtype=torch.float64) * 10
    integers = []
    for reader in range(2):
        own = values * torch.exp2(stream.places(reader))
        assert torch.equal(own * stream.scaling(reader), values * stream.scaling())
        integers.append((own * 2.0 ** int(stream.length(reader))).round())
    assert torch.equal(*integers)


def test_calibration_takes_the_mean_and_training_moves_it_by_a_tenth():
    stream = Stream(2, signed=False, clips=True)
    for length in (3, 4, 5):
        stream.observe(1, length)
    assert stream.running.tolist() == [6, 4]
    enter(stream, Stage.QAT)
    stream.observe(1, torch.tensor(6))
    assert stream.running.tolist() == [6, pytest.approx(4.2)]


def test_an_input_is_rounded_in_validation_and_only_scaled_before():
    entry = Entry(Stream(1, signed=True, clips=True), 3)
    values = torch.randn(4, 3, 5, 5) * 4
    assert entry(values) is values
    enter(entry, Stage.QAT)
    assert torch.equal(entry(values), values / entry.stream.scaling())
    enter(entry, Stage.VALIDATION)
    codes = entry(values) * 2.0**6
    assert torch.equal(codes, (values.double() * 127 / 8).round().clamp(-127, 127))


@pytest.mark.parametrize(("size", "places"), [(8, 6), (7, 6), (6, 5), (3, 3), (1, 0)])
def test_averages_are_sums_and_shifts_and_a_factor_that_is_left(size, places):
    average = Average((size, size), (size, size), whole=True)
    values = torch.rand(2, 3, size, size, dtype=torch.float64)
    exact = functional.adaptive_avg_pool2d(values, 1)
    assert torch.allclose(average(values), exact)
    enter(average, Stage.QAT)
    assert average.places == places
    assert torch.allclose(average(values), values.sum((2, 3), keepdim=True) / 2**places)
    assert torch.allclose(average(values), exact * average.factor)


def test_another_size_than_that_of_preparation_is_refused():
    average = Average((4, 4), (4, 4), whole=True)
    with pytest.raises(QuantizationError, match=r"pictures of \(5, 5\) are pooled, and were of \(4, 4\)"):
        average(torch.zeros(1, 2, 5, 5))


def test_flattening_knows_how_many_positions_a_channel_has():
    flatten = Flatten((2, 3, 4, 5))
    assert flatten.positions == 20
    assert flatten(torch.zeros(2, 3, 4, 5)).shape == (2, 60)
    assert Flatten((2, 3)).positions == 1

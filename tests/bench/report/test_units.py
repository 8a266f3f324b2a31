from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.report import units

FACTORS = {"n": 1e-9, "µ": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}


def parse(text, unit):
    number, prefix = re.fullmatch(rf"([0-9.]+) ([nµmkMGTP]?){unit}", text).groups()
    return float(number) * FACTORS[prefix]


def digits(text):
    return len(re.match(r"[0-9.]+", text).group().replace(".", "").lstrip("0"))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0 s"),
        (0.00284, "2.84 ms"),
        (0.0119066, "11.9 ms"),
        (4.2e-8, "42.0 ns"),
        (1.0, "1.00 s"),
        (61.0, "61.0 s"),
        # The prefix is that of the rounded number.
        (0.0009994, "999 µs"),
        (0.0009996, "1.00 ms"),
        (0.009996, "10.0 ms"),
        (0.9999, "1.00 s"),
    ],
)
def test_times_have_three_digits_and_a_prefix(value, text):
    assert units.seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"), (1, "1 B"), (999, "999 B"), (1000, "1.00 kB"), (9_216, "9.22 kB"), (29_662_408, "29.7 MB"),
        (16_777_216_000, "16.8 GB"), (999_600, "1.00 MB"),
    ],
)  # fmt: skip
def test_there_is_no_fraction_of_a_byte(value, text):
    assert units.size(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (7, "7"), (1034, "1,034"), (99_999, "99,999"), (123_456, "123 k")]
)
def test_counts_are_exact_as_long_as_they_are_short(value, text):
    assert units.count(value) == text


@pytest.mark.parametrize(
    ("low", "center", "high", "text"),
    [
        (0.988, 1.0, 1.012, "±1.2%"), (0.99, 1.0, 1.03, "±2.0%"), (0.5, 1.0, 1.5, "±50%"), (1.0, 1.0, 1.0, "±0.0%"),
        (0.1, 1.0, 1e9, "±>999%"), (None, 1.0, None, "±?"),
    ],
)  # fmt: skip
def test_a_spread_is_half_the_width_of_the_interval(low, center, high, text):
    assert units.spread(low, center, high) == text


@pytest.mark.parametrize(
    ("value", "text"), [(1.0, "1.000"), (1.4077, "1.408"), (9.9996, "10.00"), (31.416, "31.42"), (0.01234, "0.01234")]
)
def test_ratios_show_tenths_of_a_percent(value, text):
    assert units.times(value) == text


@given(st.floats(1e-9, 1e5))
def test_a_time_reads_back_within_half_of_its_last_digit(value):
    text = units.seconds(value)
    assert parse(text, "s") == pytest.approx(value, rel=0.0051)
    assert digits(text) == 3


@given(st.integers(1, 10**17))
def test_a_size_reads_back_within_half_of_its_last_digit(value):
    read = parse(units.size(value), "B")
    assert read == value if value < 1000 else read == pytest.approx(value, rel=0.0051)


@given(st.floats(1e-9, 1e5), st.floats(1e-9, 1e5))
def test_a_longer_time_never_reads_as_a_shorter_one(one, other):
    less, more = sorted((one, other))
    assert parse(units.seconds(less), "s") <= parse(units.seconds(more), "s") * (1 + 1e-12)


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_every_number_has_a_text(value):
    for form in (units.seconds, units.size, units.significant):
        assert 0 < len(form(value)) < 24

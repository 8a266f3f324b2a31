"""Means over seeds."""

from __future__ import annotations

from collections.abc import Sequence

from bench.analyze.row import Mean
from bench.analyze.sample import Value, interval


def mean(values: Sequence[float]) -> Mean:
    """Returns the mean of one value a seed, with its interval."""
    # A seed has a process of its own, and is what is repeated.
    center, half = interval(Value(seed, seed, value) for seed, value in enumerate(values))
    return Mean(
        center=center, low=None if half is None else center - half, high=None if half is None else center + half
    )

"""Trend: whether values in the order they were taken rise or fall."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def kendall_p(values: Sequence[float]) -> float:
    """Returns the two-sided p value of Kendall's test that values in order have no trend, exactly.

    The number of inversions of a random order has the Mahonian distribution, built up element by element. A tie
    counts as half an inversion, rounded towards no trend.
    """
    count = len(values)
    pairs = count * (count - 1) // 2
    later = [(values[i], values[j]) for i in range(count) for j in range(i + 1, count)]
    inversions = sum(1.0 if first > second else 0.5 * (first == second) for first, second in later)
    ways = np.ones(1)
    for size in range(2, count + 1):
        ways = np.convolve(ways, np.ones(size)) / size
    extreme = math.ceil(min(inversions, pairs - inversions))
    return min(1.0, 2 * float(ways[: extreme + 1].sum()))

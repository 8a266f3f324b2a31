"""Many rows in one report: which hypotheses are rejected, so that all rows together err with probability alpha."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import TypeVar

Row = TypeVar("Row", bound=Hashable)


def holm(log_capitals: Mapping[Row, float], weights: Mapping[Row, float], alpha: float) -> set[Row]:
    """Returns the rejected rows by Holm's procedure with weights (Holm 1979, section 4).

    Each row gives the logarithm of its capital; the inverse of a capital is a p value at any stopping time (Vovk and
    Wang, E-values, Ann. Statist. 49, 2021, section 2). A row's weight is its share of alpha; rows that are rejected
    leave theirs to the rest.
    """
    rejected: set[Row] = set()
    left = sum(weights[row] for row in log_capitals)
    for row in sorted(log_capitals, key=lambda row: -log_capitals[row] - math.log(weights[row])):
        if log_capitals[row] < math.log(left / weights[row]) - math.log(alpha):
            break
        rejected.add(row)
        left -= weights[row]
    return rejected

"""What counts of right answers say of accuracy: of one run, of several seeds, and of two models beside each other."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import binom, norm, t

LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A figure and the ends of its 95 % interval; without ends where there is too little to tell."""

    center: float
    low: float | None
    high: float | None


def wilson(hits: int, count: int) -> Interval:
    """Returns a share and its score interval (Wilson, J. Am. Stat. Assoc. 22, 1927).

    (p + z^2/2n -+ z sqrt(p (1 - p) / n + z^2/4n^2)) / (1 + z^2/n): inside 0 and 1 also for all or none.
    """
    if not 0 <= hits <= count or count == 0:
        raise ValueError(f"{hits} of {count}: must be a share of one at least")
    z = float(norm.ppf(0.5 + LEVEL / 2))
    share, spread = hits / count, z * z / count
    middle = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / count + spread / (4 * count)) / (1 + spread)
    # At all or none the end is the share itself, but for the last digit.
    return Interval(center=share, low=min(share, max(0.0, middle - half)), high=max(share, min(1.0, middle + half)))


def mean(values: Sequence[float]) -> Interval:
    """Returns the mean and Student's t interval of values of independent seeds; of one value no interval."""
    center = statistics.fmean(values)
    if len(values) < 2:
        return Interval(center=center, low=None, high=None)
    quantile = float(t.ppf(0.5 + LEVEL / 2, len(values) - 1))
    half = quantile * statistics.stdev(values) / math.sqrt(len(values))
    return Interval(center=center, low=center - half, high=center + half)


def mean_difference(values: Sequence[float], others: Sequence[float]) -> Interval:
    """Returns the mean of differences `values - others`, paired by seed, with Student's t interval."""
    return mean([value - other for value, other in zip(values, others, strict=True)])


def mcnemar(gained: int, lost: int) -> float:
    """Returns the exact two-sided p value of McNemar's test (Psychometrika 12, 1947).

    `gained` examples only the one model got right, `lost` only the other: under no difference each is a toss of a coin.
    """
    discordant = gained + lost
    return min(1.0, 2 * float(binom.cdf(min(gained, lost), discordant, 0.5))) if discordant else 1.0

"""Two speeds: whether steps fall into two clusters, so that their median shows one of them only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

# The best split explains 0.64 of the variance of a normal distribution and 0.75 of that of a uniform one; two separate
# speeds leave little unexplained.
EXPLAINS = 0.88
LEAST_RATIO = 1.3
LEAST_SHARE = 0.15
LEAST_SAMPLES = 20


@dataclass(frozen=True, kw_only=True)
class Split:
    """Two clusters: `share` of the values, those from `cut` on, lie around `slow` and the rest around `fast`."""

    cut: float
    share: float
    fast: float
    slow: float

    @property
    def ratio(self) -> float:
        """How many times as slow the slow ones are."""
        return math.exp(self.slow - self.fast)


def two_speeds(workers: Sequence[Array]) -> Split | None:
    """Returns the two clusters that the log samples of all workers fall into, or None.

    At least one worker must have seen both: five processes, each with a bias of its own, often look like two clusters
    when their samples are put together, and what differs between workers is in the interval already.
    """
    split = best_split(np.concatenate(workers)) if workers else None
    if split is None:
        return None
    shares = [float(np.mean(worker >= split.cut)) for worker in workers]
    return split if any(LEAST_SHARE <= share <= 1 - LEAST_SHARE for share in shares) else None


def best_split(values: Array) -> Split | None:
    """Returns the split of logarithms with the largest variance between its sides, or None for a single cluster.

    Two clusters are two where the split explains most of the variance, both are large, and they lie far enough apart
    (Otsu, A threshold selection method from gray-level histograms, 1979, equation 18).
    """
    count = len(values)
    if count < LEAST_SAMPLES:
        return None
    ordered = np.sort(values)
    total = float(np.var(ordered)) * count
    left = np.arange(1, count)
    sums = np.cumsum(ordered)[:-1]
    low, high = sums / left, (ordered.sum() - sums) / (count - left)
    between = left * (count - left) / count * (high - low) ** 2
    best = int(np.argmax(between))
    share = 1 - float(left[best]) / count
    if total <= 0 or between[best] / total < EXPLAINS or min(share, 1 - share) < LEAST_SHARE:
        return None
    split = Split(cut=float(ordered[best + 1]), share=share, fast=float(low[best]), slow=float(high[best]))
    return split if split.ratio >= LEAST_RATIO else None

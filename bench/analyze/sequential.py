"""A test of paired replicates that may be looked at after each of them, and whose errors do not grow with the looks.

The design makes it exact. Before each replicate a fair coin decides which version gets which of two places; identical
versions then differ by the places only, so that whatever the machine does (drift, two speeds, heavy tails, a bias of
the process), the signs of the log ratios x_1, x_2, ... are coin flips. Against coin flips every bet is fair: a player
who stakes any share b(|x_i|) < 1 of his capital on the sign of x_i has the expected capital 1 after any number of
replicates, and by Ville's inequality he ever multiplies it by 1/alpha with probability alpha at most. `log_capital`
is the logarithm of that capital, averaged over players who bet differently, in both directions.

What a player wins depends on his bets; that he wins no more than he may does not. Some bet as is best against normal
noise: they are quick to see a change that is large beside it. But one replicate in ten of a training step is off by
several times the usual, because of where its memory happens to lie, and the others bet as is best against Student's
noise: little on a small value, and little on a wild one.

Sources: Vovk and Wang, Nonparametric e-tests of symmetry (New England J. Statist. Data Sci. 2, 2024), section 2, for
bets on signs, of which 1 + tanh(lambda x) = exp(lambda x) / cosh(lambda x) is the one that is best against normal
noise, and 1 + tanh of half the logarithm of f(x - d) / f(x + d) against noise of density f; Howard, Ramdas, McAuliffe
and Sekhon, Time-uniform, nonparametric, nonasymptotic confidence sequences (Ann. Statist. 49, 2021, arXiv 1810.08240),
section 1, for inverting such a test into an interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

# The best lambda is the effect over the variance of x: 25 suits 6 % of noise, 400 one of a percent.
LAMBDAS: Array = np.array([25.0, 100.0, 400.0])
# Below 1, so that one wild replicate costs such a player most of the capital and never all of it.
STAKE = 0.95
# Students' noise: its scales, its degrees of freedom, and the change they look for, as a part of the scale.
SCALES: Array = 0.002 * 2.5 ** np.arange(4, dtype=np.float64)
FREEDOM, SOUGHT = 3.0, 0.8
# No step gets faster or slower by more than this factor; an interval that reaches it is no interval.
WIDEST = math.log(20.0)
_PRECISION = 1e-5
# Shifts, from the estimate outwards, between which an end of an interval is looked for.
_STEPS: Array = np.geomspace(2e-4, 2 * WIDEST, 48)


def log_capital(values: Sequence[float], shift: float = 0.0) -> float:
    """Returns the logarithm of the capital won against the hypothesis that values are symmetric about a shift."""
    return float(_against(values, np.array([shift]))[0])


def log_capitals(values: Sequence[float]) -> Array:
    """Returns the logarithm of the capital after each value: `log_capital` of every beginning, in one pass."""
    bets = _bets(np.asarray(values, dtype=float))
    return _shared(np.concatenate([np.log1p(bets).cumsum(1), np.log1p(-bets).cumsum(1)]))


def _against(values: Sequence[float], shifts: Array) -> Array:
    """Returns `log_capital` against each of some shifts."""
    bets = _bets(np.asarray(values, dtype=float) - shifts[:, None])
    return _shared(np.concatenate([np.log1p(bets).sum(-1), np.log1p(-bets).sum(-1)]))


def _shared(players: Array) -> Array:
    """Returns the logarithm of the mean of the players' capitals, given their logarithms: [players, ...]."""
    top: Array = players.max(0)
    mean: Array = top + np.log(np.exp(players - top).mean(0))
    return mean


def _bets(x: Array) -> Array:
    """Returns what share of the capital each player stakes on each value being above zero: [players, *values]."""
    normal = STAKE * np.tanh(np.multiply.outer(LAMBDAS, x))
    scaled = np.multiply.outer(1 / SCALES, x)
    above, below = (np.log1p((scaled - side * SOUGHT) ** 2 / FREEDOM) for side in (1, -1))
    student = np.tanh((FREEDOM + 1) / 4 * (below - above))
    return np.concatenate([normal, student])


def center(values: Sequence[float]) -> float:
    """Returns the Hodges-Lehmann estimate: the median of the means of all pairs of values, each value with itself too.

    It is the center of symmetry that a signed-rank test finds (Hodges and Lehmann 1963), nearly as precise as the
    mean where noise is normal, and not moved by a wild value.
    """
    x = np.asarray(values, dtype=float)
    rows, columns = np.triu_indices(len(x))
    return float(np.median((x[rows] + x[columns]) / 2))


def interval(values: Sequence[float], alpha: float) -> tuple[float, float] | None:
    """Returns the shifts against which less than 1/alpha was won: an interval that holds at all times at once.

    If a change of the code multiplies times by a constant, log ratios minus its logarithm are coin flips again, and the
    interval misses it with probability alpha at most, whenever one stops. None as long as it is unbounded. Values that
    are symmetric about nothing refute every shift in the end; then it is the last interval that there was, which
    holds at all times as each does.
    """
    bound = -math.log(alpha)
    middle = center(values) if values else 0.0
    while values and log_capital(values, middle) >= bound:
        values = values[:-1]
        middle = center(values) if values else 0.0
    if not values:
        return None
    low, high = (_edge(values, bound, middle, side) for side in (-1, 1))
    return None if low is None or high is None else (low, high)


def _edge(values: Sequence[float], bound: float, middle: float, side: int) -> float | None:
    """Returns the outermost shift on one side of the estimate that is not refuted; None where all are not, to the end.

    What was won need not grow with the distance all the way: looking from the outside leaves no shift out that may
    be true.
    """
    shifts = middle + side * _STEPS
    refuted = _against(values, shifts) >= bound
    if not refuted[-1]:
        return None
    last = int(np.flatnonzero(~refuted)[-1]) if not refuted.all() else -1
    inside, outside = (float(shifts[last]) if last >= 0 else middle), float(shifts[last + 1])
    while abs(outside - inside) > _PRECISION:
        between = (inside + outside) / 2
        if log_capital(values, between) < bound:
            inside = between
        else:
            outside = between
    return outside

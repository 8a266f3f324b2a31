"""Steps in a series of one figure over commits: where it changed for good, by how much, and how sure that is.

What a benchmark says of one commit after the other is noisy, and its noise remembers: a machine is warm, busy or laid
out badly for several commits in a row. A test that takes such values for independent sees steps where there are none.
So the noise is an autoregression of order one about a level, y[t] = m[t] + e[t], e[t] = phi e[t-1] + u[t], and levels
with and without a step are compared by their likelihoods, each with the phi that suits it best (Andrews, Tests for
parameter instability and structural change with unknown change point, Econometrica 61, 1993, for the supremum over all
places; Shi, Gallagher, Lund and Killick, A comparison of single and multiple changepoint techniques for time series
data, CSDA 170, 2022, for why the noise's memory must be part of it).

A short series hardly tells a step from a long memory. What is known before helps: phi is given the weight of a normal
distribution about 0.4, which a series outvotes where it says otherwise. Thresholds come from simulated series of the
length at hand, without any step and with phi = 0.5; with less memory false alarms are fewer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from bench.analyze.autoregression import FLOOR, Array, Fit, fit, moved, statistics

# Values further from the median of their neighbors than this many of the usual distances are pulled back to there.
WINDOW, WILD = 5, 4.0
# Twice the gain in log likelihood that 0.6 % (one step) and 0.1 % (two steps at once, up and down) of series without a
# step reach by chance, by length; `python -m tests.studies.detectors --thresholds` makes them.
LENGTHS: Array = np.log([8, 10, 12, 15, 20, 30, 50, 75, 100, 150, 200])
ONE: Array = np.array([17.8, 18.2, 18.2, 18.2, 16.9, 16.6, 16.6, 16.7, 16.7, 16.8, 17.0])
# In eight values there is no room for three levels.
TWO: Array = np.array([99.0, 34.5, 34.5, 34.5, 32.0, 31.0, 31.0, 31.0, 31.0, 31.5, 33.5])
FEWEST = 8
MOST_STEPS = 12
# Places at which twice the log likelihood is so close to the best are plausible.
PLAUSIBLE = 6.0
LEVEL = 0.95
# Student's interval takes the noise's memory for known; in simulations one so much wider holds the size in 95 %.
WIDER = 1.25
# Below this relative size a step is no news, however real.
LEAST = 0.005


@dataclass(frozen=True, kw_only=True)
class Step:
    """A change of level between values `index - 1` and `index`; plausibly as early as `earliest`, as late as `latest`.

    `ratio` is the level after over the level before, with its 95 % interval.
    """

    index: int
    earliest: int
    latest: int
    ratio: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Levels:
    """A series as levels with steps between them; `levels` has one more than `steps`.

    `noise` is the standard deviation of the logarithms about their level, `memory` the phi of the fit.
    """

    steps: tuple[Step, ...]
    levels: tuple[float, ...]
    noise: float
    memory: float


def find_steps(values: Sequence[float], least: float = LEAST) -> Levels:
    """Finds the steps of a series of positive values, in order of time.

    Steps are added one at a time, or two at once where one alone does not help (a slowdown that was mended later),
    as long as the gain in likelihood is one that chance does not reach; all phases of the search refit the noise.
    A series of fewer than 8 values has none.
    """
    logs = settled(np.log(np.asarray(values, dtype=float)))
    places: list[int] = []
    while len(logs) >= FEWEST and len(places) < MOST_STEPS:
        more = _next(logs, places)
        if not more:
            break
        places = _refined(logs, sorted([*places, *more]))
    found = fit(logs, places)
    if any(abs(math.expm1(size)) < least for size in found.sizes):
        places = [place for place, size in zip(places, found.sizes, strict=True) if abs(math.expm1(size)) >= least]
        found = fit(logs, places)
    return _levels(logs, places, found)


def settled(logs: Array) -> Array:
    """Returns a series without wild single values: those far from the median of five neighbors are pulled back.

    A running median keeps steps (Tukey 1977, chapter 7), and pulling back is what Hampel's filter does, so that a level
    of three values stays, and a hiccup of one or two goes.
    """
    if len(logs) < WINDOW:
        return logs
    first = np.clip(np.arange(len(logs)) - WINDOW // 2, 0, len(logs) - WINDOW)
    middle: Array = np.median(logs[first[:, None] + np.arange(WINDOW)], axis=1)
    # 1.4826 makes the median of absolute values a standard deviation where noise is normal.
    reach = WILD * max(1.4826 * float(np.median(np.abs(logs - middle))), FLOOR)
    cleaned: Array = middle + np.clip(logs - middle, -reach, reach)
    return cleaned


def threshold(length: int) -> tuple[float, float]:
    """Returns what the statistics of one step and of two must exceed in a series of some length."""
    place = math.log(length)
    return float(np.interp(place, LENGTHS, ONE)), float(np.interp(place, LENGTHS, TWO))


def _next(logs: Array, places: Sequence[int]) -> list[int]:
    """Returns the places of the step, or the two, that chance does not explain; none where it does."""
    (one, single), (two, pair) = statistics(logs, places)
    enough = threshold(len(logs))
    if one >= enough[0]:
        return single
    return pair if two >= enough[1] else []


def _refined(logs: Array, places: list[int]) -> list[int]:
    """Returns places that are best given each other: what looked best before a further step was known may not be."""
    for _ in range(len(places)):
        before = list(places)
        for which in range(len(places)):
            found = moved(logs, places, which)
            places[which] = max(found, key=found.__getitem__)
        if places == before:
            break
    return places


def _levels(logs: Array, places: Sequence[int], found: Fit) -> Levels:
    freedom = max(len(logs) - len(places) - 1, 1)
    reach = WIDER * float(stdtrit(freedom, (1 + LEVEL) / 2))
    steps = []
    for which, place in enumerate(places):
        near = [
            other
            for other, likelihood in moved(logs, places, which).items()
            if 2 * (found.likelihood - likelihood) <= PLAUSIBLE
        ]
        size, half = found.sizes[which], reach * found.errors[which]
        steps.append(
            Step(
                index=place,
                earliest=min(near, default=place),
                latest=max(near, default=place),
                ratio=math.exp(size),
                low=math.exp(size - half),
                high=math.exp(size + half),
            )
        )
    levels = np.exp(np.cumsum([found.base, *found.sizes]))
    return Levels(steps=tuple(steps), levels=tuple(levels.tolist()), noise=found.noise, memory=found.phi)

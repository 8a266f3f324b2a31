"""Levels with steps between them, in noise that remembers: how likely a series is with steps at some places.

The noise is an autoregression of order one about the level, y[t] = m[t] + e[t], e[t] = phi e[t-1] + u[t] (Prais and
Winsten 1954). Its exact likelihood is that of least squares on columns from which the memory is taken, times a factor
of phi; phi is tried on a grid, and has a weight beforehand.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]

PHIS: Array = np.linspace(0.0, 0.9, 10)
LIKELY_PHI, SPREAD = 0.4, 0.15
# The exact likelihood's part of phi, and the weight that phi has beforehand.
WEIGHTS: Array = 0.5 * np.log1p(-(PHIS**2)) - 0.5 * ((PHIS - LIKELY_PHI) / SPREAD) ** 2
# A level lasts for so many values at least: one that is shorter cannot be told from a hiccup.
SHORTEST = 3
# No figure is known better than to this part of itself; keeps the likelihood of equal values finite.
FLOOR = 1e-6


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The best fit of a series: its first level, the sizes of its steps with their standard errors, and its noise."""

    likelihood: float
    phi: float
    base: float
    sizes: tuple[float, ...]
    errors: tuple[float, ...]
    noise: float


def statistics(logs: Array, places: Sequence[int] = ()) -> tuple[tuple[float, list[int]], tuple[float, list[int]]]:
    """Returns twice the gain in log likelihood of the best further step, and of the best two, with their places."""
    candidates = _candidates(len(logs), places)
    if not len(candidates):
        return (0.0, []), (0.0, [])
    far = np.abs(candidates[:, None] - candidates) >= SHORTEST
    without, one, two = -math.inf, (-math.inf, 0), (-math.inf, 0)
    for left, along, rest, weight in _by_phi(logs, places, candidates):
        gram = rest.T @ rest
        sizes = np.diag(gram)
        gains = along**2 / sizes
        without = max(without, _likelihood(left, len(logs), weight))
        one = max(one, (_likelihood(left - float(gains.max()), len(logs), weight), int(gains.argmax())))
        # Least squares with two columns more, by Cramer's rule; columns too close to each other are left out.
        determinant = np.where(far, np.outer(sizes, sizes) - gram**2, 1.0)
        joint = np.outer(along**2, sizes) - 2 * np.outer(along, along) * gram + np.outer(sizes, along**2)
        both = np.where(far, joint / determinant, 0.0)
        two = max(two, (_likelihood(left - float(both.max()), len(logs), weight), int(both.argmax())))
    pair = sorted(int(candidates[index]) for index in np.unravel_index(two[1], far.shape))
    return (2 * (one[0] - without), [int(candidates[one[1]])]), (2 * (two[0] - without), pair)


def _by_phi(logs: Array, places: Sequence[int], candidates: Places) -> Iterator[tuple[float, Array, Array, float]]:
    """Yields for each phi the squares that known steps leave, and what is left of columns of candidates.

    These are their products with the rest of the series, then the columns themselves; last is the weight of phi.
    """
    known, columns = _steps(len(logs), [0, *places]), _steps(len(logs), candidates)
    for phi, weight in zip(PHIS, WEIGHTS, strict=True):
        residual, rest = _apart(_whitened(known, phi), _whitened(logs[:, None], phi), _whitened(columns, phi))
        yield float(residual @ residual) + len(logs) * FLOOR**2, rest.T @ residual, rest, float(weight)


def fit(logs: Array, places: Sequence[int]) -> Fit:
    """Returns the best fit of a series with steps at some places, with the standard errors of their sizes."""
    columns = _steps(len(logs), [0, *places])
    best: tuple[float, float] = (-math.inf, 0.0)
    for phi, weight in zip(PHIS, WEIGHTS, strict=True):
        residual, _ = _apart(_whitened(columns, phi), _whitened(logs[:, None], phi), columns[:, :0])
        squares = float(residual @ residual) + len(logs) * FLOOR**2
        best = max(best, (_likelihood(squares, len(logs), weight), float(phi)))
    likelihood, phi = best
    design, target = _whitened(columns, phi), _whitened(logs[:, None], phi)[:, 0]
    inverse = np.linalg.inv(design.T @ design)
    found = inverse @ design.T @ target
    rest = target - design @ found
    variance = float(rest @ rest) / max(len(logs) - len(found), 1)
    errors = np.sqrt(variance * np.diag(inverse))
    return Fit(
        likelihood=likelihood,
        phi=phi,
        base=float(found[0]),
        sizes=tuple(map(float, found[1:])),
        errors=tuple(map(float, errors[1:])),
        noise=math.sqrt(variance / (1 - phi * phi)),
    )


def moved(logs: Array, places: Sequence[int], which: int) -> dict[int, float]:
    """Returns the likelihood of a fit by where one of its steps stands, the others staying."""
    others = [place for number, place in enumerate(places) if number != which]
    low = places[which - 1] if which else 0
    high = places[which + 1] if which + 1 < len(places) else len(logs)
    candidates = np.arange(low + SHORTEST, high - SHORTEST + 1)
    best = np.full(len(candidates), -math.inf)
    for left, along, rest, weight in _by_phi(logs, others, candidates):
        squares = np.maximum(left - along**2 / (rest**2).sum(0), len(logs) * FLOOR**2)
        best = np.maximum(best, -len(logs) / 2 * np.log(squares) + weight)
    return dict(zip(candidates.tolist(), best.tolist(), strict=True))


def _candidates(length: int, places: Sequence[int]) -> Places:
    edges = np.array([0, *places, length])
    every = np.arange(SHORTEST, length - SHORTEST + 1)
    apart: Places = every[np.abs(every[:, None] - edges).min(1) >= SHORTEST]
    return apart


def _steps(length: int, places: Sequence[int] | Places) -> Array:
    """Returns a column for each place: zero before it, one from there on."""
    return (np.arange(length)[:, None] >= np.asarray(places)).astype(float)


def _whitened(columns: Array, phi: float) -> Array:
    """Returns columns whose noise has no memory left (Prais and Winsten 1954)."""
    return np.concatenate([math.sqrt(1 - phi * phi) * columns[:1], columns[1:] - phi * columns[:-1]])


def _apart(known: Array, series: Array, columns: Array) -> tuple[Array, Array]:
    """Returns what is left of a series and of columns when what known columns explain is taken out."""
    basis, _ = np.linalg.qr(known)
    return (series - basis @ (basis.T @ series))[:, 0], columns - basis @ (basis.T @ columns)


def _likelihood(squares: float, length: int, weight: float) -> float:
    return -length / 2 * math.log(max(squares, length * FLOOR**2)) + weight

"""Verdicts: from the log ratios of one row to slower, faster, equivalent or inconclusive."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench.analyze import sequential
from bench.errors import InvalidOption

Word = Literal["slower", "faster", "equivalent", "inconclusive"]
# With this probability the interval of a change of the size `detectable` excludes no change.
POWER_QUANTILE = 1.2816  # 90 %


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What counts as a change, and how often a report may be wrong.

    `threshold` is the smallest relative change worth a verdict, `margin` the largest that counts as none, `alpha` the
    probability with which any row of a report may be wrong. Raises InvalidOption for values out of range.
    """

    threshold: float = 0.005
    margin: float = 0.01
    alpha: float = 0.01

    def __post_init__(self) -> None:
        for name, value, top in (
            ("threshold", self.threshold, 1.0),
            ("margin", self.margin, 1.0),
            ("alpha", self.alpha, 0.5),
        ):
            if not 0 < value < top:
                raise InvalidOption(f"{name} {value}: must be above 0 and below {top:g}; 0.01 is 1 %")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What may be said of one row.

    `ratio` is head over base with its interval, None where it is unbounded; `detectable` is the relative change that
    this many replicates would have found nine times in ten; `evidence` the logarithm of the capital won against no
    change (see sequential). `note` says what a word alone would hide.
    """

    word: Word
    ratio: float
    low: float | None
    high: float | None
    detectable: float | None
    evidence: float
    replicates: int
    note: str | None = None

    @property
    def stands(self) -> bool:
        """Says whether more replicates are not needed."""
        return self.word != "inconclusive"


def judge(log_ratios: Sequence[float], rule: Rule, alpha: float, *, changed: bool = False) -> Verdict:
    """Judges one row at its share `alpha` of the report's.

    Slower (faster): the interval excludes no change and the estimate is at least the threshold. Equivalent: the whole
    interval lies within the margin, and it is neither. `changed` says that the change is known to be real already, by
    Holm's procedure over the report, though the row's own interval may not show it yet.
    """
    estimate = sequential.center(log_ratios)
    own = bounds = sequential.interval(log_ratios, alpha)
    low, high = bounds or (-math.inf, math.inf)
    real = changed or low > 0 or high < 0
    if changed and bounds is not None and low <= 0 <= high:
        # What goes with a hypothesis that only Holm's procedure rejects: an interval that ends at it (Strassburger and
        # Bretz, Stat. Med. 27, 2008, section 3).
        low, high = bounds = (0.0, high) if estimate > 0 else (low, 0.0)
    relevant = abs(math.expm1(estimate)) >= rule.threshold
    inside = low > -math.log1p(rule.margin) and high < math.log1p(rule.margin)
    word: Word = "inconclusive"
    note = None
    if real and relevant:
        word = "slower" if estimate > 0 else "faster"
        if inside:
            note = f"real, and within the margin of {100 * rule.margin:g} %"
    elif inside:
        word = "equivalent"
        if real:
            note = f"a real change below the threshold of {100 * rule.threshold:g} %"
    elif real:
        note = f"a real change whose size is not known well enough: estimated below {100 * rule.threshold:g} %"
    return Verdict(
        word=word,
        ratio=math.exp(estimate),
        low=None if bounds is None else math.exp(low),
        high=None if bounds is None else math.exp(high),
        detectable=_detectable(log_ratios, own, rule),
        evidence=sequential.log_capital(log_ratios),
        replicates=len(log_ratios),
        note=note,
    )


def _detectable(log_ratios: Sequence[float], bounds: tuple[float, float] | None, rule: Rule) -> float | None:
    """Returns half the interval and what the estimate itself may be off, as a relative change.

    What is below the threshold is called no change whatever is known of it.
    """
    if bounds is None:
        return None
    error = statistics.stdev(log_ratios) / math.sqrt(len(log_ratios)) if len(log_ratios) > 1 else 0.0
    return max(rule.threshold, math.expm1((bounds[1] - bounds[0]) / 2 + POWER_QUANTILE * error))

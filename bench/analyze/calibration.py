"""What trials with a known outcome say of the verdicts: how often they are wrong, and how soon they come."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from bench.analyze import sequential
from bench.analyze.comparison import share
from bench.analyze.verdict import Rule, Word, judge
from bench.data.calibration import Trial

LEVEL = 0.95
Array = npt.NDArray[np.float64]
Words = dict[str, tuple[Word, float]]


@dataclass(frozen=True, kw_only=True)
class Share:
    """How many of some trials have a property, with the binomial interval of Clopper and Pearson."""

    hits: int
    trials: int
    low: float
    high: float


def count(outcomes: Sequence[bool]) -> Share:
    """Returns how many trials had a property."""
    if not outcomes:
        return Share(hits=0, trials=0, low=0.0, high=1.0)
    bounds = binomtest(sum(outcomes), len(outcomes)).proportion_ci(LEVEL, method="exact")
    return Share(hits=sum(outcomes), trials=len(outcomes), low=float(bounds.low), high=float(bounds.high))


def verdicts(trial: Trial, rule: Rule, variants: int = 1) -> Words:
    """Returns for each metric the first verdict that stood, and after how many seconds; looked at after each replicate.

    A metric without one is inconclusive after all of them.
    """
    found: Words = {}
    for metric, values in trial.log_ratios.items():
        alpha = share(rule, metric, len(trial.phases), variants)
        found[metric] = "inconclusive", trial.seconds[-1]
        for look in range(1, len(values) + 1):
            verdict = judge(values[:look], rule, alpha)
            if verdict.stands:
                found[metric] = verdict.word, trial.seconds[look - 1]
                break
    return found


def false_alarm(trial: Trial, rule: Rule) -> bool:
    """Says whether identical versions would be called slower or faster in any row, at any look."""
    return _alarms(trial, rule, 1, np.ones(len(trial.seconds)))


def could_alarm(trial: Trial, rule: Rule) -> bool:
    """Says whether a trial has enough replicates for a verdict, had all of them said the same."""
    return any(
        sequential.log_capital(np.abs(values).tolist()) >= -math.log(share(rule, metric, len(trial.phases), 1))
        for metric, values in trial.log_ratios.items()
    )


def decided(log_ratios: Sequence[float], rule: Rule, metric: str, phases: int) -> bool:
    """Says whether a verdict on a metric stands that a report of one variant would give."""
    return judge(log_ratios, rule, share(rule, metric, phases, 1)).stands


def said_within(words: Words, metric: str, word: Word, seconds: float) -> bool:
    """Says whether a verdict on a metric came in time."""
    said, after = words[metric]
    return said == word and after <= seconds


def reports(trials: Sequence[Trial], rule: Rule, *, variants: int, times: int, seed: int = 0) -> Share:
    """Simulates reports of several variants from trials of identical versions, and counts those with a false alarm.

    Each report draws its trials and tosses the coins again that decided who was built first: what a version's place
    did to a replicate stays, its sign is drawn anew.
    """
    generator = np.random.default_rng(seed)
    outcomes = []
    for _ in range(times):
        drawn = (trials[at] for at in generator.integers(len(trials), size=variants))
        tossed = ((trial, generator.choice((-1.0, 1.0), len(trial.seconds))) for trial in drawn)
        outcomes.append(any(_alarms(trial, rule, variants, signs) for trial, signs in tossed))
    return count(outcomes)


def _alarms(trial: Trial, rule: Rule, variants: int, signs: Array) -> bool:
    """Says whether any look at any row excludes no change and finds it relevant, also after another verdict stood."""
    for metric, values in trial.log_ratios.items():
        tossed = signs * values
        bound = -math.log(share(rule, metric, len(trial.phases), variants))
        looks = np.flatnonzero(sequential.log_capitals(tossed.tolist()) >= bound)
        if any(abs(math.expm1(sequential.center(tossed[: look + 1].tolist()))) >= rule.threshold for look in looks):
            return True
    return False

"""Which accuracies belong to a row, with intervals over seeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.analyze.row import Estimate, Standing
from bench.analyze.sample import Value, interval
from bench.data.accuracy import Accuracy
from bench.data.variant import NONE, Variant


def standings(variant: Variant, accuracies: Iterable[Accuracy]) -> tuple[Standing, ...]:
    """Returns how accurate a variant's model is after its quantization; a variant that trains, after QAT only."""
    return tuple(
        Standing(
            accuracy=one,
            share=_mean([seed.correct / seed.examples for seed in one.seeds]),
            difference=_mean([(seed.correct - seed.float_correct) / seed.examples for seed in one.seeds]),
        )
        for one in accuracies
        if (one.model, one.flow) == (variant.model, variant.quantization)
        and (one.qat_epochs or variant.optimizer == NONE)
    )


def _mean(values: Sequence[float]) -> Estimate:
    """Returns the mean of one value a seed, with Student's t interval; with one seed there is none."""
    center, half = interval([Value(seed, 0, value) for seed, value in enumerate(values)])
    return Estimate(
        center=center,
        low=None if half is None else center - half,
        high=None if half is None else center + half,
    )

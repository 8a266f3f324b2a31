"""Which accuracies belong to a row, with intervals over seeds."""

from __future__ import annotations

from collections.abc import Iterable

from bench.analyze.row import Standing
from bench.analyze.seeds import mean
from bench.data.accuracy import Accuracy
from bench.data.variant import NONE, Variant


def standings(variant: Variant, accuracies: Iterable[Accuracy]) -> tuple[Standing, ...]:
    """Returns how accurate a variant's model is after its quantization; a variant that trains, after QAT only."""
    return tuple(
        Standing(
            accuracy=one,
            share=mean([seed.correct / seed.examples for seed in one.seeds]),
            difference=mean([(seed.correct - seed.float_correct) / seed.examples for seed in one.seeds]),
        )
        for one in accuracies
        if (one.model, one.flow) == (variant.model, variant.quantization)
        and (one.qat_epochs or variant.optimizer == NONE)
    )

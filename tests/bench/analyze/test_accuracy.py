from __future__ import annotations

import math
import statistics

import pytest
from scipy.stats import t

from bench.analyze.accuracy import standings
from bench.data.accuracy import Accuracy, Scored
from bench.data.variant import Variant

CORRECT, FLOAT = (440, 445, 438), (441, 443, 441)


def accuracy(qat_epochs=0, correct=CORRECT, **given):
    seeds = tuple(
        Scored(seed=seed, examples=450, correct=right, float_correct=reference)
        for seed, (right, reference) in enumerate(zip(correct, FLOAT, strict=False))
    )
    named = {"model": "m", "flow": "kbit-8", "data": "digits", "epochs": 8} | given
    return Accuracy(**named, qat_epochs=qat_epochs, seeds=seeds)


def test_means_and_intervals_are_students_over_seeds_paired_with_float():
    (found,) = standings(Variant(model="m", optimizer="none", quantization="kbit-8"), [accuracy()])
    differences = [(one - other) / 450 for one, other in zip(CORRECT, FLOAT, strict=True)]
    half = t.ppf(0.975, 2) * statistics.stdev(differences) / math.sqrt(3)
    assert found.difference.center == pytest.approx(statistics.fmean(differences))
    assert found.difference.high - found.difference.center == pytest.approx(half)
    assert found.difference.center - found.difference.low == pytest.approx(half)
    assert found.share.center == pytest.approx(statistics.fmean(CORRECT) / 450)


def test_one_seed_has_no_interval():
    (found,) = standings(Variant(model="m", optimizer="none", quantization="kbit-8"), [accuracy(correct=(440,))])
    assert (found.share.low, found.difference.high) == (None, None)


@pytest.mark.parametrize(
    ("variant", "count"),
    [
        (Variant(model="m", optimizer="none", quantization="kbit-8"), 2),
        (Variant(model="m", optimizer="none", quantization="kbit-8", batch=32), 2),
        # What trains with rounded weights is not what was rounded after training.
        (Variant(model="m", optimizer="sgd", quantization="kbit-8"), 1),
        (Variant(model="m", optimizer="none", quantization="kbit-4"), 0),
        (Variant(model="other", optimizer="none", quantization="kbit-8"), 0),
        (Variant(model="m", optimizer="none"), 0),
    ],
)
def test_a_row_has_the_accuracies_of_its_model_and_quantization(variant, count):
    assert len(standings(variant, [accuracy(), accuracy(2)])) == count

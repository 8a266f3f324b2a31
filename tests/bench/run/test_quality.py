from __future__ import annotations

import math

from bench.data.variant import Variant
from bench.run.build import build, open_data
from bench.run.quality import loss_caveats, train


def result(registry, text, steps=20):
    return train(build(registry, Variant.parse(text), data=open_data(registry, "noise"), seed=0), steps, seed=0)


def test_quality_is_the_same_for_the_same_seed(registry):
    assert result(registry, "line/descent/none@batch=8") == result(registry, "line/descent/none@batch=8")


def test_training_changes_the_loss_and_inference_does_not(registry):
    trained = result(registry, "line/descent/none@batch=8")
    assert trained.after != trained.before
    untrained = result(registry, "line/none/none")
    assert untrained.after == untrained.before


def test_a_learning_rate_that_is_far_too_high_is_a_caveat(registry):
    wild = result(registry, "line/rocket/none")
    assert [caveat.code for caveat in wild.caveats] == ["loss-diverges"]


def test_only_a_loss_that_broke_or_doubled_is_a_caveat():
    assert loss_caveats(2.0, 1.0, 20) == ()
    assert loss_caveats(2.0, 3.9, 20) == ()
    assert [caveat.code for caveat in loss_caveats(2.0, 4.1, 20)] == ["loss-diverges"]
    assert [caveat.code for caveat in loss_caveats(2.0, math.nan, 20)] == ["loss-not-finite"]

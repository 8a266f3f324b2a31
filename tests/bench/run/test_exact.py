from __future__ import annotations

import math

import torch

from bench.data.protocol import Protocol
from bench.data.variant import Variant
from bench.run.exact import exact


def look(registry, name):
    return exact(registry, Variant.parse(name), Protocol(quality_steps=3), registry.get("data", "noise").factory())


def test_one_look_gives_everything_that_is_exact(registry):
    found = look(registry, "line/descent/none@batch=4")
    values = found.counters.values
    assert found.phases == ("forward", "backward", "optimize")
    assert values["state_bytes"] == sum(found.counters.state_bytes.values()) == (8 * 4 + 4) * 4
    assert values["forward.flops"] == 2 * 4 * 8 * 4
    assert values["peak_bytes"] > 0
    assert math.isfinite(values["loss"])
    assert set(found.sources) >= {"model:line", "optimizer:descent"}
    assert found.caveats == ()


def test_looking_twice_finds_the_same(registry):
    first, second = (look(registry, "line/descent/none") for _ in range(2))
    assert first.counters == second.counters


def test_a_loss_that_is_not_finite_is_no_number_but_a_caveat(registry):
    found = look(registry, "picture/rocket/none")
    assert {caveat.code for caveat in found.caveats} & {"loss-not-finite", "loss-diverges"}


def test_the_counters_of_a_compiled_model_say_that_they_are_of_the_eager_one(registry, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda module, **_: module)
    assert [caveat.code for caveat in look(registry, "line/descent/none@compiled=true").caveats] == ["eager-counters"]


def test_what_an_optimizer_remarks_stands_below_its_rows(registry):
    @registry.optimizer("frank")
    def frank(module):
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
        optimizer.remarks = {"native-code": "half of the step is assembler"}
        return optimizer

    (caveat,) = look(registry, "line/frank/none").caveats
    assert (caveat.code, caveat.message) == ("native-code", "half of the step is assembler")

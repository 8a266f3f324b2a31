"""What a run calibrates with, and of which flows it counts what calibration alone gives."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from lowbit.models.resnet20 import ResNet20
from lowbit.pipeline.run import run
from lowbit.quantization.flow import calibrate
from lowbit.quantization.flows import NAMES, flow
from lowbit.quantization.stage import Stage
from tests.lowbit.pipeline.tiny import data, job

# Of each kind one; what comes with an engine or with bits is one kind.
TRAINING = ("kbit-8", "dorefa-4-4-4", "f8net", "f8net-search", "eager-qat-x86", "fx-qat-x86", "pt2e-qat")
OTHERS = ("eager-dynamic-x86", "eager-static-x86", "fx-dynamic-x86", "fx-static-x86", "pt2e-static", "pt2e-dynamic")


@pytest.mark.parametrize(("count", "sizes"), [(1, [1]), (16, [16]), (40, [16, 16, 8]), (1000, [16] * 6)])
def test_calibration_sees_as_many_examples_as_it_is_given(count, sizes):
    seen = []
    usual = job().flow

    def prepare(module, inputs):
        seen.append([len(batch) for batch in inputs])
        return usual.prepare(module, inputs)

    trail = run(job(calibration=count, qat_epochs=0, epochs=0, made=dataclasses.replace(usual, prepare=prepare))).trail
    assert seen == [sizes[:1], sizes]
    assert trail.calibrated == sum(sizes)


@pytest.mark.parametrize("name", TRAINING)
def test_what_trains_rounds_as_soon_as_it_is_calibrated(name):
    if name.startswith("pt2e"):
        pytest.importorskip("torchao", reason="PT2E is quantized by torchao, an extra: pip install 'stepbench[pt2e]'")
    found, inputs = flow(name), [data().train.images[:8]]
    torch.manual_seed(0)
    module = ResNet20().eval()
    with torch.no_grad():
        expected = module(inputs[0])
        prepared = found.prepare(module, inputs)
        calibrate(found, prepared, inputs)
        found.enter(prepared, Stage.VALIDATION)
        assert (prepared(inputs[0]) - expected).abs().max() > 1e-4


@pytest.mark.parametrize("name", ["kbit-4", "dorefa-4-4-4", "eager-qat-x86", "fx-qat-x86"])
def test_what_trains_has_a_row_of_what_calibration_alone_gives(name):
    entries = run(job(flow=name, epochs=0, qat_epochs=0)).trail.entries
    assert [entry.stage for entry in entries] == ["float", "calibration", "deployed"]
    assert abs(entries[1].loss - entries[0].loss) > 1e-6


@pytest.mark.parametrize("name", OTHERS)
def test_what_does_not_train_has_the_row_of_the_deployed_model_only(name, tmp_path):
    if name.startswith("pt2e"):
        pytest.importorskip("torchao", reason="PT2E is quantized by torchao, an extra: pip install 'stepbench[pt2e]'")
    found = job(flow=name, epochs=0, qat_epochs=0)
    entries = run(found, tmp_path).trail.entries
    assert [entry.stage for entry in entries] == ["float", "deployed"]
    assert entries[1].loss != entries[0].loss
    assert run(found, tmp_path).trail.entries == entries


def test_every_kind_of_flow_is_among_these():
    assert {name.name for name in NAMES if name.trains} >= set(TRAINING)
    assert {name.name for name in NAMES if not name.trains} >= set(OTHERS)
    kinds = {name.name.partition("-x86")[0] for name in NAMES if "-x86" in name.name}
    assert kinds <= {name.partition("-x86")[0] for name in (*TRAINING, *OTHERS)}

from __future__ import annotations

import dataclasses

import pytest
import torch

from lowbit.pipeline.run import run
from lowbit.quantization.input_stub import InputStub
from lowbit.quantization.kbit_layers import IntegerLayer
from lowbit.quantization.stage import Stage, enter
from tests.lowbit.pipeline.tiny import Kill, data, job, killed_at, same

STAGES = [("float", 1), ("float", 2), ("calibration", 0), ("qat", 1), ("qat", 2), ("deployed", 0)]


def test_a_run_goes_through_all_stages_and_counts_at_each():
    outcome = run(job())
    entries = outcome.trail.entries
    assert [(entry.stage, entry.epoch) for entry in entries] == STAGES
    assert all(entry.examples == 40 and entry.correct <= entry.correct5 <= 40 for entry in entries)
    assert entries[-1].correct > 10
    float_entry = outcome.trail.reference
    for entry in entries[2:]:
        assert entry.correct == float_entry.correct + entry.gained - entry.lost
    assert outcome.trail.data == "stripes, 96 training and 40 test images"
    assert sum(isinstance(child, IntegerLayer) for child in outcome.module.modules()) == 2
    assert (outcome.trail.quantized, outcome.trail.eligible) == (2, 4)


def test_what_is_deployed_gives_what_was_trained():
    entries = run(job()).trail.entries
    assert (entries[-1].correct, entries[-1].loss) == (entries[-2].correct, entries[-2].loss)


@pytest.mark.parametrize(
    ("text", "batch"),
    [
        ("float epoch 1/2", 3),
        ("float epoch 2/2", 1),
        ("float epoch 2/2", 6),
        ("calibrating", 0),
        ("qat epoch 1/2", 2),
        ("qat epoch 2/2", 1),
        ("converting", 0),
    ],
)
@pytest.mark.parametrize("flow", ["kbit-4", "dorefa-4-4-4", "eager-qat-x86"])
def test_a_run_that_was_killed_goes_on_to_the_same_bits(tmp_path, text, batch, flow):
    whole = run(job(flow=flow), tmp_path / "whole")
    with pytest.raises(Kill):
        run(job(flow=flow), tmp_path / "killed", show=killed_at(text, batch))
    told = []
    resumed = run(job(flow=flow), tmp_path / "killed", note=told.append)
    assert resumed.trail == whole.trail
    assert same(resumed.module.state_dict(), whole.module.state_dict())
    assert same(resumed.float_state, whole.float_state)
    # What had been finished was not done again.
    finished = len(told[0].entries)
    assert finished >= {"float epoch 1/2": 1, "float epoch 2/2": 1, "calibrating": 2}.get(text, 3)


def test_sgd_goes_on_to_the_same_bits_too(tmp_path):
    given = {"optimizer": "sgd", "lr": 0.05, "qat_lr": 0.005}
    whole = run(job(**given))
    with pytest.raises(Kill):
        run(job(**given), tmp_path, show=killed_at("qat epoch 2/2", 1))
    assert same(run(job(**given), tmp_path).module.state_dict(), whole.module.state_dict())


def test_a_finished_run_is_not_run_again(tmp_path):
    first = run(job(), tmp_path)
    said = []
    again = run(job(), tmp_path, show=lambda text, *_: said.append(text))
    assert again.trail == first.trail
    assert not any("epoch" in text for text in said)


def test_the_caller_s_random_numbers_are_left_alone():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    run(job(epochs=1, qat_epochs=1))
    assert torch.equal(torch.rand(3), expected)


def test_another_seed_is_another_model():
    assert not same(run(job(seed=1)).float_state, run(job(seed=2)).float_state)


def test_ranges_move_in_calibration_and_in_training_and_never_while_it_is_validated(monkeypatch):
    """Every call of an observer, by the stage that the trail is at."""
    from lowbit.quantization.ranges import MovingAverage

    calls = []
    original = MovingAverage.observe
    monkeypatch.setattr(MovingAverage, "observe", lambda self, values: calls.append(1) or original(self, values))
    counts = []
    # What the rehearsal observes is over before anything is noted.
    monkeypatch.setattr("lowbit.pipeline.run.rehearse", lambda *_: None)
    run(job(), note=lambda trail: counts.append((trail.entries[-1].stage, len(calls))))
    per_epoch, batches = 2 * 96 // 16, 2 * 32 // 16
    assert [count for _, count in counts[:6]] == [
        0, 0, batches, batches + per_epoch, batches + 2 * per_epoch, batches + 2 * per_epoch,
    ]  # fmt: skip


def test_observers_that_do_not_stop_are_found():
    def never_validates(module, stage):
        enter(module, Stage.QAT if stage is Stage.VALIDATION else stage)
        module.train(stage is Stage.QAT)

    live = dataclasses.replace(job().flow, enter=never_validates)
    codes = [finding.code for finding in run(job(made=live)).trail.findings]
    assert "observers-live" in codes
    assert "observers-live" not in [finding.code for finding in run(job()).trail.findings]


def test_a_float_state_is_where_a_run_starts():
    first = run(job(qat_epochs=0))
    second = run(job(epochs=0, start=first.float_state, flow="kbit-8"))
    assert [entry.stage for entry in second.trail.entries] == ["float", "calibration", "qat", "qat", "deployed"]
    assert second.trail.entries[0].correct == first.trail.reference.correct
    assert same(second.float_state, first.float_state)


def test_an_input_scale_is_a_stub_before_the_deployed_model():
    scale = 1 / 16
    outcome = run(job(input_scale=scale, epochs=1, qat_epochs=1))
    stub, model = outcome.module
    assert isinstance(stub, InputStub)
    pictures = data().test.images[:16]
    assert torch.equal(outcome.module(pictures), model((pictures / scale).round().clamp(-128, 127) * scale))
    assert sum(outcome.module(data().test.images).argmax(1) == data().test.labels) == outcome.trail.entries[-1].correct


def test_modules_have_settings_of_their_own():
    module = run(
        job(modules=(("hidden", "float"), ("middle", "8")), wide_output="classifier", epochs=0, qat_epochs=0)
    ).module
    assert type(module.hidden) is torch.nn.Linear
    assert int(module.middle.codes.abs().max()) == 127
    assert module.classifier.bias_codes.dtype == torch.int32


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(job(epochs=1, qat_epochs=0))
    assert list(tmp_path.iterdir()) == []


def test_a_converted_model_that_departs_is_found_with_its_first_layer():
    def wrong(module):
        converted = job().flow.convert(module)
        converted.hidden.scale.mul_(1.5)
        return converted

    found = run(job(made=dataclasses.replace(job().flow, convert=wrong))).trail.findings
    (finding,) = [finding for finding in found if finding.code == "departs"]
    assert "first at hidden by" in finding.message
    assert "in 2 of 4 layers" in finding.message
    assert "departs" not in [finding.code for finding in run(job()).trail.findings]


def test_a_float_model_that_was_not_trained_is_told_from_a_gain_of_quantizing():
    codes = [finding.code for finding in run(job(epochs=0, qat_epochs=6, qat_lr=0.02, flow="kbit-8")).trail.findings]
    assert "float-unfinished" in codes
    assert "float-unfinished" not in [finding.code for finding in run(job(epochs=0, qat_epochs=0)).trail.findings]

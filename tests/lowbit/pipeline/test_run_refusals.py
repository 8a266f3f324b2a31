"""What a run refuses, before it trains anything, and that nothing is lost by it."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from lowbit.pipeline.job import NothingQuantized
from lowbit.pipeline.run import CHECKPOINT, run
from lowbit.quantization.flow import Flow, QuantizationError
from tests.lowbit.pipeline.tiny import Kill, data, job, killed_at, make, same, with_nan


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def no_model(module, inputs):
    raise QuantizationError("not this one")


def refuses(says, folder=None, **given):
    with pytest.raises(QuantizationError, match=says) as raised:
        run(job(**given), folder)
    assert "\n" not in str(raised.value)


def test_nan_in_calibration_data_is_refused():
    refuses("calibration batch . holds NaN", data=with_nan(data()), epochs=0, calibration=96)


def test_a_loss_that_is_not_finite_is_refused_and_what_was_finished_stays(tmp_path):
    run(job(epochs=1), tmp_path)
    before = contents(tmp_path)
    refuses("training diverged", data=with_nan(data()), epochs=1)
    refuses("training diverged|gives NaN", lr=1e30)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"model": "large"}, "model tiny there, large here"),
        ({"flow": "kbit-8"}, "flow kbit-4 there, kbit-8 here"),
        ({"seed": 3}, "seed 0 there, 3 here"),
        ({"epochs": 3, "lr": 0.5, "calibration": 1, "batch": 8}, "epochs 2 there, 3 here.* and 1 more;"),
        ({"data": data(seed=5)}, "pictures .* there, .* here"),
        ({"modules": (("hidden", "float"),)}, r"modules \[\] there"),
        ({"start": make(0).state_dict()}, "start drawn by the seed there"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused_and_stays(tmp_path, other, says):
    run(job(), tmp_path)
    before = contents(tmp_path)
    refuses(f"checkpoint of another run: .*{says}", tmp_path, **other)
    assert contents(tmp_path) == before


def test_what_a_flow_cannot_work_with_is_said_before_anything_is_trained(tmp_path):
    said = []
    with pytest.raises(QuantizationError, match="not this one"):
        run(job(made=Flow(prepare=no_model, trains=True)), tmp_path, show=lambda text, *_: said.append(text))
    assert said == []
    assert list(tmp_path.iterdir()) == []


def test_a_flow_that_does_not_train_is_not_trained():
    refuses("flow kbit-4 cannot be trained: set its QAT epochs to 0", made=Flow(prepare=lambda module, _: module))


def test_a_model_without_a_layer_to_quantize_is_refused():
    found = dataclasses.replace(
        job(epochs=0), make=lambda seed: torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 10))
    )
    with pytest.raises(QuantizationError, match="has 1 layers of type Conv2d or Linear and none between"):
        run(found)


@pytest.mark.parametrize(
    ("module", "says"),
    [
        (
            torch.nn.Linear(5, 10),
            r"must take pictures \[2, 3, 32, 32\] and give logits \[2, 10\]: mat1 and mat2 shapes",
        ),
        (torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 3)), r"it gives \[2, 3\]"),
        (torch.nn.Identity(), r"it gives \[2, 3, 32, 32\]"),
    ],
)
def test_a_model_of_something_else_is_refused(module, says):
    with pytest.raises(QuantizationError, match=says):
        run(dataclasses.replace(job(), make=lambda seed: module))


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"start": {"stem.weight": torch.zeros(1)}}, "is a checkpoint of another model than Tiny"),
        ({"start": make(3).state_dict(), "epochs": 0, "made": Flow(prepare=no_model, trains=True)}, "not this one"),
        ({"made": Flow(prepare=lambda module, _: module)}, "cannot be trained: set its QAT epochs to 0"),
        ({"lr": 1e30}, "lower lr"),
    ],
)
def test_a_fresh_run_that_is_refused_leaves_what_is_there(tmp_path, other, says):
    run(job(), tmp_path)
    before = contents(tmp_path)
    with pytest.raises(QuantizationError, match=says):
        run(job(**other), tmp_path, fresh=True)
    assert contents(tmp_path) == before


def test_a_fresh_run_takes_no_notice_of_a_checkpoint_which_stands_until_it_has_its_own(tmp_path):
    run(job(), tmp_path)
    before = contents(tmp_path)
    other = job(epochs=3)
    with pytest.raises(Kill):
        run(other, tmp_path, fresh=True, show=killed_at("float epoch 1/3", 3))
    assert contents(tmp_path) == before
    with pytest.raises(Kill):
        run(other, tmp_path, fresh=True, show=killed_at("float epoch 2/3", 3))
    assert contents(tmp_path)[CHECKPOINT] != before[CHECKPOINT]
    assert same(run(other, tmp_path).module.state_dict(), run(other).module.state_dict())


def test_a_flow_that_does_nothing_is_refused_before_anything_is_trained(tmp_path):
    said = []
    nothing = job(made=Flow(prepare=lambda module, _: module), qat_epochs=0)
    with pytest.raises(NothingQuantized, match=r"^tiny, kbit-4: 0 of 4 layers are quantized, this is the float model"):
        run(nothing, tmp_path, show=lambda text, *_: said.append(text))
    assert said == []
    assert contents(tmp_path) == {}


def test_a_model_that_ends_in_float_is_not_stored_as_deployed(tmp_path):
    unquantized = dataclasses.replace(job().flow, convert=lambda module: make(0).eval())
    with pytest.raises(NothingQuantized, match="0 of 4 layers are quantized"):
        run(job(made=unquantized), tmp_path)
    assert sorted(contents(tmp_path)) == ["checkpoint.pt", "float.pt"]

"""Levels of deployment: each is compared with eager, stored, loaded again elsewhere; what cannot be made is a row."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from lowbit.deploy import artifact, compile_onnx, compile_source
from lowbit.deploy.artifact import Artifact, Fresh, difference, outputs_of
from lowbit.deploy.check import Cause
from lowbit.deploy.compile import UnknownLevel, build
from lowbit.deploy.compile_grid import output_step
from lowbit.deploy.compile_levels import LEVELS, Level, Made
from lowbit.deploy.compile_source import CannotBeMade
from lowbit.deploy.compile_text import HEADINGS, cells, document, notes
from lowbit.quantization.flow import quantized
from lowbit.quantization.flows import flow
from tests.lowbit.deploy import models

pytestmark = pytest.mark.slow

VALUES = torch.linspace(-1, 1, 8).reshape(2, 4)


class Ticks:
    """A clock that goes on by one second each time it is read."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 1
        return self.now


class Convolved(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.norm, self.drop = nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Dropout()
        self.norm.running_mean.uniform_(-1, 1)
        self.norm.running_var.uniform_(0.5, 2)

    def forward(self, pictures):
        return torch.relu(self.drop(self.norm(self.layer(pictures)))).mean((2, 3))


@pytest.fixture(scope="module")
def int8():
    torch.manual_seed(0)
    return quantized(flow("fx-static-x86"), models.Tiny(), [VALUES], trains=False)


def here(found, batch):
    """Loads an artifact as a fresh process does, without starting one."""
    stored = torch.load(batch, weights_only=True)
    with torch.no_grad():
        result = artifact.load(found)(*stored["inputs"])
    return Fresh(difference=difference(outputs_of(result), stored["expected"]))


def built(module, values, folder, *levels, fresh=here, **more):
    return build(module, values, folder, clock=Ticks(), levels=levels, fresh=fresh, **more)


def test_eager_is_stored_as_a_graph_that_a_fresh_process_runs_alike(tmp_path):
    (row,) = built(models.Tiny(), VALUES, tmp_path, "O0", fresh=artifact.fresh)
    assert row.is_made
    assert (row.seconds, row.difference, row.lsb) == (1, 0, None)
    assert (row.fresh, row.fresh_failure) == (0, "")
    assert row.size == (tmp_path / row.artifact).stat().st_size
    assert [path.name for path in tmp_path.iterdir()] == ["exported.pt2"]


def test_what_is_stored_is_the_model_and_no_batch(tmp_path):
    many = torch.zeros(200_000, 4)
    (row,) = built(models.Tiny(), many[:50_000], tmp_path, "O0")
    assert row.size < many[:50_000].numel()
    artifact.store_batch(tmp_path / "batch.pt", [many[:2]], [])
    assert (tmp_path / "batch.pt").stat().st_size < 5_000


def test_an_exported_graph_of_integers_is_loaded_with_its_operators(tmp_path):
    pytest.importorskip("torchao")
    module = quantized(flow("pt2e-static"), models.Tiny(), [VALUES], trains=False)
    eager, fused = built(module, VALUES, tmp_path, "O0", "O1")
    assert (eager.difference, eager.fresh) == (0, 0)
    assert "import torch.ao.quantization.fx._decomposed before loading it" in eager.notes
    assert fused.cause.message.startswith("nothing to fuse")


def test_fusing_folds_normalization_and_leaves_the_model_alone(tmp_path):
    torch.manual_seed(0)
    module, pictures = Convolved().train(), torch.randn(2, 3, 8, 8)
    (row,) = built(module, pictures, tmp_path, "O1")
    assert row.notes == ("1 of 1 normalizations folded", "weights of convolutions channels_last")
    assert 0 <= row.difference < 1e-6
    assert row.fresh == 0
    assert module.training
    assert module.layer.bias is None
    assert module.layer.weight.requires_grad


@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling needs g++")
def test_a_compiled_model_gives_what_eager_gives_and_so_does_its_package(tmp_path):
    rows = built(models.Tiny(), VALUES, tmp_path, "O2", "aoti", fresh=lambda *_: Fresh(difference=None))
    assert [row.artifact for row in rows] == ["exported.pt2", "model.pt2"]
    assert all(row.difference < 1e-6 for row in rows)
    assert all(row.cause is None for row in rows)
    batch = tmp_path / "batch.pt"
    artifact.store_batch(batch, [VALUES], outputs_of(models.Tiny()(VALUES)))
    # Another model's weights are in the batch: the comparison must see that.
    assert here(Artifact(kind="package", path=tmp_path / "model.pt2"), batch).difference > 1e-3


def test_packed_weights_are_stored_as_script_and_their_difference_counts_in_steps(int8, tmp_path):
    eager, fused, compiled = built(int8, VALUES, tmp_path, "O0", "O1", "O2")
    assert (eager.artifact, eager.difference, eager.lsb, eager.fresh) == ("script.pt", 0, 0, 0)
    assert "TorchScript" in eager.notes[0]
    for row, words in ((fused, "nothing to fuse"), (compiled, "weights are packed")):
        assert not row.is_made
        assert row.cause.message.startswith(words)


def test_a_model_with_control_flow_keeps_its_tensors_and_the_cause(tmp_path):
    eager, fused, package = built(models.Branchy(), VALUES, tmp_path, "O0", "O1", "aoti")
    assert (eager.artifact, eager.fresh) == ("state.pt", 0)
    for row in (eager, fused, package):
        assert row.cause.message.startswith("control flow on a tensor")
        assert "if values.sum() > 0:" in row.cause.place
    assert not package.is_made


def test_the_step_of_an_output_is_its_scale_where_it_has_one(int8):
    assert output_step(models.Tiny(), (VALUES,)) is None
    scale = output_step(int8, (VALUES,))
    assert scale == pytest.approx(float(int8.module.layer.scale))
    values = int8(VALUES) / scale
    assert torch.allclose(values, values.round(), atol=1e-4)
    # What ends in float has no grid: its range in 255 steps stands for one.
    softened = nn.Sequential(int8, nn.Softmax(1))
    found = softened(VALUES)
    assert output_step(softened, (VALUES,)) == pytest.approx(float(found.max() - found.min()) / 255)


def test_a_difference_is_in_steps_of_the_output(int8, tmp_path):
    step = output_step(int8, (VALUES,))
    level = Level(
        name="off", summary="by two steps", make=lambda s: Made(run=lambda x: s.module(x) + 2 * step, artifact=None)
    )
    (row,) = built(int8, VALUES, tmp_path, "off", known={"off": level})
    assert row.lsb == pytest.approx(2)
    assert row.fresh is None


def test_a_level_that_cannot_be_made_is_a_row_with_its_cause(tmp_path):
    cause = Cause(message="m", remedy="r")

    def fails(_source):
        raise CannotBeMade(cause)

    rows = built(
        models.Tiny(), VALUES, tmp_path, "x", "O0", known=LEVELS | {"x": Level(name="x", summary="s", make=fails)}
    )
    assert (rows[0].is_made, rows[0].cause, rows[0].size) == (False, cause, None)
    assert rows[1].is_made


def test_a_graph_that_cannot_be_stored_leaves_eager_as_it_is(tmp_path, monkeypatch):
    def fails(_program, _path):
        raise OSError("no space")

    monkeypatch.setattr(compile_source, "save", fails)
    (row,) = built(models.Tiny(), VALUES, tmp_path, "O0")
    assert (row.is_made, row.artifact, row.cause.message) == (True, "state.pt", "OSError: no space")


def test_an_unknown_level_is_named_with_the_known_ones(tmp_path):
    with pytest.raises(
        UnknownLevel, match=r"unknown level 'O9', did you mean 'O\d'\? \(known: O0, O1, O2, O3, aoti, onnx\)"
    ):
        built(models.Tiny(), VALUES, tmp_path, "O9")


def test_onnx_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(compile_onnx, "NEEDED", ("torch", "surely_not_there"))
    (row,) = built(models.Tiny(), VALUES, tmp_path, "onnx")
    assert row.cause.message == "ONNX needs surely_not_there, which is not installed"
    assert "stepbench[onnx]" in row.cause.remedy


def test_a_fresh_process_that_fails_says_why(tmp_path, monkeypatch):
    found = Artifact(kind="state", path=tmp_path / "absent.pt")
    monkeypatch.setattr(artifact.sys, "executable", shutil.which("false"))
    assert artifact.fresh(found, tmp_path / "batch.pt") == Fresh(difference=None, failure="ended with code 1")


def test_differences_are_infinite_where_results_cannot_be_compared():
    one = [torch.zeros(2, dtype=torch.float64)]
    assert difference(one, one) == 0
    assert difference(one, [torch.tensor([0.0, 3.0], dtype=torch.float64)]) == 3
    assert math.isinf(difference(one, []))
    assert math.isinf(difference(one, [torch.zeros(3, dtype=torch.float64)]))
    assert math.isinf(difference([torch.tensor([float("nan")])], [torch.zeros(1)]))


def test_rows_are_cells_notes_and_plain_data(int8, tmp_path):
    rows = built(int8, VALUES, tmp_path, "O0", "O2")
    table = cells(rows)
    assert all(len(row) == len(HEADINGS) for row in table)
    assert table[0][:2] == ["O0", "1.00 s"]
    assert table[0][-1] == "equal"
    assert table[1][1] == "none"
    assert any("weights are packed" in line for line in notes(rows))
    plain = json.loads(json.dumps(document("tiny", rows)))
    assert (plain["kind"], plain["schema"], plain["model"]) == ("compile", 1, "tiny")
    assert plain["levels"][1]["cause"]["remedy"]
    assert str(Path(tmp_path)) not in json.dumps(plain)

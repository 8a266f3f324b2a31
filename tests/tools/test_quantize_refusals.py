"""What the quantize command refuses: in one line, with exit code 2, before anything is trained or lost."""

from __future__ import annotations

import os

import pytest
import torch

from tests.lowbit.pipeline.tiny import make
from tests.tools.quantize_toys import quantizing


@pytest.fixture
def quantize(stepbench, tmp_path, monkeypatch):
    yield from quantizing(stepbench, tmp_path, monkeypatch)


@pytest.fixture
def files(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "text.npz").write_text("this is no archive")
    (tmp_path / "text.pt").write_text("this is no checkpoint")
    torch.save(make(0).state_dict(), tmp_path / "other.pt")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--flow", "kbit-0"], "kbit-0: 0 bits; weights and activations have 2 to 8"),
        (["--flow", "kbit-33"], "kbit-33: 33 bits; weights and activations have 2 to 8"),
        (["--flow", "dorefa-33-4-4"], "33 bits; weights, activations and gradients have 1 to 8, or 32"),
        (["--flow", "kbit8"], "unknown flow 'kbit8'; did you mean 'kbit-8'"),
        (["--flow", "eager-static-x68"], "unknown engine 'x68' in 'eager-static-x68', did you mean 'x86'"),
        (["--calibration", "0"], "calibration has no batch"),
        (["--epochs", "-1"], "epochs=-1: must be 0 or more"),
        (["--optimizer", "adma"], "unknown optimizer 'adma'; must be one of adam, sgd"),
        (["--seeds", "0"], "--seeds 0: must be 1 or more"),
        (["--threads", "0"], "--threads 0: must be 1 or more"),
        (["--seed", "-1"], "seed=-1: must be 0 or more"),
        (["--seed", "99999999999999999999"], "seed=99999999999999999999: must be 2147483647 or less"),
        (["--batch", "0"], "batch=0: must be 2 or more"),
        (["--input-scale", "wide"], "input scale 'wide': must be a positive number, such as 1/128"),
        (["--setting", "hidden"], "--setting hidden: write GLOB=SETTING"),
        (["--setting", "hidden=int8"], "setting hidden=int8: write hidden=float, or bits and options"),
        (["--setting", "hiden=float"], "'hiden' matches no layer"),
        (["--high-precision-output", "fc"], "'fc' matches no layer"),
        (["--data", "digts"], "--data digts: must be digits, or a path to CIFAR-10"),
        (["--data", "text.npz"], "--data text.npz is no .npz of plain arrays"),
        (["--data", "no/such/folder"], "--data no/such/folder does not exist"),
        (["--out", "file/below"], "--out file/below:"),
        (["--json", "no/such/folder/x.json"], "--json no/such/folder/x.json"),
        (["--float", "none.pt"], "none.pt: there is no such file"),
        (["--float", "text.pt"], "text.pt cannot be read as a checkpoint"),
        (["--float", "other.pt"], "the float checkpoint is a checkpoint of another model than Tiny"),
        (["--lr", "1e30"], "lower lr"),
    ],
)
def test_bad_input_is_one_line_exit_code_2_and_loses_nothing(quantize, files, arguments, says):
    before = {path: path.read_bytes() for path in files.rglob("*") if path.is_file()}
    code, out, err = quantize(*arguments)
    assert (code, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1
    for path, content in before.items():
        assert path.read_bytes() == content


def test_an_unknown_flow_leaves_no_folder_behind(quantize, tmp_path):
    assert quantize(flow="../../kbit-8")[0] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.py"]


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("tinny", "unknown model 'tinny', did you mean 'tiny'"),
        ("flat", "model flat must take pictures [2, 3, 32, 32] and give logits [2, 10]: mat1 and mat2 shapes"),
        ("broken", "returned NoneType; return a bench.Workload"),
    ],
)
def test_a_model_that_cannot_be_is_one_line(quantize, model, says):
    code, out, err = quantize(model=model)
    assert (code, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("flow", ["fx-static-x86", "eager-static-x86", "f8net"])
def test_a_model_that_cannot_be_traced_is_one_line_before_anything_is_trained(quantize, tmp_path, flow):
    code, out, err = quantize("--qat-epochs", "0", model="branchy", flow=flow)
    assert (code, out) == (2, "")
    assert "Branchy" in err
    assert "traced" in err
    assert err.count("\n") == 1
    assert not list((tmp_path / "quantized").rglob("*.pt"))


def test_a_checkpoint_of_another_run_is_refused_and_stays(quantize, tmp_path):
    assert quantize("--out", "kept")[0] == 0
    before = {path: path.read_bytes() for path in (tmp_path / "kept").rglob("*") if path.is_file()}
    code, _, err = quantize("--out", "kept", flow="kbit-8")
    assert code == 2
    assert "checkpoint of another run: flow kbit-4 there, kbit-8 here; start afresh (--fresh)" in err
    assert {path: path.read_bytes() for path in (tmp_path / "kept").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--float", "other.pt"], "is a checkpoint of another model"),
        (["--data", "/no/such/folder"], "--data /no/such/folder does not exist"),
        (["--flow", "fx-static-x86", "--qat-epochs", "2"], "flow fx-static-x86 cannot be trained"),
        (["--flow", "fx-static-x86-qint8", "--qat-epochs", "0"], "0 of 4 layers are quantized"),
        # The digits of another seed are split otherwise.
        (["--float", "kept/seed-0/float.pt", "--seeds", "2"], "was trained on other pictures"),
    ],
)
def test_what_stands_there_outlives_a_fresh_run_that_is_refused(quantize, files, arguments, says):
    assert quantize("--out", "kept")[0] == 0
    before = {path: path.read_bytes() for path in files.rglob("*") if path.is_file()}
    code, out, err = quantize("--out", "kept", "--fresh", *arguments)
    assert (code, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1
    assert {path: path.read_bytes() for path in files.rglob("*") if path.is_file()} == before


def test_threads_that_cannot_be_are_refused_before_torch_is_told_of_them(quantize):
    assert quantize("--threads", "0")[0] == 2
    assert (os.environ["OMP_NUM_THREADS"], os.environ["MKL_NUM_THREADS"]) == ("1", "1")


def test_a_recipe_that_quantizes_nothing_is_refused_before_anything_is_trained(quantize, tmp_path):
    code, out, err = quantize("--qat-epochs", "0", flow="fx-static-x86-qint8")
    assert (code, out) == (2, "")
    assert err.startswith("error: tiny, fx-static-x86-qint8: 0 of 4 layers are quantized, this is the float model: no ")
    assert err.count("\n") == 1
    assert not list((tmp_path / "quantized").rglob("*.pt"))

"""The quantize command on real files and processes, with a model that is trained in a blink."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from lowbit.pipeline.run import CHECKPOINT
from tests.lowbit.pipeline.tiny import make, same

PLUGIN = """
import torch
from bench import Workload

class Tiny(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 8, 3, stride=4)
        self.middle = torch.nn.Conv2d(8, 16, 3, stride=2)
        self.hidden, self.classifier = torch.nn.Linear(16, 16), torch.nn.Linear(16, 10)

    def forward(self, pictures):
        x = torch.relu(self.middle(torch.relu(self.stem(pictures)))).mean((2, 3))
        return self.classifier(torch.relu(self.hidden(x)))

class Branchy(Tiny):
    def forward(self, pictures):
        return super().forward(pictures if pictures.sum() > 0 else -pictures)

def register(registry):
    @registry.model("branchy")
    def branchy(device, dtype, seed):
        return Workload(module=Branchy(), loss=torch.nn.functional.cross_entropy)

    @registry.model("tiny")
    def tiny(device, dtype, seed):
        torch.manual_seed(seed)
        return Workload(module=Tiny(), loss=torch.nn.functional.cross_entropy)

    @registry.model("flat")
    def flat(device, dtype, seed):
        return Workload(module=torch.nn.Linear(5, 10), loss=torch.nn.functional.cross_entropy)

    @registry.model("broken")
    def broken(device, dtype, seed):
        return None
"""
QUICK = ("--epochs", "1", "--qat-epochs", "1", "--batch", "128", "--lr", "0.01", "--calibration", "64")


@pytest.fixture
def quantize(stepbench, tmp_path, monkeypatch):
    """Runs the command on the tiny model in an empty folder."""
    (tmp_path / "tiny.py").write_text(PLUGIN)
    # The command sets these for its own process, which is over then.
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")

    def run(*arguments, model="tiny", flow="kbit-4", quick=QUICK):
        return stepbench("quantize", model, "--flow", flow, "--plugin", "tiny.py", *quick, *arguments)

    threads = torch.get_num_threads()
    yield run
    torch.set_num_threads(threads)


def test_a_run_prints_its_trail_and_keeps_it(quantize, tmp_path):
    code, out, err = quantize("--json", "out.json", "--markdown", "out.md")
    assert code == 0, err
    assert "tiny, kbit-4: 2 of 4 layers quantized; digits, 1,347 training and 450 test images; seed 0" in out
    for stage in ("float 1", "calibration", "qat 1", "deployed"):
        assert f"\n{stage}" in out
    assert "\x1b" not in out
    assert err == "stored: quantized/tiny-kbit-4\n"
    stored = json.loads((tmp_path / "out.json").read_text())
    assert (stored["kind"], stored["schema"], len(stored["runs"])) == ("trail", 1, 1)
    assert str(tmp_path) not in json.dumps(stored)
    assert "| deployed |" in (tmp_path / "out.md").read_text()
    folder = tmp_path / "quantized/tiny-kbit-4"
    assert (folder / "trail.json").read_text() == (tmp_path / "out.json").read_text()
    assert sorted(path.name for path in (folder / "seed-0").iterdir()) == ["checkpoint.pt", "deployed.pt", "float.pt"]
    for path in (folder / "seed-0").iterdir():
        torch.load(path, weights_only=True)


def test_what_is_there_is_shown_and_not_done_again_but_with_fresh(quantize, tmp_path):
    first = quantize()
    checkpoint = tmp_path / "quantized/tiny-kbit-4/seed-0" / CHECKPOINT
    before = checkpoint.stat().st_mtime_ns
    assert quantize() == first
    assert checkpoint.stat().st_mtime_ns == before
    assert quantize("--fresh") == first
    assert checkpoint.stat().st_mtime_ns > before


def test_several_seeds_are_means_with_intervals(quantize, tmp_path):
    code, out, _ = quantize("--seeds", "2", "--seed", "3", "--out", "kept")
    assert code == 0
    assert "; seeds 3 to 4;" in out
    assert "Means over 2 seeds" in out
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["seed-3", "seed-4", "trail.json", "trail.md"]


def test_a_float_checkpoint_is_where_another_flow_starts(quantize):
    assert quantize()[0] == 0
    given = ("--float", "quantized/tiny-kbit-4/seed-0/float.pt", *QUICK[2:])
    code, out, err = quantize(*given, flow="kbit-8-all-layers", quick=())
    assert code == 0, err
    assert "\nfloat  " in out
    code, _, err = quantize(*given, "--seed", "1", flow="kbit-8", quick=())
    assert code == 2
    assert "was trained on other pictures" in err


def test_the_input_of_a_camera_with_settings_of_modules_and_a_wide_output(quantize, tmp_path):
    code, out, err = quantize(
        "--yuv", "--input-scale", "1/128", "--setting", "mid*=w4a8-per-tensor", "--setting", "hidden=float",
        "--high-precision-output", "classifier", "--optimizer", "sgd",
    )  # fmt: skip
    assert code == 0, err
    assert "digits, centred YUV, 1,347" in out
    state = torch.load(tmp_path / "quantized/tiny-kbit-4/seed-0/deployed.pt", weights_only=True)["module"]
    assert state["0.scale"] == 1 / 128
    assert int(state["1.middle.codes"].abs().max()) == 7
    assert state["1.classifier.bias_codes"].dtype == torch.int32
    assert "1.hidden.weight" in state


def test_cifar_10_comes_from_a_path_that_is_kept_to_itself(quantize, tmp_path):
    generator = np.random.default_rng(0)
    arrays = {
        f"{part}_{kind}": generator.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
        if kind == "images"
        else np.arange(count) % 10
        for part, count in (("train", 160), ("test", 40))
        for kind in ("images", "labels")
    }
    np.savez(tmp_path / "my-set.npz", **arrays)
    code, out, err = quantize("--data", "my-set.npz", "--batch", "32")
    assert code == 0, err
    assert "cifar-10 subset of 200 images, 160 training and 40 test images" in out
    assert "my-set" not in (tmp_path / "quantized/tiny-kbit-4/trail.json").read_text()


def test_interrupting_keeps_the_last_epoch_and_says_how_to_go_on(quantize, monkeypatch, tmp_path):
    from lowbit.pipeline import training

    calls = []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(*arguments)

    original = training.train_epoch
    monkeypatch.setattr(training, "train_epoch", interrupted)
    code, out, err = quantize("--qat-epochs", "2", "--out", "a folder", "--fresh")
    assert code == 130
    assert "\nqat 1" in out
    assert "qat 2" not in out
    command = err.partition("go on with: stepbench quantize ")[2]
    assert command.startswith("tiny --flow kbit-4 --epochs 1 --qat-epochs 2 --calibration 64")
    assert "--out 'a folder'" in command
    assert "--fresh" not in command
    code, out, _ = quantize("--qat-epochs", "2", "--out", "a folder")
    assert code == 0
    assert "\nqat 2" in out
    assert len(calls) == 4


def test_kill_9_loses_nothing_that_was_finished(quantize, tmp_path):
    """The process is killed once its first checkpoint stands; the command then goes on to the same bits."""
    given = ("--epochs", "3")
    process = subprocess.Popen(
        [
            sys.executable, "-m", "stepbench", "quantize", "tiny", "--flow", "kbit-4", "--plugin", "tiny.py", *QUICK,
            *given, "--out", "killed",
        ],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    checkpoint = tmp_path / "killed/seed-0" / CHECKPOINT
    while process.poll() is None and not checkpoint.exists():
        time.sleep(0.01)
    process.kill()
    assert process.wait() in {-signal.SIGKILL, 0}
    assert quantize(*given, "--out", "killed")[0] == quantize(*given, "--out", "whole")[0] == 0
    states = [torch.load(tmp_path / name / "seed-0/deployed.pt", weights_only=True) for name in ("killed", "whole")]
    assert same(states[0]["module"], states[1]["module"])
    trails = [(tmp_path / name / "trail.json").read_text() for name in ("killed", "whole")]
    assert trails[0] == trails[1]


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
        (["--threads", "0"], "threads=0: must be 1 or more"),
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


def test_a_recipe_that_quantizes_nothing_says_so_in_the_heading_and_below(quantize):
    code, out, _ = quantize("--qat-epochs", "0", flow="fx-static-x86-qint8")
    assert code == 0
    assert "fx-static-x86-qint8: 0 of 4 layers quantized" in out
    assert "[1] 0 of 4 layers are quantized, this is the float model" in out


def test_a_checkpoint_of_another_run_is_refused_and_stays(quantize, tmp_path):
    assert quantize("--out", "kept")[0] == 0
    before = {path: path.read_bytes() for path in (tmp_path / "kept").rglob("*") if path.is_file()}
    code, _, err = quantize("--out", "kept", flow="kbit-8")
    assert code == 2
    assert "checkpoint of another run: flow kbit-4 there, kbit-8 here; start afresh (--fresh)" in err
    assert {path: path.read_bytes() for path in (tmp_path / "kept").rglob("*") if path.is_file()} == before

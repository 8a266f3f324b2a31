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

from lowbit.pipeline import training
from lowbit.pipeline.run import CHECKPOINT
from tests.lowbit.pipeline.tiny import same
from tests.tools.quantize_toys import QUICK, quantizing


@pytest.fixture
def quantize(stepbench, tmp_path, monkeypatch):
    yield from quantizing(stepbench, tmp_path, monkeypatch)


def test_a_run_prints_its_trail_and_keeps_it(quantize, tmp_path):
    code, out, err = quantize("--json", "out.json", "--markdown", "out.md")
    assert code == 0, err
    assert "tiny, kbit-4: 2 of 4 layers quantized; digits, 1,347 training and 450 test images; seed 0" in out
    for stage in ("float 1", "calibration", "qat 1", "deployed"):
        assert f"\n{stage}" in out
    assert "\x1b" not in out
    assert err == "stored: quantized/tiny-kbit-4\n"
    assert "; 64 calibration examples" in out
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
    code, out, err = quantize("--data", "my-set.npz", "--batch", "32", "--calibration", "1000")
    assert code == 0, err
    assert "cifar-10 subset of 200 images, 160 training and 40 test images" in out
    assert "; 160 of 1000 asked calibration examples" in out
    assert "my-set" not in (tmp_path / "quantized/tiny-kbit-4/trail.json").read_text()


def interrupted_at(call, monkeypatch):
    calls, original = [], training.train_epoch

    def train_epoch(*arguments):
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(training, "train_epoch", train_epoch)
    return calls


def test_interrupting_keeps_the_last_epoch_and_says_how_to_go_on(quantize, monkeypatch, tmp_path):
    calls = interrupted_at(3, monkeypatch)
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


@pytest.mark.parametrize(("call", "starts_over"), [(1, True), (2, True), (3, True), (4, False)])
def test_what_an_interrupted_fresh_run_has_not_come_to_is_not_gone_on_with(quantize, monkeypatch, call, starts_over):
    seeds = ("--seeds", "2", "--out", "kept")
    assert quantize(*seeds)[0] == 0
    interrupted_at(call, monkeypatch)
    code, _, err = quantize(*seeds, "--fresh")
    assert code == 130
    assert ("; start over with: " in err, err.endswith("--fresh --plugin tiny.py\n")) == (starts_over, starts_over)


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

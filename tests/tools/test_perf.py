from __future__ import annotations

import json

import pytest

from tests.tools.conftest import EXAMPLE

QUICK = ("--budget", "0.2", "--data", "synthetic")
PEAKS = {"peak": {"float32": 1e11, "int8": 4e11}, "bandwidth": 1e10}


@pytest.fixture(autouse=True)
def machine(monkeypatch, tmp_path):
    """Peaks that were measured before: the tests are not about this machine."""
    from lowbit.deploy import roofline

    monkeypatch.setenv("STEPBENCH_CACHE", str(tmp_path / "cache"))
    found = roofline.Machine(**PEAKS)
    monkeypatch.setattr(roofline, "measure", lambda *_: found)


def test_a_model_of_a_users_file_has_its_layers_and_its_figures(stepbench, tmp_path):
    files = [tmp_path / name for name in ("found.json", "found.md", "found.html")]
    written = [
        word for name, path in zip(("json", "markdown", "html"), files, strict=True) for word in (f"--{name}", path)
    ]
    code, out, _ = stepbench("perf", "mlp@batch=8", "--plugin", EXAMPLE, *QUICK, *written)
    assert code == 0
    assert "Linear" in out
    assert "FPS" in out
    assert "1 thread; torch" in out
    assert "by: what sets the bound" in out
    run = json.loads(files[0].read_text())["runs"][0]
    assert run["variant"] == "mlp/none/none@batch=8"
    assert run["summary"]["operations"] == 2 * 8 * 3072 * 10
    assert run["summary"]["fps"] == 8 / run["summary"]["latency"]["center"]
    assert "| 1 | Linear |" in files[1].read_text()
    assert "<!doctype html>" in files[2].read_text()


def test_a_float_model_and_its_integers_stand_beside_each_other(stepbench, tmp_path):
    path = tmp_path / "found.json"
    variants = ("resnet20/none/fx-static-x86@batch=2", "resnet20/none/none@batch=2")
    code, out, _ = stepbench("perf", *variants, *QUICK, "--json", path)
    assert code == 0
    rows = {line.split()[0]: line.split() for line in out.splitlines() if line.strip()}
    assert rows["norm1a"][1] == "—"
    assert rows["conv1a"][4] == rows["conv1a"][5]
    fused, whole = (run["summary"] for run in json.loads(path.read_text())["runs"])
    assert fused["operations"] == whole["operations"]
    assert fused["weight_bytes"] <= 0.3 * whole["weight_bytes"]


def test_a_target_predicts_what_is_not_at_hand(stepbench, tmp_path):
    target = tmp_path / "chip.json"
    target.write_text('{"name": "chip", "peak": {"float32": 1e9}, "bandwidth": 1e9}')
    code, out, _ = stepbench("perf", "mlp@batch=8", "--plugin", EXAMPLE, *QUICK, "--target", target)
    assert code == 0
    assert "predicted on chip" in out
    target.write_text('{"name": "chip", "peak": {"int8": 1e9}, "bandwidth": 1e9}')
    code, _, err = stepbench("perf", "mlp@batch=8", "--plugin", EXAMPLE, *QUICK, "--target", target)
    assert (code, err.count("\n")) == (2, 1)
    assert "no peak for float32, which layer '1' needs" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["resnet20/sgd/none"], "this is of inference; write resnet20/none/none"),
        (["resnet2"], "did you mean 'resnet20'"),
        (["resnet20"] * 3, "3 variants"),
        (["resnet20", "resnet20@threads=2"], "threads=1 and 2"),
        (["resnet20", "--budget", "0"], "must be more than 0"),
        (["resnet20", "--target", "missing.json"], "No such file"),
        (["resnet20@"], "ends after '@'"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_to_do(stepbench, arguments, words):
    code, _, err = stepbench("perf", *arguments)
    assert (code, err.count("\n")) == (2, 1)
    assert words in err


def test_peaks_are_kept_until_they_are_measured_again(stepbench, monkeypatch):
    from lowbit.deploy import roofline

    arguments = ("perf", "mlp", "--plugin", EXAMPLE, *QUICK)
    assert stepbench(*arguments)[0] == 0
    monkeypatch.setattr(roofline, "measure", lambda *_: roofline.Machine(peak={"float32": 7e9}, bandwidth=1e9))
    assert "float32 100 Gop/s" in stepbench(*arguments)[1]
    assert "float32 7.00 Gop/s" in stepbench(*arguments, "--fresh")[1]
    assert "float32 7.00 Gop/s" in stepbench(*arguments)[1]


def test_a_model_that_raises_is_a_variant_that_failed(stepbench, tmp_path):
    plugin = tmp_path / "broken.py"
    plugin.write_text(
        "import torch\n"
        "from bench import Workload\n"
        "class Broken(torch.nn.Module):\n"
        "    def forward(self, pictures):\n"
        "        raise ValueError('as planned')\n"
        "def register(registry):\n"
        "    @registry.model('broken')\n"
        "    def broken(device, dtype, seed):\n"
        "        return Workload(module=Broken(), loss=torch.nn.functional.cross_entropy)\n"
    )
    code, _, err = stepbench("perf", "broken", "--plugin", plugin, *QUICK)
    assert code == 3
    assert err.splitlines()[-1] == "failed: broken/none/none: ValueError: as planned"
    assert "line 5, in forward" in err

"""The deploy command on real files, with a model that is compiled nowhere: levels have tests of their own."""

from __future__ import annotations

import json

import pytest
import torch

from lowbit.deploy import compile_levels
from lowbit.deploy.artifact import Fresh

pytestmark = pytest.mark.slow

PLUGIN = """
import torch
from bench import Workload

class Tiny(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 8, 3, stride=8)
        self.classifier = torch.nn.Linear(8, 10)

    def forward(self, pictures):
        return self.classifier(torch.relu(self.stem(pictures)).mean((2, 3)))

class Branchy(Tiny):
    def forward(self, pictures):
        return super().forward(pictures if pictures.sum() > 0 else -pictures)

def register(registry):
    for name, kind in (("tiny", Tiny), ("branchy", Branchy)):
        def model(device, dtype, seed, kind=kind):
            torch.manual_seed(seed)
            return Workload(module=kind(), loss=torch.nn.functional.cross_entropy)
        registry.model(name)(model)
"""
KEPT = ["check.json", "check.txt", "graph.svg", "levels.json", "levels.txt", "performance.html", "performance.json"]


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    """No second process, and peaks of the machine that were measured before."""
    from lowbit.deploy import compile as compile_
    from lowbit.deploy import roofline

    (tmp_path / "tiny.py").write_text(PLUGIN)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("STEPBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(roofline, "measure", lambda *_: roofline.Machine(peak={"float32": 1e11}, bandwidth=1e10))
    monkeypatch.setitem(compile_.build.__kwdefaults__, "fresh", lambda *_: Fresh(difference=0.0))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def deploy(stepbench):
    return lambda *words: stepbench("deploy", *words, "--plugin", "tiny.py", "--data", "synthetic", "--budget", "0.1")


def test_a_model_is_checked_made_timed_and_drawn(deploy, tmp_path, monkeypatch):
    eager = compile_levels.LEVELS["O0"]
    # Compiling is the compiler's business; here eager stands for it.
    monkeypatch.setitem(compile_levels.LEVELS, "O2", eager)
    code, out, err = deploy("tiny@batch=2")
    assert code == 0
    assert "\nPASS\n" in out
    assert "levels" in out
    assert "FPS" in out
    assert err == "stored: deployed/tiny-none-none@batch=2\n"
    folder = tmp_path / "deployed/tiny-none-none@batch=2"
    assert sorted(path.name for path in folder.iterdir()) == sorted([*KEPT, "exported.pt2", "fused.pt2"])
    for name, kind in (("check", "check"), ("levels", "compile"), ("performance", "performance")):
        assert json.loads((folder / f"{name}.json").read_text())["kind"] == kind
    assert (folder / "graph.svg").read_text().startswith("<svg")
    assert "% of all layers" in (folder / "graph.svg").read_text()
    assert str(tmp_path) not in (folder / "check.json").read_text()


def test_a_failed_check_names_the_line_of_the_users_file(deploy, tmp_path):
    code, out, err = deploy("branchy", "--check")
    assert code == 3
    assert (
        "at tiny.py:16 in forward: return super().forward(pictures if pictures.sum() > 0 else -pictures)"
        in " ".join(out.split())
    )
    assert err == ""
    assert not (tmp_path / "deployed").exists()


def test_a_picture_alone_is_one_file(deploy, tmp_path):
    code, out, err = deploy("tiny/none/kbit-8-all-layers", "--svg", "graph.svg")
    assert (code, err) == (0, "stored: graph.svg\n")
    assert "tiny/none/kbit-8-all-layers" in out
    assert "quantized region" in (tmp_path / "graph.svg").read_text()
    assert not (tmp_path / "deployed").exists()


def test_levels_alone_are_made_where_it_is_said(deploy, tmp_path):
    code, out, _ = deploy("tiny", "--levels", "O0", "--out", "here")
    assert code == 0
    assert "exported.pt2" in out
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == ["exported.pt2", "levels.json", "levels.txt"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tiny", "--levels", "O7"], "--levels O7: unknown level 'O7', did you mean 'O"),
        (["tiny@compiled=true"], "leave compiled=true away; levels O2 and O3 compile the model"),
        (["tiny/sgd"], "this is of inference; write tiny/none/none"),
        (["tiny", "--svg", "."], "is a folder"),
        (["tini"], "did you mean 'tiny'?"),
    ],
)
def test_a_mistake_is_one_line(deploy, words, message):
    code, out, err = deploy(*words)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_the_pipeline_ends_in_a_deployed_model(stepbench, tmp_path):
    words = ("--epochs", "1", "--qat-epochs", "0", "--batch", "128", "--calibration", "64", "--plugin", "tiny.py")
    code, out, err = stepbench(
        "quantize", "tiny", "--flow", "kbit-8-all-layers", *words, "--deploy", "there", "--levels", "O0"
    )
    assert code == 0, err
    assert "\ndeployed" in out
    assert "tiny, kbit-8-all-layers, torch" in out
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == sorted([*KEPT, "exported.pt2"])
    plain = json.loads((tmp_path / "there/performance.json").read_text())
    assert plain["runs"][0]["summary"]["frames"] == 128


def test_levels_without_deploy_are_refused_before_anything_is_trained(stepbench):
    code, _, err = stepbench("quantize", "tiny", "--flow", "kbit-8", "--levels", "O0", "--plugin", "tiny.py")
    assert code == 2
    assert "give --deploy DIR as well" in err

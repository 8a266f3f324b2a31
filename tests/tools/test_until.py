from __future__ import annotations

import json

import pytest

from bench.store.jsonl import scan_lines
from bench.store.targets import decode
from tests.trainings import mixed

PLUGIN = """
import torch
from bench import Workload
from bench.plugin import HeldOut

def sample(batch, generator):
    targets = torch.randint(2, (batch,), generator=generator)
    return torch.nn.functional.one_hot(targets, 2).float(), targets

def held_out(seed):
    return HeldOut(train=sample, test=sample(64, torch.Generator().manual_seed(seed)))

def register(registry):
    registry.data("easy", held_out=held_out)(lambda: sample)

    @registry.model("toy")
    def toy(device, dtype, seed):
        torch.manual_seed(seed)
        return Workload(module=torch.nn.Linear(2, 2), loss=torch.nn.functional.cross_entropy)
"""
EASY = ("--plugin", "toy.py", "--data", "easy", "--batch", "8")


@pytest.fixture
def toy(tmp_path):
    (tmp_path / "toy.py").write_text(PLUGIN)


def test_variants_are_trained_from_file_to_table(stepbench, toy, tmp_path):
    code, out, err = stepbench(
        "measure", "toy/sgd", "toy/adamw", *EASY, "--until", "accuracy=0.9", "--seeds", "1", "--rates", "0.1",
        "--json", "out.json", "--markdown", "out.md",
    )  # fmt: skip
    assert code == 0, err
    assert "1 of 1" in out
    assert "stored: results/target/" in err
    assert stepbench("report", "results/target") == (0, out, "")
    records, damaged = scan_lines([tmp_path / "results/target"], decode)
    assert damaged == ()
    assert [(str(each.training.variant), each.training.seed) for each in records] == [
        ("toy/sgd/none@batch=8", 1), ("toy/adamw/none@batch=8", 1),
    ]  # fmt: skip
    (table,) = json.loads((tmp_path / "out.json").read_text())["tables"]
    assert table["rows"][1]["step_ratio"]["center"] > 0
    assert "| `toy/sgd/none@batch=8` | 0.1 | 1 of 1 |" in (tmp_path / "out.md").read_text()


@pytest.fixture
def trained(monkeypatch):
    """Stands in for training: yields what was made up, and then does as it is told."""
    from stepbench import until

    def play(records, ending=None):
        def train(run, variants, progress):
            yield from records
            if ending is not None:
                raise ending

        monkeypatch.setattr(until.target, "train", train)

    return play


def test_interrupting_keeps_what_is_finished_and_shows_it(stepbench, toy, trained, tmp_path):
    trained(mixed()[:6], KeyboardInterrupt())
    code, out, err = stepbench("measure", "toy/sgd", *EASY, "--until", "accuracy=0.9")
    assert code == 130
    assert "interrupted: 6 trainings were finished and are kept" in err
    assert "toy/sgd/none@batch=8" in out
    assert len(scan_lines([tmp_path / "results/target"], decode)[0]) == 6


def test_a_training_that_fails_is_exit_code_3_and_the_folder_is_the_one_that_was_named(
    stepbench, toy, trained, tmp_path
):
    trained(mixed())
    code, out, _ = stepbench("measure", "toy/sgd", *EASY, "--until", "accuracy=0.9", "--results", "elsewhere")
    assert code == 3
    assert "failed: ValueError: no luck" in out
    assert list((tmp_path / "elsewhere").rglob("*.jsonl"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--until", "accuracy"], "write accuracy=SHARE"),
        (["--until", "loss=1"], "unknown target 'loss'"),
        (["--until", "accuracy=0.9", "--seeds", "0"], "seeds 0: must be 1 or more"),
        (["--until", "accuracy=0.9", "--rates", "a,b"], "--rates a,b: write learning rates with commas between"),
        (["--until", "accuracy=0.9", "--rates", "0"], "must be numbers above 0"),
        (["--until", "accuracy=0.9", "--budget", "3"], "--budget: has no meaning with --until"),
        (["--until", "accuracy=0.9", "--format", "seed"], "--format: has no meaning with --until"),
        (["--until", "accuracy=0.9", "--json", "no/such/x"], "No such file or directory"),
        (["--limit-steps", "5"], "--limit-steps: belongs to --until accuracy=SHARE"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(stepbench, toy, arguments, says):
    code, out, err = stepbench("measure", "toy/sgd", *EASY, *arguments)
    assert (code, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1


def test_inference_is_no_training(stepbench, toy):
    code, _, err = stepbench("measure", "toy/none/none", *EASY, "--until", "accuracy=0.9")
    assert code == 2
    assert "has no optimizer" in err

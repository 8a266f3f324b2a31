from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest

from bench.store.jsonl import scan
from tests.tools.conftest import EXAMPLE, ROOT

OURS = ("--plugin", EXAMPLE, "--budget", "0.2")


def test_the_example_of_the_docs_is_measured_from_file_to_table(stepbench, quick, tmp_path):
    code, out, err = stepbench(
        "measure", "mlp/my-sgd/none", *OURS, "--json", "out.json", "--markdown", "out.md", "--baseline", "my-sgd"
    )
    assert code == 0, err
    assert "my-sgd" in out
    assert "stored: results/records/" in err
    records, damaged = scan([tmp_path / "results/records"])
    assert damaged == ()
    (record,) = records
    measurement = record.measurement
    assert str(measurement.variant) == "mlp/my-sgd/none"
    assert [replicate.worker for replicate in measurement.replicates] in ([0, 1], [1, 0])
    assert measurement.counters.values["forward.operations"] == 3
    assert set(record.sources) == {"model:mlp", "optimizer:my-sgd"}
    assert json.loads((tmp_path / "out.json").read_text())["kind"] == "report"
    assert "my-sgd" in (tmp_path / "out.md").read_text()

    code, again, _ = stepbench("report", "--baseline", "my-sgd")
    assert code == 0
    assert again == out


def test_the_seed_format_prints_lines_only(stepbench, quick):
    code, out, _ = stepbench("measure", "mlp/my-sgd/none", "mlp/sgd/none", *OURS, "--format", "seed")
    assert code == 0
    lines = out.splitlines()
    assert [line.split(",")[0] for line in lines] == [
        "Model: mlp Optimizer: sgd Batch Size: 1",
        "Model: mlp Optimizer: my_sgd Batch Size: 1",
    ]


def test_inference_has_a_forward_phase_only(stepbench, quick, tmp_path):
    assert stepbench("measure", "mlp/none/none", *OURS)[0] == 0
    ((record,), _) = scan([tmp_path / "results/records"])
    assert set(record.measurement.replicates[0].samples) == {
        "zero_grad", "zero_grad.cpu", "forward", "forward.cpu", "step", "step.cpu",
    }  # fmt: skip


def test_a_variant_that_fails_is_exit_code_3_and_loses_no_other(stepbench, quick, tmp_path):
    (tmp_path / "bad.py").write_text(
        "def register(registry):\n"
        "    @registry.optimizer('bad')\n"
        "    def bad(module):\n"
        "        raise ValueError('no luck')\n"
    )
    code, out, _ = stepbench("measure", "mlp/bad/none", "mlp/my-sgd/none", *OURS, "--plugin", "bad.py")
    assert code == 3
    assert "ValueError: no luck" in out
    records, _ = scan([tmp_path / "results/records"])
    assert [bool(record.measurement.failure) for record in records] == [True, False]


@pytest.fixture
def files(tmp_path):
    (tmp_path / "raises.py").write_text("raise RuntimeError('full moon')")
    (tmp_path / "taken.py").write_text(
        "def register(registry):\n    @registry.optimizer('sgd')\n    def sgd(module): ...\n"
    )
    (tmp_path / "text.npz").write_text("this is no archive")
    (tmp_path / "file").write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["resnet2/sgd/none"], "unknown model 'resnet2', did you mean 'resnet20'"),
        (["resnet20/evaa/none"], "unknown optimizer 'evaa', did you mean 'eva'"),
        (["resnet20/sgd/none@bacth=1"], "unknown axis 'bacth', did you mean 'batch'"),
        (["resnet20/sgd/none", "--batch", "0"], "batch=0: must be 1 or more"),
        (["resnet20/sgd/none/1"], "write model, model/optimizer or model/optimizer/quantization"),
        (["--set", "pt", "--catalog", ROOT / "suites/catalog.py"], "unknown set 'pt', did you mean 'pr'"),
        (["resnet20/sgd/none", "--plugin", "raises.py"], "RuntimeError: full moon"),
        (["resnet20/sgd/none", "--plugin", "taken.py"], "optimizer 'sgd' is registered twice"),
        (["resnet20/sgd/none", "--plugin", "none.py"], "there is no such file"),
        (["resnet20/sgd/none", "--results", "file/below"], "file/below"),
        (["resnet20/sgd/none", "--data", "text.npz"], "text.npz"),
        (["resnet20/sgd/none", "--data", "didgits"], "unknown data source 'didgits', did you mean 'digits'"),
        (["resnet20/sgd/none", "--workers", "0"], "workers 0: must be 1 or more"),
        (["resnet20/sgd/none", "--budget", "-1"], "must be a positive number of seconds"),
        (["resnet20/sgd/none", "--json", "no/such/folder/x.json"], "No such file or directory"),
        (["resnet20/sgd/none", "--baseline", "sgdd"], "unknown optimizer 'sgdd', did you mean 'sgd'"),
        ([], "there is no suites/catalog.py here"),
    ],
)
def test_bad_input_is_one_line_exit_code_2_and_loses_nothing(stepbench, quick, files, arguments, says):
    before = {path: path.read_bytes() for path in files.rglob("*") if path.is_file()}
    code, out, err = stepbench("measure", *arguments)
    assert (code, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1
    for path, content in before.items():
        assert path.read_bytes() == content


def test_a_glob_that_matches_nothing_is_exit_code_4(stepbench, quick):
    assert stepbench("measure", "z*/sgd/none")[0] == 4


def test_kill_9_half_way_keeps_the_finished_rows(tmp_path):
    """The measuring process is killed as soon as its first record is stored; that record reads back."""
    process = subprocess.Popen(
        [
            sys.executable, "-m", "stepbench", "measure", "mlp/my-sgd/none", "mlp/sgd/none", "mlp/sgd/none@batch=512",
            "--plugin", str(EXAMPLE), "--budget", "0.5",
        ],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while process.poll() is None and not any(file.stat().st_size for file in (tmp_path / "results").rglob("*.jsonl")):
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    records, _ = scan([tmp_path / "results/records"])
    assert 1 <= len(records) < 3
    assert all(len(record.measurement.replicates) == record.measurement.protocol.replicates for record in records)


def test_interrupting_keeps_the_finished_rows_and_shows_them(stepbench, quick, monkeypatch):
    from stepbench import measure

    def one_and_stop(run, variants, progress):
        yield next(iterator := original(run, variants, progress))
        iterator.close()
        raise KeyboardInterrupt

    original = measure.schedule.measure
    monkeypatch.setattr(measure.schedule, "measure", one_and_stop)
    code, out, err = stepbench("measure", "mlp/my-sgd/none", "mlp/sgd/none", *OURS)
    assert code == 130
    assert "1 of 2 variants finished" in err
    assert "mlp" in out

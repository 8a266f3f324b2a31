"""The suite for pytest-benchmark, in a process of its own, as a user starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from suites.catalog import REFUSED, SETS
from tests.tools.conftest import ROOT

SAMPLES = [0.25, 1e-9, 1 / 3]
# A plug-in of pytest that stands in for what measures: nothing here waits for a step.
FAKE = f"""
import bench

bench.supports = lambda variant, protocol: "eva-8bit-cpu" not in variant


def sample(variant, metric):
    if "eva-8bit" in variant:
        raise RuntimeError("this variant fails")
    return [2.5] if metric == "loss" else {SAMPLES}


bench.sample = sample
"""


def start(*arguments, folder, **environment):
    command = [sys.executable, "-m", "pytest", "suites/pytest_steps", "-p", "no:cacheprovider", "-q", *arguments]
    # Run by a worker of xdist, pytest-benchmark would think that this one is such a worker too.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    settings = inherited | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"} | environment
    return subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, check=False)


def test_rounds_are_our_samples_and_extra_info_says_what_they_are_of(tmp_path):
    (tmp_path / "fake_bench.py").write_text(FAKE)
    path = tmp_path / "out.json"
    done = start("-p", "fake_bench", "--set", "smoke", f"--benchmark-json={path}", folder=tmp_path)
    assert "8 passed, 4 skipped" in done.stdout, done.stdout + done.stderr
    assert "4 failed" in done.stdout
    document = json.loads(path.read_text())
    names = {(item["extra_info"]["variant"], item["extra_info"]["phase"]) for item in document["benchmarks"]}
    variants = ("autoencoder/sgd/none", "autoencoder/eva/none")
    assert names == {(variant, phase) for variant in variants for phase in ("forward", "backward", "optimize", "step")}
    for item in document["benchmarks"]:
        assert item["stats"]["data"] == SAMPLES
        assert item["options"]["timer"] == "replayed"
        assert item["extra_info"]["quality"] == {"loss": 2.5, "steps": 10, "seed": 0}
        assert item["extra_info"]["environment"]["threads"] == 1
        assert item["extra_info"]["protocol"] == 1


def test_disabled_benchmarks_take_a_step_of_each_variant(tmp_path):
    done = start("--benchmark-disable", "--set", "smoke", "-k", "sgd or eva/", folder=tmp_path)
    assert "2 passed, 2 deselected" in done.stdout, done.stdout + done.stderr


def test_without_a_set_the_smoke_test_has_every_variant_and_a_measurement_the_main_job(tmp_path):
    everything = start("--benchmark-disable", "--collect-only", folder=tmp_path).stdout
    assert "test_step[mobilenetv2/eva/none@batch=32-step]" in everything
    assert everything.count("test_step[vit/eva/none-") == 1
    main_job = start("--collect-only", folder=tmp_path).stdout
    assert main_job.count("::test_step[") == 12 * 4


def test_what_is_listed_to_be_refused_is_listed():
    assert {variant for ids in SETS.values() for variant in ids} >= REFUSED

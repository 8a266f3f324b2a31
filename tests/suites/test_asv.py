"""asv itself, in this environment, on the suites with a catalog of small variants: what it stores of them."""

from __future__ import annotations

import ast
import json
import math
import os
import re
import shutil
import subprocess
import sys

import pytest

from bench.data.protocol import PROTOCOL_VERSION
from bench.errors import UnknownName
from suites import asv_exact, asv_steps, cases
from tests.repositories import Repository
from tests.tools.conftest import ROOT

NAMES = {
    "asv_exact.Bytes.track_bytes",
    "asv_exact.Flops.track_flops",
    "asv_exact.Operations.track_operations",
    "asv_exact.Syncs.track_syncs",
    "asv_quality.Quality.track_loss",
    "asv_steps.Times.track_phase",
}
PLUGIN = """
import torch

from bench import Workload


def register(registry):
    @registry.model("small")
    def small(device, dtype, seed):
        module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 10))
        return Workload(module=module, loss=torch.nn.functional.cross_entropy)

    @registry.model("broken")
    def broken(device, dtype, seed):
        raise RuntimeError("there is no such model")
"""
CATALOG = 'SETS = {"history": ("small/adamw/none", "absent/adamw/none", "broken/adamw/none")}\n'


def config():
    return json.loads(re.sub(r"^\s*//.*$", "", (ROOT / "asv.conf.json").read_text(), flags=re.MULTILINE))


@pytest.fixture
def project(tmp_path):
    """A repository with our suites; returns a function that calls asv in it."""
    repo = Repository(tmp_path / "repo", {"README": "empty"})
    shutil.copytree(ROOT / "suites", repo.path / "suites", ignore=shutil.ignore_patterns("__pycache__"))
    repo.write({"suites/catalog.py": CATALOG, "plugin.py": PLUGIN, "asv.conf.json": json.dumps(config())})
    commit = repo.commit()
    environment = os.environ | {
        "HOME": str(tmp_path), "OMP_NUM_THREADS": "1", "STEPBENCH_PLUGINS": str(repo.path / "plugin.py"),
    }  # fmt: skip

    def run(*arguments, allowed=0):
        start = ("-E", "existing:same", "--set-commit-hash", commit, "--machine", "here", "--record-samples")
        command = [sys.executable, "-m", "asv", "run", *start, *arguments]
        done = subprocess.run(command, cwd=repo.path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == allowed, done.stdout + done.stderr
        return done.stdout

    subprocess.run(
        [sys.executable, "-m", "asv", "machine", "--yes", "--machine", "here"],
        cwd=repo.path,
        env=environment,
        capture_output=True,
        check=True,
    )
    run.repo, run.results = repo, repo.path / "results/asv"
    return run


def row(stored, name, variant, metric):
    """Returns what is stored of one case, by column: asv stores cases in the order of the product of parameters."""
    columns = dict(zip(stored["result_columns"], stored["results"][name], strict=False))
    variants, metrics = ([ast.literal_eval(text) for text in side] for side in columns.pop("params"))
    index = variants.index(variant) * len(metrics) + metrics.index(metric)
    return {column: value[index] if isinstance(value, list) else value for column, value in columns.items()}


def test_asv_stores_our_samples_as_timings_and_tells_what_failed_from_what_is_not_available(project):
    said = project("--show-stderr", "--bench", "track_phase.*step", allowed=2)
    (path,) = (project.results / "here").glob("*-existing-*.json")
    stored = json.loads(path.read_text())
    found = row(stored, "asv_steps.Times.track_phase", "small/adamw/none", "step")
    assert len(found["samples"]) >= 2
    assert found["stats_repeat"] == len(found["samples"])
    assert found["stats_number"] == 1
    assert min(found["samples"]) <= found["result"] <= max(found["samples"])
    listed = json.loads((project.results / "benchmarks.json").read_text())
    assert listed["asv_steps.Times.track_phase"]["type"] == "time"

    assert math.isnan(row(stored, "asv_steps.Times.track_phase", "absent/adamw/none", "step")["result"])
    assert row(stored, "asv_steps.Times.track_phase", "broken/adamw/none", "step")["result"] is None
    assert "RuntimeError: there is no such model" in said


def test_a_phase_that_a_variant_does_not_have_is_not_available_and_what_it_has_is_measured_once(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    asked = []

    def sample(variant, metric):
        asked.append(metric)
        return [1.0, 2.0] if metric in {"forward", "step"} else []

    monkeypatch.setattr(cases.bench, "sample", sample)
    for _ in range(2):
        asv_steps.Times().setup("autoencoder/none/none", "step")
    assert asv_steps.Times().track_phase("autoencoder/none/none", "step") == {"samples": [1.0, 2.0], "number": 1}
    with pytest.raises(NotImplementedError, match="has no backward"):
        asv_steps.Times().setup("autoencoder/none/none", "backward")
    with pytest.raises(NotImplementedError, match="has no state_bytes"):
        asv_exact.Bytes().setup("autoencoder/none/none", "state_bytes")
    assert asked == [*cases.TIMES, *cases.COUNTED]


def test_editing_a_suite_voids_no_results_and_nothing_is_collected_by_accident(project):
    def discovered():
        project("--bench", "just-discover")
        return json.loads((project.results / "benchmarks.json").read_text())

    before = discovered()
    assert set(before) == {*NAMES, "version"}
    assert {before[name]["version"] for name in NAMES} == {cases.VERSION}
    text = (project.repo.path / "suites/asv_steps.py").read_text()
    edited = text.replace('"number": 1}', '"number": 2 - 1}')
    assert edited != text
    project.repo.write({"suites/asv_steps.py": f"{edited}\n\ndef more():\n    return 1\n"})
    after = discovered()
    assert {name: after[name]["version"] for name in NAMES} == {name: before[name]["version"] for name in NAMES}


def test_the_suites_ask_for_the_protocol_that_is_measured():
    assert cases.PROTOCOL == PROTOCOL_VERSION


def test_a_version_with_another_protocol_is_not_available(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cases, "PROTOCOL", PROTOCOL_VERSION + 1)
    with pytest.raises(NotImplementedError):
        asv_steps.Times().setup("autoencoder/sgd/none", "step")
    with pytest.raises(NotImplementedError):
        asv_exact.Bytes().setup("autoencoder/sgd/none", "state_bytes")


def test_a_version_that_does_not_know_a_metric_has_the_others(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def older(variant, metric):
        if metric == "saved_bytes":
            raise UnknownName("metric", metric, ["loss"])
        return [5.0]

    monkeypatch.setattr(cases.bench, "sample", older)
    assert asv_exact.Bytes().track_bytes("autoencoder/sgd/none", "state_bytes") == 5
    with pytest.raises(NotImplementedError):
        asv_exact.Bytes().setup("autoencoder/sgd/none", "saved_bytes")


def test_a_part_that_nobody_knows_is_no_metric_that_nobody_knows(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def lost(variant, metric):
        raise UnknownName("data source", "digits", [])

    monkeypatch.setattr(cases.bench, "sample", lost)
    with pytest.raises(UnknownName):
        asv_exact.Bytes().setup("autoencoder/sgd/none", "state_bytes")


def test_asv_installs_what_is_pinned_here():
    pins = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")
    )
    matrix = config()["matrix"]
    assert matrix["req"] == {"torch": [pins["torch"]], "pip+asv_runner": [pins["asv-runner"]]}
    assert matrix["env_nobuild"]["OMP_NUM_THREADS"] == ["1"]
    assert config()["launch_method"] == "spawn"

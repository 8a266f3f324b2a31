from __future__ import annotations

import contextlib
import copy
import json
import pickle
import subprocess
import sys
import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.errors import StepbenchError
from bench.report import pull_request
from bench.report.comparison import document
from bench.report.profile import difference
from tests.bench.report.comparison.test_golden import mixed
from tests.bench.report.test_pull_request import changed
from tests.tools.conftest import EXAMPLE


@pytest.fixture
def measured(stepbench, quick, tmp_path):
    code, out, err = stepbench("measure", "mlp/my-sgd/none", "--plugin", EXAMPLE, "--budget", "0.2")
    assert code == 0, err
    (path,) = (tmp_path / "results/records").rglob("*.jsonl")
    return path, out


def test_a_truncated_file_is_reported_with_its_line_and_the_rest_is_shown(stepbench, measured):
    path, out = measured
    with path.open("ab") as stream:
        stream.write(path.read_bytes()[:200])
    code, again, err = stepbench("report", path)
    assert code == 0
    assert again == out
    assert f"{path.name}:2" in err
    assert err.count("\n") == 1


def test_a_file_of_damaged_lines_only_is_nothing_measured(stepbench, measured):
    path, _ = measured
    path.write_bytes(path.read_bytes()[:-20])
    code, out, err = stepbench("report")
    assert (code, out) == (4, "")
    assert f"{path.name}:1" in err


def test_records_that_are_not_there_are_said_so(stepbench):
    code, _, err = stepbench("report")
    assert code == 4
    assert "stepbench measure" in err
    code, _, err = stepbench("report", "no/such/path")
    assert code == 2
    assert "no/such/path does not exist" in err


@pytest.fixture
def comparison(tmp_path):
    """The file of a comparison, and what it says."""
    path = tmp_path / "comparison.json"
    path.write_text(document.render(mixed()))
    return path, json.loads(path.read_text())


def test_a_comparison_becomes_the_comment_on_a_pull_request(stepbench, comparison, tmp_path):
    path, _ = comparison
    code, out, err = stepbench("report", "--pull-request", path)
    assert (code, err) == (0, "")
    assert out.startswith("<!-- stepbench -->\n**🔴 SLOWER: 1 variant of 8; slow/eva/none: step +2.1 %")
    diff_path = tmp_path / "diff.json"
    diff_path.write_text(difference.document(changed()))
    code, silent, _ = stepbench(
        "report", "--pull-request", path, diff_path, "--output", "comment.md", "--markdown", "again.md"
    )
    assert (code, silent) == (0, "")
    comment = (tmp_path / "comment.md").read_text()
    assert comment == (tmp_path / "again.md").read_text()
    assert "new line 50, x = F.dropout(x, 0.1)" in comment


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"schema": 1, "kind": "comparison", "run": NaN}', "holds NaN"), (b"[" * 100_000, "nested too deeply"),
        (b'{"kind": "comparison", "kind": "x"}', "the name 'kind' stands twice"), (pickle.dumps({"a": 1}), "a pickle"),
        (b'["' + b"x" * (10 << 20) + b'"]', "a text of 10,485,760 characters"), (b"", "no JSON"),
        (b'{"schema": 1, "kind": "comparison"}', "missing required field"), (b"[]", "a document of kind None"),
        (b'{"schema": 1, "kind": "report"}', "a document of kind 'report'"), (b"\xff", "no UTF-8"),
        (b'{"schema": 1, "kind": "profile-diff"}', "no document of profiles"),
        (b'{"schema": 1, "kind": "profile-diff", "profiles": []}', "profile-diff without a profile"),
        (b'{"schema": 0, "kind": "comparison"}', "schema 0; they are counted from 1"),
        (b'{"schema": 0, "kind": "profile-diff", "profiles": []}', "schema 0; they are counted from 1"),
    ],
)  # fmt: skip
def test_a_hostile_file_is_one_line_and_no_comment(stepbench, tmp_path, comparison, content, says):
    (tmp_path / "bad.json").write_bytes(content)
    code, out, err = stepbench("report", "--pull-request", comparison[0], "bad.json", "--output", "comment.md")
    assert (code, out) == (2, "")
    assert says in err
    assert err.startswith("error: bad.json: ")
    assert err.count("\n") == 1
    assert not (tmp_path / "comment.md").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--pull-request"], "give the file of a comparison"), (["--output", "x.md"], "belongs to --pull-request"),
        (["--pull-request", "comparison.json", "--json", "x.json"], "--json: is for records"),
        (["--pull-request", "comparison.json", "--format", "seed"], "--format: is for records"),
        (["--margin", "0.02"], "--margin: belongs to --pull-request"),
        (["--pull-request", "comparison.json", "--head", "main"], "--head main: give a commit"),
        (["--pull-request", "comparison.json", "--alpha", "0.6"], "alpha 0.6: must be above 0 and below 0.5"),
        (["--pull-request", "missing.json"], "there is no such file"), (["--pull-request", "."], "is no regular file"),
        (["--pull-request", "comparison.json", "--output", "no/x.md"], "No such file or directory"),
    ],
)  # fmt: skip
def test_wrong_usage_of_the_comment_is_one_line(stepbench, comparison, arguments, says):
    code, out, err = stepbench("report", *arguments)
    assert (code, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1


def test_records_are_no_comparison_and_the_message_says_what_shows_them(stepbench, tmp_path):
    (tmp_path / "run.jsonl").write_text('{"schema": 3}\n{"schema": 3}\n')
    code, out, err = stepbench("report", "--pull-request", "run.jsonl")
    assert (code, out) == (2, "")
    assert err.startswith("error: run.jsonl: lines of records, it seems, which `stepbench report` shows")


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.sampled_from(["", "step", "x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["step", "a"]), inner, max_size=3),
    max_leaves=6,
)
DIFFERENCE = json.loads(difference.document(changed()))


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(data=st.data(), value=anything)
def test_profiles_changed_anywhere_to_anything_are_refused_or_compared(tmp_path, data, value):
    from stepbench.pull_request import difference as read_difference

    content = copy.deepcopy(DIFFERENCE)
    place = content["profiles"]
    for _ in range(data.draw(st.integers(0, 6))):
        keys = list(place) if isinstance(place, dict) else range(len(place))
        inner = [key for key in keys if isinstance(place[key], (dict, list)) and place[key]]
        place = place[data.draw(st.sampled_from(inner))] if inner else place
    place[data.draw(st.sampled_from(list(place) if isinstance(place, dict) else range(len(place))))] = value
    path = tmp_path / "diff.json"
    path.write_text(json.dumps(content))
    with contextlib.suppress(StepbenchError), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        pull_request.render([mixed()], [read_difference(path)])


def test_the_rule_is_that_of_the_command_whatever_the_file_says(stepbench, comparison):
    path, content = comparison
    content["rule"] = {"threshold": 0.9, "margin": 0.99, "alpha": 0.4}
    path.write_text(json.dumps(content))
    code, out, err = stepbench("report", "--pull-request", path)
    assert (code, out) == (0, pull_request.render([mixed()]) + "\n")
    assert err.endswith("was measured by threshold 0.9, margin 0.99, alpha 0.4; the options of this command judge it\n")
    code, out, _ = stepbench("report", "--pull-request", path, "--threshold", "0.5", "--margin", "0.6")
    assert (code, "SLOWER" in out) == (0, False)
    assert "stepbench compare --threshold 0.5 --margin 0.6 1111111111" in out


def test_a_comparison_of_another_head_is_refused(stepbench, comparison):
    path, content = comparison
    content["run"]["head"]["dirty"] = False
    path.write_text(json.dumps(content))
    assert stepbench("report", "--pull-request", path, "--head", "2" * 40)[0] == 0
    code, out, err = stepbench("report", "--pull-request", path, "--head", "3" * 40)
    assert (code, out) == (2, "")
    assert f"a comparison of head {'2' * 40}, and not of {'3' * 40}" in err
    path.write_text(document.render(mixed()))
    code, _, err = stepbench("report", "--pull-request", path, "--head", "2" * 40)
    assert code == 2
    assert "with uncommitted changes" in err


def test_no_torch_is_needed_for_a_report():
    code = "import sys, stepbench.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_accuracies_stand_in_the_rows_of_their_quantization(stepbench, quick, tmp_path):
    code, _, err = stepbench("measure", "autoencoder/sgd/kbit-8", "autoencoder/none/none", "--budget", "0.2")
    assert code == 0, err
    plan = {"model": "autoencoder", "flow": "kbit-8", "seed": 0, "epochs": 1, "qat_epochs": 2}
    entries = [
        {"stage": stage, "examples": 200, "correct": correct} for stage, correct in (("float", 150), ("deployed", 149))
    ]
    runs = [{"plan": plan | {"modules": [], "wide_output": None}, "data": "stripes", "entries": entries}]
    trail = tmp_path / "trail.json"
    trail.write_text(json.dumps({"kind": "trail", "schema": 1, "runs": runs}))
    code, out, err = stepbench("report", "--accuracy", trail, "--json", tmp_path / "report.json")
    assert (code, err) == (0, "")
    assert "Acc@1 74.50 %, -0.50 points vs float, QAT of 2 epochs, 1 seed" in " ".join(out.split())
    ((table,),) = [json.loads((tmp_path / "report.json").read_text())["tables"]]
    shown = {row["variant"]: row["accuracies"] for row in table["rows"]}
    assert [len(found) for found in shown.values()].count(1) == 1
    code, _, err = stepbench("measure", "autoencoder/sgd/none", "--accuracy", tmp_path / "none.json")
    assert code == 2
    assert "no such file" in err

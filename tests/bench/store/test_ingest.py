"""Files as asv and pytest-benchmark write them, of several versions; made by them, but for names of machines."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.data.variant import Variant
from bench.errors import InvalidRecord
from bench.store import ingest
from bench.store.codec import decode, encode

DATA = Path(__file__).parents[2] / "data"
(ASV,) = (DATA / "asv/bench-1").glob("1007e8ea*.json")
FILES = [ASV, *sorted((DATA / "pytest_benchmark").glob("*.json"))]


def by_name(ingested):
    return {str(record.origin): record for record in ingested.records}


def changed(tmp_path, change, path=ASV):
    """A copy of a file, in a folder of its own, whose content is changed."""
    content = json.loads(path.read_text())
    change(content)
    copied = tmp_path / "machine" / path.name
    copied.parent.mkdir(exist_ok=True)
    copied.write_text(json.dumps(content))
    return copied


def test_asv_times_keep_every_sample_and_the_process_it_is_from():
    record = by_name(ingest.read(ASV))["toy.Update.time_step('sgd', 1, 0.5)"]
    assert [len(replicate.samples["step"]) for replicate in record.measurement.replicates] == [3, 3]
    assert record.measurement.replicates[0].samples["step"][0] == 2.5823504984145984e-05
    assert [replicate.worker for replicate in record.measurement.replicates] == [0, 1]
    assert record.origin.parameters == {"optimizer": "'sgd'", "batch": "1", "rate": "0.5"}
    assert (record.environment.host, record.environment.cpu) == ("bench-1", "A processor")
    assert record.environment.commit == "1007e8eacc55bd727bca766c6f014c9cb2790282"
    assert record.origin.committed == "2026-11-21T18:05:09+00:00"


def test_asv_values_that_are_no_times_have_a_metric_of_their_own():
    found = by_name(ingest.read(ASV))
    assert found["toy.track_operations"].measurement.counters.values == {"tracked": 97}
    assert found["toy.track_operations"].origin.unit == "count"
    assert found["toy.peakmem_list"].measurement.counters.values == {"process_bytes": 36745216}
    assert found["toy.mem_list"].measurement.counters.values == {"object_bytes": 8056}
    assert found["toy.track_step"].measurement.replicates[0].samples == {"step": (0.02, 0.021, 0.019)}


def test_what_failed_is_a_record_and_what_did_not_apply_is_counted():
    ingested = ingest.read(ASV)
    assert by_name(ingested)["toy.Update.time_broken('sgd', 32, 0.5)"].measurement.failure.startswith("failed in asv")
    assert ingested.unmapped == {"did not apply where it ran, or was not chosen (asv's NaN)": 2}
    # Nothing is lost: each of 4 + 4 cases of parameters and of 6 others has its entry.
    assert len(ingested.sides) == 14
    assert len(ingested.records) == 12


def test_what_a_record_has_no_place_for_is_kept_beside_it():
    side = next(side for side in ingest.read(ASV).sides if side.benchmark == "toy.time_plain")
    assert side.rounds == (0, 0, 0, 1, 1, 1)
    assert side.rest["stats_number"] == 10
    assert {"duration", "started_at", "version", "stats_q_25", "stats_ci_99_a"} <= side.rest.keys()


def test_without_benchmarks_json_rounds_are_not_known_and_kinds_follow_from_names(tmp_path):
    ingested = ingest.read(changed(tmp_path, lambda content: None))
    found = by_name(ingested)
    record = found["toy.Update.time_step('sgd', 1, 0.5)"]
    assert [len(replicate.samples["step"]) for replicate in record.measurement.replicates] == [6]
    assert list(record.origin.parameters) == ["parameter 1", "parameter 2", "parameter 3"]
    assert next(side for side in ingested.sides if side.benchmark == "toy.time_plain").rounds is None
    assert found["toy.mem_list"].measurement.counters.values == {"object_bytes": 8056}
    # The name of a variant must not depend on whether that file is there: it tells which values are a series.
    variants = [{str(r.origin): r.measurement.variant for r in one.records} for one in (ingested, ingest.read(ASV))]
    assert variants[0] == variants[1]


def test_a_median_stands_for_samples_that_asv_did_not_store(tmp_path):
    def drop(content):
        for row in content["results"].values():
            del row[11:]
        content["results"]["toy.time_plain"][5:7] = [[-math.inf], [math.inf]]

    record = by_name(ingest.read(changed(tmp_path, drop)))["toy.time_plain"]
    assert record.measurement.replicates[0].samples == {"step": (1.871949643827975e-06,)}
    assert [caveat.code for caveat in record.measurement.caveats] == ["median-only"]


def test_cases_of_our_own_suites_are_variants_and_metrics(tmp_path):
    def ours(content):
        axes = [["'resnet20/eva/none'", "'vit/sgd/none@batch=8'"]]
        content["results"] = {
            "asv_steps.Times.track_phase": [
                [0.1, 0.2, 0.3, math.nan], [*axes, ["'step'", "'optimize'"]], "protocol 1", 1, 1.0, *[[1.0] * 4] * 6,
                [[0.1], [0.2, 0.2], [0.3], None],
            ],
            "asv_exact.Bytes.track_bytes": [[5.0, 6.0], [*axes, ["'state_bytes'"]], "protocol 1"],
        }  # fmt: skip

    found = {str(r.measurement.variant): r.measurement for r in ingest.read(changed(tmp_path, ours)).records}
    assert set(found) == {"resnet20/eva/none", "vit/sgd/none@batch=8"}
    eva = found["resnet20/eva/none"]
    assert [replicate.samples for replicate in eva.replicates] == [{"step": (0.1,)}, {"optimize": (0.2, 0.2)}]
    assert (eva.phases, eva.counters.values) == (("optimize",), {"state_bytes": 5.0})


def test_two_values_of_one_metric_of_one_variant_are_both_kept(tmp_path):
    def twice(content):
        axes = [["'vit/sgd/none'"], ["'state_bytes'"]]
        content["results"] = {f"a.track_{place}": [[value], axes, "1"] for place, value in enumerate((5, 5, 6))}

    ingested = ingest.read(changed(tmp_path, twice))
    (record,) = ingested.records
    assert record.measurement.counters.values == {"state_bytes": 5.0}
    (reason,) = ingested.unmapped
    assert reason.startswith("another benchmark of the file has another value")
    assert ingested.sides[2].rest["values"] == {"state_bytes": 6.0}


def test_a_column_that_stands_twice_is_refused_since_one_would_be_lost(tmp_path):
    def twice(content):
        content["result_columns"][-1] = content["result_columns"][0]

    with pytest.raises(InvalidRecord, match="stands twice in result_columns"):
        ingest.read(changed(tmp_path, twice))


def test_parameters_are_never_evaluated(tmp_path):
    marker = tmp_path / "evaluated"
    text = f"__import__('pathlib').Path({str(marker)!r}).touch()"

    def plant(content):
        content["results"] = {
            "a.time_x": [[0.1, 0.2], [[text, "(slice(0, 3, None),)"]], "1"],
            "a.time_y": [[0.1], [["(" * 500 + "1" + ")" * 500]], "1"],
        }

    found = by_name(ingest.read(changed(tmp_path, plant)))
    assert not marker.exists()
    assert f"a.time_x({text})" in found
    assert "a.time_x((slice(0, 3, None),))" in found


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("x", "a row that does not fit the columns"), ([1] * 99, "a row that does not fit the columns"),
        ([[1.0], [["1", "2"]]], "results that do not fit the parameters"), ([1.0, []], "results that do not fit"),
        ([[1.0], "x"], "parameters that are no lists"), ([["x"], []], "a value that is no number"),
        ([None, [["1"] * 400] * 9], "results that do not fit the parameters"),
        ([[math.inf], []], "a time that is not finite"), ([[-1.0], []], "a time below zero"),
        ([[1e9], []], "above a year"),
        ([[1.0], [], "1", 0, 0, *[None] * 6, [[]]], "no sample"),
        ([[1.0], [], "1", 0, 0, *[None] * 6, [["a"]]], "a time that is no number"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_mapped_is_counted_with_its_reason_and_loses_no_other(tmp_path, row, reason):
    ingested = ingest.read(changed(tmp_path, lambda content: content["results"].update({"a.time_bad": row})))
    (found,) = [side for side in ingested.sides if side.benchmark == "a.time_bad"]
    assert reason in found.unmapped
    assert len(ingested.records) == 12


def test_pytest_benchmark_keeps_rounds_iterations_and_the_rest():
    ingested = ingest.read(DATA / "pytest_benchmark/5.3.1.json")
    record = by_name(ingested)["tests/test_toy.py::test_step[sgd-1]"]
    assert len(record.measurement.replicates[0].samples["step"]) == 20
    assert record.origin.parameters == {"optimizer": '"sgd"', "batch": "1"}
    side = next(side for side in ingested.sides if side.benchmark == record.origin.benchmark)
    assert side.rounds == tuple(range(20))
    assert side.rest["stats"]["iterations"] == 1
    assert side.rest["extra_info"] == {"loss": 2.5}
    ours = next(r.measurement for r in ingested.records if r.measurement.variant == Variant.parse("resnet20/eva/none"))
    assert (ours.phases, len(ours.replicates[0].samples["optimize"])) == (("optimize",), 4)


def test_older_pytest_benchmark_files_are_read_with_what_they_have():
    old, mid = (ingest.read(DATA / f"pytest_benchmark/{version}.json") for version in ("2.5.0", "3.2.3"))
    (record,) = old.records
    assert (record.created, record.environment.dirty) == ("2015-08-15T00:04:18+00:00", True)
    assert record.measurement.replicates[0].samples == {"step": (2.2e-07,)}
    assert [caveat.code for caveat in record.measurement.caveats] == ["median-only"]
    (record,) = mid.records
    assert (record.environment.cpu, record.environment.cores) == ("Another processor @ 2.60GHz", 12)
    assert record.origin.committed == "2020-05-01T08:00:00+00:00"


def test_what_the_suite_says_of_its_process_is_the_environment(tmp_path, record):
    from msgspec import to_builtins

    def ours(content):
        extra = {"variant": "vit/sgd/none", "phase": "step", "quality": {"loss": 2.5}}
        content["benchmarks"][0]["extra_info"] = extra | {"environment": to_builtins(record.environment)}

    found = ingest.read(changed(tmp_path, ours, DATA / "pytest_benchmark/5.3.1.json")).records[0]
    assert found.environment == record.environment
    assert found.measurement.counters.values == {"loss": 2.5}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"results": {}, "commit_hash": "x", "version": 1}, "asv's layout 1; 2 is read: `asv update`"),
        ({"a": 1}, "neither results of asv nor of pytest-benchmark"), ([], "neither"), ("x", "neither"),
    ],
)  # fmt: skip
def test_what_is_no_results_file_is_one_line(tmp_path, content, says):
    path = tmp_path / "x.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InvalidRecord, match=says):
        ingest.read(path)


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64) | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data(), path=st.sampled_from(FILES), value=anything)
def test_a_file_changed_anywhere_to_anything_gives_records_or_one_line(tmp_path, data, path, value):
    content = place = copy.deepcopy(json.loads(path.read_text()))
    for _ in range(data.draw(st.integers(0, 5))):
        inner = [key for key in (place if isinstance(place, dict) else range(len(place)))
                 if isinstance(place[key], (dict, list)) and place[key]]  # fmt: skip
        place = place[data.draw(st.sampled_from(inner))] if inner else place
    place[data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))] = value
    file = tmp_path / "x.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    try:
        found = ingest.read(file)
    except InvalidRecord as error:
        assert "\n" not in str(error)  # noqa: PT017 - some are refused, some are read
        return
    for record in found.records:
        assert decode(encode(record)) == record
    assert list(ingest._side_lines(found))

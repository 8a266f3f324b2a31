from __future__ import annotations

import copy
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.data.accuracy import Accuracy, Scored
from bench.errors import InvalidRecord
from bench.store import accuracies

PLAN = {"model": "m", "flow": "kbit-8", "seed": 0, "epochs": 8, "qat_epochs": 2, "modules": [], "wide_output": None}


def entry(stage, correct, epoch=0):
    return {"stage": stage, "epoch": epoch, "examples": 450, "correct": correct, "loss": 0.1}


def run(seed=0, correct=440, **plan):
    entries = [entry("float", 300, 1), entry("float", 441, 2), entry("qat", 430), entry("deployed", correct)]
    return {"plan": PLAN | {"seed": seed} | plan, "data": "digits", "entries": entries}


def document(*runs):
    return {"kind": "trail", "schema": 1, "versions": {}, "runs": list(runs)}


@pytest.fixture
def written(tmp_path):
    def write(*documents, name="trail.json"):
        path = tmp_path / name
        path.write_text("\n".join(json.dumps(each) if isinstance(each, dict) else each for each in documents))
        return path

    return write


def test_each_seed_has_its_deployed_and_its_last_float_model(written):
    found, skipped = accuracies.read([written(document(run(0), run(1, 442)))])
    seeds = tuple(Scored(seed=n, examples=450, correct=c, float_correct=441) for n, c in ((0, 440), (1, 442)))
    assert found == (Accuracy(model="m", flow="kbit-8", data="digits", epochs=8, qat_epochs=2, seeds=seeds),)
    assert skipped == ()


def test_a_run_that_was_not_finished_is_left_out(written):
    half = run(1)
    half["entries"].pop()
    ((found,), _) = accuracies.read([written(document(run(0), half))])
    assert [seed.seed for seed in found.seeds] == [0]
    with pytest.raises(InvalidRecord, match="no run was finished"):
        accuracies.read([written(document(half))])


def test_a_line_that_is_none_does_not_lose_the_others(written):
    lines = written(document(run()), "{", document(run(modules=[["conv*", "4"]])), "", document(run(qat_epochs=0)),
                    name="all.jsonl")  # fmt: skip
    found, skipped = accuracies.read([lines])
    assert [one.qat_epochs for one in found] == [2, 0]
    assert [re.search(r"all\.jsonl:(\d)", line)[1] for line in skipped] == ["2", "3"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "profiles"}, "of kind 'profiles'"),
        ({"schema": 2}, "schema 2"),
        ({"runs": []}, "no run was finished"),
        ({"runs": [run(), run(flow="kbit-4")]}, "several plans"),
        ({"runs": [run(wide_output="classifier")]}, "no row's quantization"),
        ({"runs": [run(correct=451)]}, "more right answers than examples"),
        ({"runs": [run(correct=-1)]}, "no trail"),
        ({"runs": "many"}, "no trail"),
    ],
)
def test_what_says_nothing_of_a_row_is_refused_on_one_line(written, changes, message):
    with pytest.raises(InvalidRecord, match=message) as caught:
        accuracies.read([written(document(run()) | changes)])
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_empty_is_refused(tmp_path, written):
    with pytest.raises(InvalidRecord, match="no such file"):
        accuracies.read([tmp_path / "none.json"])
    with pytest.raises(InvalidRecord, match="no trail of a finished run"):
        accuracies.read([written("", name="empty.jsonl")])


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(data=st.data())
def test_whatever_stands_somewhere_is_read_or_refused(data):
    content = copy.deepcopy(document(run()))
    places = [content, content["runs"][0], content["runs"][0]["plan"], content["runs"][0]["entries"][-1]]
    place = data.draw(st.sampled_from(places))
    place[data.draw(st.sampled_from(sorted(place)))] = data.draw(VALUES)
    try:
        found = accuracies._accuracy(content, "here")
    except InvalidRecord:
        return
    assert found.seeds

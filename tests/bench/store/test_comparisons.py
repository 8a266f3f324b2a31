from __future__ import annotations

import copy
import json
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.analyze.comparison import report
from bench.analyze.verdict import Rule
from bench.data.duet import Duet
from bench.data.variant import Variant
from bench.errors import InvalidRecord, StepbenchError
from bench.report import pull_request
from bench.report.comparison import document
from bench.store import comparisons, strict
from tests.bench.report.comparison.test_golden import mixed
from tests.bench.report.duets import RUN, duet


def small():
    """A comparison of a few replicates, as JSON."""
    duets = [duet(model="a", count=3), Duet(variant=Variant(model="b", optimizer="sgd"), status="new")]
    return json.loads(document.render(report(RUN, duets, Rule(), 2)))


def judged(stored):
    rule = Rule(threshold=stored.rule.threshold, margin=stored.rule.margin, alpha=stored.rule.alpha)
    return report(stored.run, stored.duets, rule, len(stored.duets))


def test_what_is_read_back_gives_the_same_verdicts_facts_and_notes():
    before = mixed()
    after = judged(comparisons.convert(json.loads(document.render(before)), "x"))
    assert pull_request.render([after]) == pull_request.render([before])
    for old, new in zip(before.variants, after.variants, strict=True):
        assert (old.rows, old.facts, old.order) == (new.rows, new.facts, new.order)


def test_verdicts_are_those_of_the_samples_whatever_the_document_claims():
    content = json.loads(document.render(mixed()))
    for variant in content["variants"]:
        for row in variant["rows"]:
            row["verdict"]["word"] = "faster"
    assert pull_request.render([judged(comparisons.convert(content, "x"))]) == pull_request.render([mixed()])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c.update(kind="report"), "a document of kind 'report'"),
        (lambda c: c.update(kind=["x"] * 999), "a document of kind"),
        (lambda c: c.update(schema=2), "schema 2 is newer than 1"),
        (lambda c: c.pop("rule"), "missing required field `rule`"),
        (lambda c: c["variants"][0].update(variant="<b>/x/none"), "model '<b>'"),
        (lambda c: c["variants"][0].update(variant="a" * 300 + "/x/none"), "a variant of 307 characters"),
        (lambda c: c["variants"].append(c["variants"][0]), "a variant that stands there twice"),
        (lambda c: c["variants"][0].update(status="fine"), "Invalid enum value 'fine'"),
        (lambda c: c["variants"][0]["replicates"][0]["samples"].pop("head"), "with one side only"),
        (lambda c: c["variants"][0]["replicates"][0]["samples"]["head"].pop("forward"), "metrics of a/eva/none"),
        (lambda c: c["variants"][0]["replicates"][0]["samples"]["head"]["step"].pop(), "without a pair"),
        (lambda c: c["variants"][0]["replicates"][0]["samples"]["head"].update(step=[-1, 1, 1]), "a time below zero"),
        (lambda c: c["variants"][0].update(replicates=c["variants"][0]["replicates"] * 999), "2997 replicates"),
        (lambda c: c["run"]["base"].update(side="head"), "base and head are not where they belong"),
        (lambda c: c["run"].update(seed="0"), "$.run.seed"),
        (lambda c: c["run"]["base"].update(commit="--plugin=/tmp/x.py"), "commit '--plugin=/tmp/x.py' of base"),
        (lambda c: c["run"]["head"].update(commit="1111111"), "commit '1111111' of head is no commit"),
    ],
)
def test_what_is_no_comparison_is_refused_in_one_line_with_its_place(change, says):
    content = small()
    change(content)
    with pytest.raises(InvalidRecord) as raised:
        comparisons.convert(content, "x.json")
    assert says in str(raised.value)
    assert str(raised.value).startswith("x.json: ")
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
SMALL = small()


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), value=anything)
def test_a_document_changed_anywhere_to_anything_is_refused_or_makes_a_comment(data, value):
    content = place = copy.deepcopy(SMALL)
    for _ in range(data.draw(st.integers(0, 6))):
        keys = list(place) if isinstance(place, dict) else range(len(place))
        inner = [key for key in keys if isinstance(place[key], (dict, list)) and place[key]]
        place = place[data.draw(st.sampled_from(inner))] if inner else place
    place[data.draw(st.sampled_from(list(place) if isinstance(place, dict) else range(len(place))))] = value
    try:
        read = strict.decode(json.dumps(content).encode(), "x")
        found = judged(comparisons.convert(read, "x"))
    except StepbenchError as error:
        assert "\n" not in str(error)  # noqa: PT017 - some are refused, some are read
        return
    assert pull_request.length(pull_request.render([found])) <= pull_request.MOST_CHARACTERS
    assert all(math.isfinite(row.verdict.ratio) for item in found.variants for row in item.rows)

"""Whole reports of comparisons, to be read by people: `STEPBENCH_UPDATE_GOLDEN=1` takes over what was meant."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bench.analyze.comparison import report
from bench.analyze.verdict import Rule
from bench.data.duet import Duet
from bench.data.measurement import Caveat, Counters
from bench.data.variant import Variant
from bench.report.comparison import document, html, markdown, terminal, words
from tests.bench.report.duets import RUN, duet
from tests.bench.report.test_markdown import PARSER

HOSTILE = "<img src=x onerror=alert(1)> | `code` @octocat #12 [a](b) **x**\n\x1b[31mred"


def counters(operations):
    return Counters(values={"optimize.operations": operations, "loss": 2.5}, state_bytes={"momentum": 1220456})


def mixed():
    """One variant of each kind: slower, faster in a phase, equivalent, noisy, new, gone, broken."""
    duets = [
        duet(model="quiet", seed=1),
        duet(
            model="slow", step=0.021, seed=2,
            counters={"base": counters(97.0), "head": counters(101.0)},
            caveats=(Caveat(code="background-threads", message="head: the step works in 1 more Python thread(s)"),),
        ),
        duet(model="quick", optimize=-0.08, seed=3),
        duet(model="noisy", noise=0.03, count=20, seed=4),
        duet(model="early", count=5, seed=5),
        Duet(variant=Variant(model="added", optimizer="sgd"), status="new"),
        Duet(variant=Variant(model="dropped", optimizer="sgd"), status="gone"),
        Duet(variant=Variant(model="broken", optimizer="sgd"), status="failed", failure=f"head: {HOSTILE}"),
    ]  # fmt: skip
    return report(RUN, duets, Rule(), len(duets))


def calm():
    return report(RUN, [duet(model="quiet", seed=1), duet(model="still", step=0.003, noise=0.002, seed=6)], Rule(), 2)


REPORTS = {"mixed": mixed, "calm": calm}


@pytest.mark.parametrize("name", REPORTS)
@pytest.mark.parametrize("width", [80, 120])
def test_terminal(golden, name, width):
    text = terminal.render(REPORTS[name](), width=width, color=False)
    golden(f"comparison-{name}.{width}.txt", text)
    assert max(map(len, text.splitlines())) <= width


@pytest.mark.parametrize("name", REPORTS)
def test_markdown(golden, name):
    golden(f"comparison-{name}.md", markdown.render(REPORTS[name]()))


@pytest.mark.parametrize("name", REPORTS)
def test_html(golden, name):
    golden(f"comparison-{name}.html", html.render(REPORTS[name]()))


def test_color_is_only_where_it_is_wanted():
    assert "\x1b[" in terminal.render(mixed(), width=120, color=True)
    assert "\x1b" not in terminal.render(mixed(), width=120, color=False)


def test_messages_of_others_do_nothing_in_a_page_or_a_comment():
    page = html.render(mixed())
    assert "<img" not in page
    assert "onerror=alert(1)" in page  # shown, as text
    tokens = PARSER.render(markdown.render(mixed()))
    assert "<img" not in tokens
    assert "<strong>x</strong>" not in tokens


def test_no_option_of_a_call_ends_the_block_of_code_that_shows_it():
    run = replace(RUN, options=("--plugin", "x\n```\n**bold**"))
    tokens = PARSER.parse(markdown.render(replace(calm(), run=run)))
    (fence,) = [token for token in tokens if token.type == "fence"]
    assert "**bold**" in fence.content


def test_worst_news_first():
    names = [item.duet.variant.model for item in words.ordered(mixed())]
    assert names[:2] == ["slow", "quick"]
    assert set(names[-3:]) == {"added", "dropped", "broken"}


def test_the_headline_is_the_worst_step_then_the_worst_phase():
    assert words.headline(mixed()).text.startswith("SLOWER: 1 variant of 8; slow/eva/none: step +2.")
    assert words.headline(calm()).text == "EQUIVALENT: the steps of all 2 variants are within 1 %"
    (single, *_) = calm().variants
    assert words.headline(replace(calm(), variants=(single,))).text == (
        "EQUIVALENT: the step of the one variant is within 1 %"
    )
    once_more = report(RUN, [duet(optimize=0.2)], Rule(), 1)
    assert words.headline(once_more).text.endswith(", and 1 more row")
    unsure = report(RUN, [duet(noise=0.03, count=20)], Rule(), 1)
    assert words.headline(unsure).text.startswith("INCONCLUSIVE: no step is known to be slower or faster; 1 of 1")
    assert words.headline(report(RUN, [], Rule(), 1)).word == "inconclusive"


def test_the_document_has_every_sample_and_every_verdict():
    content = json.loads(document.render(mixed()))
    assert (content["schema"], content["kind"]) == (1, "comparison")
    slow = next(variant for variant in content["variants"] if variant["variant"] == "slow/eva/none")
    assert {row["metric"] for row in slow["rows"]} == {"step", "forward", "backward", "optimize"}
    assert len(slow["replicates"]) == 40
    assert slow["facts"] == [{"metric": "optimize.operations", "base": 97.0, "head": 101.0}]


def test_the_command_to_reproduce_names_commits_and_the_working_tree():
    assert words.reproduce(calm()).startswith("stepbench compare 1111111111 . quiet/eva/none")
    committed = replace(RUN, head=replace(RUN.head, name="v2", dirty=False))
    assert words.reproduce(report(committed, [], Rule(), 1)) == "stepbench compare 1111111111 2222222222"


def test_a_firm_verdict_without_an_interval_says_the_side_that_it_leaves():
    for size, says in ((3.0, "more than 0 %"), (-0.7, "less than 0 %")):
        (item,) = report(RUN, [duet(step=size, count=11)], Rule(), 1).variants
        phase = words.row(item, "forward").verdict
        assert phase.low is None
        assert words.interval(phase) == says
    (unsure,) = report(RUN, [duet(step=3.0, count=5)], Rule(), 1).variants
    assert words.interval(unsure.step.verdict) == "unbounded"

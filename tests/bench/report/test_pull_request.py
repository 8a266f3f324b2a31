"""The comment on a pull request; `STEPBENCH_UPDATE_GOLDEN=1` takes over what was meant."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from bench.analyze.comparison import report
from bench.analyze.line_diff import diff
from bench.analyze.verdict import Rule
from bench.data.duet import Duet
from bench.data.measurement import Caveat, Counters
from bench.data.variant import Variant
from bench.report import pull_request
from tests.bench.report.comparison.test_golden import calm, mixed
from tests.bench.report.duets import RUN, duet
from tests.bench.report.profile.samples import FORWARD, function, profile

PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
SLOWER = [*FORWARD[:4], ("    x = F.dropout(x, 0.1)", 300e-6), *FORWARD[4:]]


def changed(variant="slow/eva/none", **commits):
    """The difference of two profiles: a new line in forward."""
    base = profile(function(), variant=variant, commit=commits.get("base", "1" * 40))
    return diff(base, profile(function(SLOWER, seed=1), variant=variant, commit=commits.get("head", "2" * 40)))


def nothing():
    return report(RUN, [Duet(variant=Variant(model="added", optimizer="sgd"), status="new")], Rule(), 1)


COMMENTS = {
    "mixed": lambda: pull_request.render([mixed()], [changed()]),
    "calm": lambda: pull_request.render([calm()]),
    "several": lambda: pull_request.render([calm(), mixed()], [changed(head="3" * 40), changed("quiet/eva/none")]),
    "nothing": lambda: pull_request.render([nothing()]),
}


@pytest.mark.parametrize("name", COMMENTS)
def test_golden(golden, name):
    golden(f"pull-request-{name}.md", COMMENTS[name]())


@pytest.mark.parametrize("name", COMMENTS)
def test_it_is_the_same_every_time_and_begins_with_the_mark_and_the_verdict(name):
    text = COMMENTS[name]()
    assert text == COMMENTS[name]()
    mark, verdict, *_ = text.splitlines()
    assert mark == "<!-- stepbench -->"
    assert re.match(r"\*\*(🔴|🟢|⚪|🟡) [A-Z]+", verdict)


@pytest.fixture
def narrow(monkeypatch):
    """Room for some forty rows."""
    monkeypatch.setattr(pull_request, "MOST_CHARACTERS", 8_192)


def test_what_is_too_long_loses_its_smallest_effects_and_says_how_many(narrow):
    # Named so that the order of the alphabet is not that of the effects.
    duets = [
        replace(duet(step=0.002 * number, count=12), variant=Variant(model=f"model-{number * 7 % 60}", optimizer="eva"))
        for number in range(60)
    ]
    found = report(RUN, duets, Rule(), len(duets))
    text = pull_request.render([found])
    # As many as there is room for: the next row would not have fitted.
    assert 8_192 - 300 < pull_request.length(text) <= 8_192
    (left_out,) = re.findall(r"^(\d+) entries with smaller changes are left out", text, re.MULTILINE)
    shown = re.findall(r"^\| `(model-\d+)/eva/none`", text, re.MULTILINE)
    assert len(shown) + int(left_out) == 60
    effects = {item.duet.variant.model: max(abs(row.verdict.ratio - 1) for row in item.rows) for item in found.variants}
    assert shown == sorted(effects, key=effects.__getitem__, reverse=True)[: len(shown)]
    assert text.endswith("</details>")


def test_what_is_slower_stays_when_larger_effects_that_are_not_sure_go(narrow):
    unsure = duet(noise=0.3, count=12)
    many = [replace(unsure, variant=Variant(model=f"noisy-{number}", optimizer="eva")) for number in range(60)]
    text = pull_request.render([report(RUN, [*many, duet(model="slow", step=0.05)], Rule(), 61)])
    assert "`slow/eva/none`" in text
    assert "left out" in text


def test_when_even_the_rest_is_too_long_the_verdict_stays(monkeypatch):
    monkeypatch.setattr(pull_request, "MOST_CHARACTERS", 400)
    text = pull_request.render([mixed()], [changed()])
    assert pull_request.length(text) <= 400
    assert text.startswith("<!-- stepbench -->\n**🔴 SLOWER: 1 variant of 8")
    assert "too long" in text


def test_a_long_list_of_facts_caveats_and_lines_is_cut():
    values = {f"state-{number}": float(number) for number in range(200)}
    sides = {"base": Counters(values=values), "head": Counters(values={name: v + 1 for name, v in values.items()})}
    caveats = tuple(Caveat(code="x", message=f"{chr(97 + n)} " * 400) for n in range(26))
    text = pull_request.render([report(RUN, [duet(step=0.05, counters=sides, caveats=caveats)], Rule(), 1)])
    assert "192 more counters" in text
    assert "6 more notes" in text
    assert len(text) < 20_000


def test_the_cause_stands_open_below_what_is_slower_and_says_when_it_is_of_other_commits():
    text = pull_request.render([mixed()], [changed()])
    cause = text.index("by profiles of both commits")
    assert text.index("🔴 slower") < cause < text.index("<details>")
    assert "new line 50, x = F.dropout(x, 0.1)" in text
    assert "by profiles of 1111111111 and 3333333333, other commits" in pull_request.render(
        [mixed()], [changed(head="3" * 40)]
    )


def test_the_command_repeats_what_is_slower():
    text = pull_request.render([mixed()])
    assert "\nstepbench compare 1111111111 . slow/eva/none\n" in text


def test_nothing_measured_is_said():
    assert "**🟡 NOTHING MEASURED" in COMMENTS["nothing"]()
    assert "nothing was measured on both sides" in COMMENTS["nothing"]()


NASTY = st.sampled_from([
    "<script>alert(1)</script>", "</details>", "<!-- stepbench -->", "```\nrm -rf /\n```", "`", "| a | b |", "@octocat",
    "#12", "https://example.com", "**bold**", "[x](javascript:alert(1))", "![x](http://e.x/p.png)", "\n\n# heading\n",
    "\u202egnp.exe", "\x1b[2J", "a" * 20_000, "@a" * 9_000, "&lt;b&gt;", "$\\sqrt{x}$", "- item", "\\", "</summary>",
])  # fmt: skip
texts = st.one_of(
    NASTY, st.text(st.characters(exclude_categories=["Cs"]), max_size=30), st.tuples(NASTY, NASTY).map("".join)
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(texts, min_size=12, max_size=12), st.booleans())
def test_whatever_strangers_write_is_shown_and_does_nothing(given_texts, several):
    host, cpu, torch, name, option, failure, message, because, fact, commit, created, path = given_texts
    run = replace(
        RUN,
        created=created,
        base=replace(RUN.base, name=name, commit=commit, packages=(path,)),
        environment=replace(RUN.environment, host=host, cpu=cpu, torch=torch),
        options=("--plugin", option),
    )
    sides = {"base": Counters(values={fact: 1.0}), "head": Counters(values={fact: 2.0})}
    duets = [
        duet(model="slow", step=0.05, count=12, counters=sides, isolation="process", because=because,
             caveats=(Caveat(code="x", message=message),)),
        replace(duet(model="calm", count=12), counters=sides),
        Duet(variant=Variant(model="broken", optimizer="sgd"), status="failed", failure=failure),
    ]  # fmt: skip
    found = report(run, duets, Rule(), 3)
    lines = [(text, seconds) for text, seconds in [*SLOWER[:4], (f"    {message}", 300e-6), *SLOWER[4:]]]
    cause = diff(
        profile(function(), variant="slow/eva/none"), profile(function(lines, seed=1), variant="slow/eva/none")
    )
    text = pull_request.render([found] * (1 + several), [cause])
    assert pull_request.length(text) <= pull_request.MOST_CHARACTERS
    assert text.startswith("<!-- stepbench -->\n**")
    assert "\x1b" not in text
    tokens = PARSER.parse(text)
    inlined = [child for token in tokens if token.children for child in token.children]
    active = {child.content for child in inlined if child.type == "html_inline"}
    assert active <= {"<br>", "<sup>", "</sup>"}
    assert not [child for child in inlined if child.type in {"link_open", "image", "em_open"}]
    blocks = [token.content.strip() for token in tokens if token.type == "html_block"]
    assert blocks.count("<!-- stepbench -->") == 1
    assert all(
        re.fullmatch(r"<!-- stepbench -->|</details>|<details><summary>[A-Z][\w ,:]+</summary>", one) for one in blocks
    )
    shown = "".join(child.content for child in inlined if child.type in {"text", "text_special"})
    assert not re.search(r"@\w|#\d|://\w|www\.\w", shown)

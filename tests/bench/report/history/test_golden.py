"""Whole histories, to be read by people: `STEPBENCH_UPDATE_GOLDEN=1` takes over what was meant."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace

import pytest
from markdown_it import MarkdownIt

from bench.analyze.history import history
from bench.data.measurement import Counters
from bench.data.origin import Origin
from bench.report.history import document, markdown, page, text, words
from tests.histories import records

PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
HOSTILE = "<img src=x onerror=alert(1)> | `code` @octocat #12 [a](b) **x**\n\x1b[31mred"
CHANCE = random.Random(5)
COMMITS = [f"{CHANCE.getrandbits(160):040x}" for _ in range(24)]


def foreign(name, tool="asv"):
    """What another tool tracked, under a name that it chose."""
    origin = Origin(
        tool=tool, release="2", file="f.json", sha256="0" * 64, benchmark=name, parameters={"n": "1"}, unit=HOSTILE
    )
    found = []
    for place, one in enumerate(records(COMMITS, at=10, change=-0.2, seed=3)):
        measurement = replace(
            one.measurement,
            variant=replace(one.measurement.variant, model="slug-0123abcd", optimizer="none"),
            counters=Counters(values={"tracked": 5.0 + (place > 20)}),
        )
        environment = replace(one.environment, host=HOSTILE)
        found.append(replace(one, measurement=measurement, environment=environment, origin=origin))
    return found


def mixed():
    """A slower phase and its counter, a calm variant, and a hostile benchmark of asv that became faster."""
    given = [*records(COMMITS, at=12, counted=True), *foreign(HOSTILE)]
    calm = records(COMMITS, seed=2)
    given += [
        replace(one, measurement=replace(one.measurement, variant=replace(one.measurement.variant, threads=2)))
        for one in calm
    ]
    given.append(replace(calm[0], environment=replace(calm[0].environment, dirty=True)))
    order = {commit: 1_790_000_000 + 3600 * place for place, commit in enumerate(COMMITS)}
    return history(given, commits=order, ordered="in the order of the history of HEAD")


def calm():
    given = records(COMMITS[:10], seed=4) + [
        replace(one, environment=replace(one.environment, host="bench-2")) for one in records(COMMITS[:3], seed=4)
    ]
    return history(given, commits=None, ordered="by date")


HISTORIES = {"mixed": mixed, "calm": calm}


@pytest.mark.parametrize("name", HISTORIES)
@pytest.mark.parametrize("width", [80, 120])
def test_terminal(golden, name, width):
    shown = text.render(HISTORIES[name](), width=width, color=False)
    golden(f"history-{name}.{width}.txt", shown)
    assert max(map(len, shown.splitlines())) <= width
    assert "\x1b" not in shown


@pytest.mark.parametrize("name", HISTORIES)
def test_markdown(golden, name):
    golden(f"history-{name}.md", markdown.render(HISTORIES[name]()))


def test_page(golden):
    golden("history-mixed.html", page.render(mixed()))


def test_names_of_others_do_nothing_in_a_page_or_on_github():
    found = page.render(mixed())
    assert "<img" not in found
    assert "onerror=alert(1)" in found  # shown, as text
    shown = PARSER.render(markdown.render(mixed()))
    assert "<img" not in shown
    assert "<strong>x</strong>" not in shown
    # In a block of code nothing is linked, and the command has to be whole.
    assert "@octocat" not in re.sub(r"<pre>.*?</pre>", "", shown, flags=re.DOTALL).replace("\u200b", "|")


def test_a_command_in_a_comment_can_be_copied_and_stands_once():
    commands = {words.confirm(series, change) for series, change in mixed().changes}
    tokens = PARSER.parse(markdown.render(mixed()))
    assert sorted(token.content for token in tokens if token.type == "fence") == sorted(f"{one}\n" for one in commands)
    assert any("@octocat" in one for one in commands)


def test_the_document_has_every_point_and_change():
    content = json.loads(document.render(mixed()))
    assert (content["schema"], content["kind"]) == (2, "history")
    series = [one for group in content["groups"] for one in group["series"]]
    slow = next(one for one in series if one["metric"] == "optimize" and one["name"] == "resnet20/eva/none")
    assert len(slow["points"]) == 24
    (change,) = slow["changes"]
    assert (change["worse"], change["before"]["commit"]) == (True, COMMITS[11])
    assert change["confirm"] == f"stepbench compare {COMMITS[11][:10]} {COMMITS[12][:10]} resnet20/eva/none"


def test_the_command_that_confirms_names_threads_and_asv():
    found = {series.name: series for series in mixed().series if series.metric == "optimize"}
    change = found["resnet20/eva/none"].changes[0]
    threads = words.confirm(found["resnet20/eva/none@threads=2"], change)
    assert threads.split()[:4] == ["stepbench", "compare", "--threads", "2"]
    (asv,) = [series for series in mixed().series if series.origin is not None and series.metric == "step"]
    assert words.confirm(asv, change).startswith("asv continuous ")
    other = replace(asv, origin=replace(asv.origin, tool="pytest-benchmark"))
    assert words.confirm(other, change) == ""


def test_what_may_be_better_either_way_has_no_color_and_small_differences_show():
    series = next(one for one in mixed().series if one.metric == "tracked")
    change = replace(mixed().changes[0][1], before=series.points[0], after=series.points[-1])
    assert words.worse(series, change) is None
    assert words.kind(series, change) == ""
    before, after = (replace(series.points[0], value=value) for value in (76_100_001.0, 76_100_002.0))
    exact = replace(change, exact=True, before=before, after=after)
    assert words.size(replace(series, metric="object_bytes"), exact) == "76,100,001 -> 76,100,002"


def test_one_command_confirms_all_metrics_of_a_variant_and_stands_once():
    assert [len(changes) for changes in words.by_command(mixed()).values()] == [2, 1, 2]
    for shown in (text.render(mixed(), width=200, color=False), page.render(mixed())):
        assert shown.count("stepbench compare ") == 1


def test_the_page_says_figures_in_a_sentence():
    assert '<p class="small">101 now, was 97 at the first of 24 commits; exact</p>' in page.render(mixed())


def test_a_line_of_blocks_rises_with_the_values_and_noise_stays_low():
    rising = next(series for series in mixed().series if series.metric == "optimize")
    assert len(words.spark(rising)) == 24
    points = tuple(replace(point, value=1 + 1e-4 * (place % 2)) for place, point in enumerate(rising.points))
    assert set(words.spark(replace(rising, points=points))) == {"▁"}

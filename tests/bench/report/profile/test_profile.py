from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from bench.analyze.line_diff import diff
from bench.analyze.lines import costs
from bench.data.profile import Operation, TracedOperation
from bench.report.profile import diff_words, difference, html, markdown, operations, text, words
from tests.bench.report.conftest import ENVIRONMENT
from tests.bench.report.profile.samples import explained, function, profile
from tests.bench.report.profile.test_golden import changed, hostile
from tests.bench.report.test_markdown import PARSER

ROW = re.compile(r"^ *(\d+) +(\d+) +([\d.]+) +([\d.]+) +([\d.]+)  (.*)$")


def test_the_table_has_line_profilers_form():
    lines = text.table(costs(profile())[0])
    assert lines[4] == "Line #      Hits         Time  Per Hit   % Time  Line Contents"
    rows = [ROW.match(line).groups() for line in lines if ROW.match(line)]
    assert [row[1] for row in rows] == ["40"] * 5
    assert sum(float(row[4]) for row in rows) == pytest.approx(100, abs=0.5)
    assert rows[0][5] == "    x = self.conv(x)"
    for row in rows:
        assert float(row[2]) / float(row[1]) == pytest.approx(float(row[3]), abs=0.1)


def test_the_dearest_line_says_why():
    assert "line 48, 620 µs a step: 11 operations (390 µs, 77 % of that aten.convolution), 38 % in hook Eva.hook" in (
        text.render([explained()])
    )


def test_source_of_others_steers_no_terminal_and_writes_no_markup():
    shown = text.render([hostile()])
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "naïve café" in shown
    page = html.render([hostile()])
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    rendered = PARSER.render(markdown.render([hostile()]))
    assert "<script>" not in rendered.replace("&lt;script&gt;", "")
    assert rendered.count("<details>") == markdown.render([hostile()]).count("<details>")


def test_a_fence_is_longer_than_any_in_the_source():
    assert markdown.fenced(["a", "````python", "b"])[0] == "`````"


def test_a_failure_is_said_and_the_other_profile_is_shown():
    broken = profile(replicates=(), functions=(), failure="RuntimeError: no\n\x1b[31m optimizer")
    shown = text.render([broken, profile()])
    assert "failed: RuntimeError: no [31m optimizer" in shown
    assert "Net.forward at line 46" in shown
    assert "failed: RuntimeError" in html.render([broken, profile()])


def test_a_function_that_never_ran_is_named():
    idle = function((("def hook(self):", None), ("    pass", None)), name="hook", role="hook")
    assert "never ran: hook" in text.render([profile(function(), idle)])


def test_variants_stand_in_columns():
    page = html.render([profile(), profile(function(seed=1), variant="net/sgd/none")])
    assert page.count("<table>") == 1
    assert '<th aria-label="net/eva/none" class="number">' in page
    assert '<th aria-label="net/sgd/none" class="number">' in page


def test_the_summary_names_the_line_first():
    sentence, *lines = diff_words.summary(changed())
    assert sentence.startswith("Net.forward: +")
    assert [line.partition(": ")[2] for line in lines] == [
        "line 48, x = self.conv(x)",
        "line 51, x = block(x)",
        "new line 49, x = x.clone()",
    ]
    same = diff(profile(), profile(function(seed=1)))
    assert diff_words.summary(same)[0].startswith("no line differs; line 51, x = block(x), is known to within")


def test_the_document_has_every_line_and_both_profiles():
    document = json.loads(difference.document(changed()))
    assert (document["schema"], document["kind"], document["paired"]) == (1, "profile-diff", True)
    (found,) = document["functions"]
    assert {line["kind"] for line in found["lines"]} >= {"same", "added", "moved"}
    assert len(document["profiles"]) == 2
    assert [line["text"].strip() for line in found["lines"]] == [
        "x = self.conv(x)", "x = x.clone()", "for block in self.blocks:", "x = block(x)", "x = F.relu(x)", "return x",
    ]  # fmt: skip


def test_an_accelerators_lines_are_the_hosts():
    assert "CUDA_LAUNCH_BLOCKING=1" in " ".join(words.notes(profile(variant="net/eva/none@device=cuda")))


def traced(device=0.0):
    rows = (
        TracedOperation(name="aten::mm|x", calls=2, self_seconds=1e-3, total_seconds=2e-3, device_seconds=device),
        TracedOperation(name="aten::add", calls=1, self_seconds=3e-3, total_seconds=3e-3),
    )
    return operations.Traced(variant="net/eva/none", steps=5, operations=rows)


def test_operations_are_shown_dearest_first():
    shown = operations.terminal(traced(), top=1, width=100, color=False)
    assert "aten::add" in shown
    assert "aten::mm" not in shown
    assert "on the device" not in shown
    assert "on the device" in operations.terminal(traced(2e-3), top=2, width=120, color=False)
    assert r"aten::mm\|x" in operations.markdown(traced())
    assert json.loads(operations.document(traced()))["operations"][0]["name"] == "aten::add"


def test_operations_never_take_more_than_their_line():
    dear = (Operation(name="aten.add", count=1, seconds=1.0),)
    lines = {"x = F.relu(x)": {"operations": dear}}
    assert "1 operation (nearly all of it, aten.add)" in text.render([profile(function(**lines))])


def test_one_replicate_says_nothing_of_noise():
    one = replace(profile(), replicates=profile().replicates[:1])
    assert diff_words.summary(diff(one, one))[0].startswith("one replicate says nothing of noise")


def test_a_step_that_changed_outside_of_the_lines_is_said_to_have():
    times = profile().replicates[0]
    slow = tuple(replace(times, plain={"step": (4e-3 + index * 1e-6,) * 4}) for index in range(10))
    found = diff(profile(), profile(function(seed=1), replicates=slow))
    assert "the lines named are +0 s of it, the rest lies in what was not profiled" in diff_words.step(found)


def test_profiles_taken_in_other_places_say_so():
    other = replace(ENVIRONMENT, threads=2)
    found = diff(profile(), profile(function(seed=1), session="s2", environment=other))
    shown = text.difference(found)
    assert "threads, torch or processor differ" in shown
    assert "before: Example CPU" in shown
    assert "2 threads" in shown


def test_functions_of_one_name_have_a_table_each():
    lambdas = [function((("lambda x: x", 1e-3),), name="<lambda>", first=number) for number in (3, 9)]
    assert html.render([profile(*lambdas)]).count("<table>") == 2

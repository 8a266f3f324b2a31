from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from bench.data.measurement import Caveat
from bench.data.metric import PHASES_OF_RANKS
from bench.report import markdown
from bench.report.plain import one_line
from tests.bench.report.conftest import make_row, make_table, tables, whole_tables

PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def inline(text):
    """Flat list of what a renderer makes of the text inside blocks."""
    return [child for token in PARSER.parse(text) if token.children for child in token.children]


def shown(text):
    """What a reader sees of a text without markup."""
    return "".join(child.content for child in inline(text)).replace("\u200b", "")


@pytest.mark.parametrize(
    "text",
    [
        "a | b", "`code`", "``", "<img src=x onerror=alert(1)>", "</table>", "<!-- -->", "[link](javascript:x)",
        "![picture](x)", "**bold** _it_ ~~gone~~", "&lt;b&gt;", "back\\slash \\| \\`", "# heading", "> quote",
        "$\\sqrt{x}$", "- item", "+ item", "12. item", "= underline", "---", "a_b_c *x* {y}",
    ],
)  # fmt: skip
def test_markup_of_others_is_shown_and_not_obeyed(text):
    escaped = markdown.escape(text)
    (paragraph, content, _) = PARSER.parse(escaped)
    assert paragraph.type == "paragraph_open"
    assert {child.type for child in content.children} <= {"text", "text_special"}
    assert shown(escaped) == text


@pytest.mark.parametrize(
    ("text", "active"),
    [
        ("thanks @octocat", "@o"), ("fixes #12", "#1"), ("see GH-12", "GH-"), ("at https://example.com", "://"),
        ("at www.example.com", "www."), ("mail me@example.com", "@e"), ("owner/name#7", "#7"),
        (":tada:", ":tada:"), ("a:white_check_mark::+1:", ":white_check_mark:"), (":100::8ball:", ":8ball:"),
        (":+1:", ":+1:"), (":tada:rocket:", ":rocket:"), ("at " + "1a" * 20, "1a" * 20), ("o@" + "F0" * 20, "F0" * 20),
    ],
)  # fmt: skip
def test_what_github_links_after_markup_is_done_is_broken(text, active):
    escaped = markdown.escape(text)
    visible = "".join(child.content for child in inline(escaped))
    assert active not in visible
    assert visible.replace("\u200b", "") == text


def test_times_of_day_and_short_commits_can_be_copied():
    text = "base main (1a2b3c4d5e); 2026-11-21T10:00:00+00:00"
    assert markdown.escape(text) == text


def test_a_row_of_ranks_shows_what_it_waited_for_and_sent():
    counters = {
        "communicate.messages": 5, "communicate.bytes": 1_254_036,
        **{f"{phase}.operations": number for number, phase in enumerate(("forward", "backward", "optimize"), 1)},
    }  # fmt: skip
    row = make_row("mlp/eva/none@ranks=2", (1, 2, 3, 4, 10), counters=counters, phases=PHASES_OF_RANKS)
    text = markdown.render(make_table(row))
    assert "| communicate |" in text
    assert "3.00 s<br>±1.2%<br>messages 5<br>bytes 1.25 MB" in text
    assert "operations F/B/O" in text
    assert "| 1 / 2 / 3 |" in text


@given(st.text())
def test_any_text_stays_itself(text):
    escaped = markdown.escape(text)
    assert "\n" not in escaped
    assert shown(escaped) == one_line(text)


def test_a_failure_is_a_row_with_its_reason():
    text = markdown.render(make_table(make_row("mlp/bad/none", failure="ValueError: a | b\nsecond line")))
    (line,) = [line for line in text.splitlines() if "mlp/bad/none" in line]
    assert line.startswith("| `mlp/bad/none`<br>failed: ValueError: a \\| b second line |")
    assert sum(token.type == "td_open" for token in PARSER.parse(text)) == 13


def test_every_exact_counter_stands_in_the_row():
    counters = {
        "forward.operations": 1, "backward.operations": 2, "optimize.operations": 3,
        "forward.syncs": 4, "backward.syncs": 5, "optimize.syncs": 6,
        "forward.flops": 7_000, "backward.flops": 8_000_000, "optimize.flops": 9,
        "saved_bytes": 11_000, "peak_bytes": 12_000, "state_bytes": 13_000, "loss": 2.30258,
    }  # fmt: skip
    row = make_row("mlp/sgd/none", (1, 2, 3, 6), counters=counters, parts={"momentum": 12_000, "step": 1_000})
    text = markdown.render(make_table(row))
    (line,) = [line for line in text.splitlines() if "mlp/sgd/none" in line]
    assert line.endswith(
        "| 1 | 1 / 2 / 3 | 4 / 5 / 6 | 7.00 kFLOP / 8.00 MFLOP / 9 FLOP | 11.0 kB | 12.0 kB "
        "| 13.0 kB<br>momentum 12.0 kB<br>step 1.00 kB | 2.303 |"
    )


def test_two_tables_in_one_comment_keep_their_notes_apart():
    """GitHub's own footnotes are numbered per comment, so notes go by plain numbers."""
    row = make_row("mlp/sgd/none", (1, 2, 3, 6), caveats=(Caveat(code="x", message="be careful"),))
    text = markdown.render(make_table(row))
    assert "[^" not in text
    assert "`mlp/sgd/none` <sup>1</sup>" in text
    assert text.endswith("\n\n1. be careful")


@whole_tables
@given(tables)
def test_whatever_is_measured_the_table_keeps_its_shape(table):
    tokens = PARSER.parse(markdown.render(table))
    counts = [sum(token.type == kind for token in tokens) for kind in ("th_open", "td_open")]
    assert counts[1] == len(table.rows) * counts[0], "a cell of every row for every column"
    assert not [token for token in tokens if token.type in {"html_block", "heading_open", "fence", "code_block"}]
    inlined = [child for token in tokens if token.children for child in token.children]
    assert {child.content for child in inlined if child.type == "html_inline"} <= {"<br>", "<sup>", "</sup>"}
    allowed = {
        "text",
        "text_special",
        "code_inline",
        "html_inline",
        "softbreak",
        "hardbreak",
        "strong_open",
        "strong_close",
    }
    assert {child.type for child in inlined} <= allowed


def test_a_sign_at_the_end_of_a_text_makes_no_link_with_what_follows():
    assert "@vit" not in markdown.escape("@") + "vit"
    assert "#1" not in markdown.escape("#") + "1"

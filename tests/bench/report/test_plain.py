from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.report.plain import one_line


@pytest.mark.parametrize(
    ("given_", "text"),
    [
        ("two\nlines\r\n and\ttabs ", "two lines and tabs"),
        ("\x1b[31mred\x1b[0m", "[31mred [0m"),
        ("abc\u202ecba", "abc cba"),
        ("lone \ud800 surrogate", "lone surrogate"),
        ("größer ≥ 3 µs", "größer ≥ 3 µs"),
        ("", ""),
    ],
)
def test_what_moves_the_cursor_or_cannot_be_encoded_is_a_blank(given_, text):
    assert one_line(given_) == text


@given(st.text(st.characters(exclude_categories=[])))
def test_any_text_becomes_one_printable_line(text):
    line = one_line(text)
    assert line.isprintable()
    assert one_line(line) == line
    line.encode("utf-8")

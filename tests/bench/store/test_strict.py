from __future__ import annotations

import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import InvalidRecord
from bench.store import strict

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
)


@given(values)
def test_what_is_json_is_read_as_it_is(value):
    assert strict.decode(json.dumps(value).encode(), "x.json") == value


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no JSON"), (b'{"a": 1', "no JSON"), (b"\xff\xfe", "no UTF-8 at byte 0"), (b"nul", "no JSON"),
        (b"[NaN]", "holds NaN"), (b"[-Infinity]", "holds -Infinity"), (b"[1e999]", "out of range: 1e999"),
        (b"[" + b"9" * 5000 + b"]", "out of range: 99999"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "name 'c' stands twice"),
        (b"[" * 100_000, "nested too deeply"), (b'{"a":' * 100_000, "nested too deeply"),
        (pickle.dumps({"benchmarks": []}), "a pickle, whatever its name"),
        (b'["' + b"x" * (10 << 20) + b'"]', "a text of 10,485,760 characters; at most 1,048,576"),
        (b'["\\ud800"]', "half a character"), (b'{"\\udc00": 1}', "half a character"),
    ],
)  # fmt: skip
def test_what_nobody_should_read_is_refused_in_one_line(content, says):
    with pytest.raises(InvalidRecord) as raised:
        strict.decode(content, "x.json")
    assert str(raised.value).startswith("x.json: ")
    assert says in str(raised.value)
    assert len(str(raised.value)) < 200
    assert "\n" not in str(raised.value)


def test_where_they_are_expected_numbers_that_are_none_are_read():
    assert str(strict.decode(b"[NaN, Infinity, -Infinity]", "x", finite=False)) == "[nan, inf, -inf]"


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(content):
    try:
        strict.decode(content, "x")
    except InvalidRecord as error:
        assert "\n" not in str(error)  # noqa: PT017 - most are refused, some are read


def test_only_regular_files_of_a_sensible_size_are_opened(tmp_path):
    with pytest.raises(InvalidRecord, match="there is no such file"):
        strict.read(tmp_path / "missing.json")
    with pytest.raises(InvalidRecord, match="is no regular file"):
        strict.read(tmp_path)
    path = tmp_path / "large.json"
    path.write_text(" " * 100)
    with pytest.raises(InvalidRecord, match="larger than 0 MB"):
        strict.read(path, most_bytes=99)

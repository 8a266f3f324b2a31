from __future__ import annotations

import gc
import sys

import pytest

from bench.profile import lines
from bench.profile.marks import marked


def test_a_marked_function_is_the_function_itself_so_that_a_call_costs_what_it_did():
    def function(number):
        return number + 1

    before = function.__code__.co_code
    assert lines(function) is function
    assert function.__code__.co_code is before
    called = []
    sys.setprofile(lambda frame, event, _: called.append(frame.f_code.co_name) if event == "call" else None)
    try:
        function(1)
    finally:
        sys.setprofile(None)
    assert called == ["function"]


def test_a_function_that_is_gone_is_no_longer_marked():
    def passing():
        return None

    lines(passing)
    assert passing in marked()
    del passing
    gc.collect()
    assert "passing" not in [function.__name__ for function in marked()]


def test_what_has_no_lines_is_refused():
    with pytest.raises(TypeError, match="directly above its def"):
        lines(len)

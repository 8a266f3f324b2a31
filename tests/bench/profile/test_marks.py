from __future__ import annotations

import functools
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


def names(found):
    return [function.__qualname__ for function, _ in found]


def anywhere(file):
    return True


def test_a_function_that_is_gone_is_no_longer_marked():
    def passing():
        return None

    lines(passing)
    assert any("passing" in name for name in names(marked(anywhere)))
    del passing
    gc.collect()
    assert not any(name.endswith("passing") for name in names(marked(anywhere)))


def outer():
    @lines
    def inside():
        return 1

    return inside()


def test_a_function_that_is_made_anew_each_time_is_found_in_the_one_around_it():
    for _ in range(1000):
        outer()
    gc.collect()
    found = [(function, path) for function, path in marked(lambda file: file == __file__) if function is outer]
    assert len(found) == 1
    assert found[0][1]


def test_above_a_decorator_that_wraps_the_function_inside_is_marked():
    def wrapped():
        return None

    @functools.wraps(wrapped)
    def wrapper():
        return wrapped()

    assert lines(wrapper) is wrapper
    assert any(function is wrapped for function, _ in marked(anywhere))


def test_methods_of_all_kinds_can_be_marked():
    class Thing:
        @lines
        @staticmethod
        def still():
            return None

        @lines
        @classmethod
        def of_class(cls):
            return None

        def bound(self):
            return None

    lines(Thing().bound)
    found = {name.rpartition(".")[2] for name in names(marked(anywhere))}
    assert {"still", "of_class", "bound"} <= found


def test_what_has_no_lines_is_refused():
    with pytest.raises(TypeError, match="goes above the def"):
        lines(len)

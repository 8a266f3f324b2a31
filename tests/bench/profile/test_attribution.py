from __future__ import annotations

import inspect
import sys

import torch

from bench.profile.attribution import LineOperations, count_events, timed_hooks
from tests.bench.profile import toy

FORWARD = toy.Net.forward.__code__
FIRST = FORWARD.co_firstlineno


def at(found, offset):
    return found.get((FORWARD, FIRST + offset))


def test_operations_are_booked_on_the_line_they_run_under_and_views_are_none():
    net = toy.Net()
    with LineOperations([FORWARD]) as operations:
        net(torch.randn(2, 8))
        net(torch.randn(2, 8))
    assert {name: len(taken) for name, taken in at(operations.found, 1).items()} == {"aten.addmm": 2}
    assert len(at(operations.found, 2)["aten.tanh"]) == 2
    assert len(at(operations.found, 4)["aten.add"]) == 6
    assert at(operations.found, 3) is None
    assert all(seconds >= 0 for booked in operations.found.values() for taken in booked.values() for seconds in taken)


def test_a_line_has_the_operations_of_all_it_calls():
    net = toy.Net()
    optimizer = toy.Descent(net.parameters(), lr=0.1)
    net(torch.randn(2, 8)).sum().backward()
    code = inspect.unwrap(toy.Descent.step).__code__
    with LineOperations([code]) as operations:
        optimizer.step()
    under = {line - code.co_firstlineno: booked for (_, line), booked in operations.found.items()}
    assert {offset: {name: len(taken) for name, taken in booked.items()} for offset, booked in under.items()} == {
        5: {"aten.sub_": 4}
    }


def test_hooks_are_timed_by_line_and_put_back():
    net = toy.Net()
    net.first.register_forward_hook(toy.looks)
    before = dict(net.first._forward_hooks)
    with timed_hooks(net, [FORWARD]) as found:
        net(torch.randn(2, 8))
    assert list(at(found, 1)) == ["looks"]
    assert at(found, 1)["looks"] > 0
    assert len(found) == 1
    assert dict(net.first._forward_hooks) == before


def test_hooks_that_take_keywords_still_get_them():
    net, seen = toy.Net(), []
    net.first.register_forward_hook(lambda module, args, kwargs, output: seen.append(kwargs), with_kwargs=True)

    def before(module, args, kwargs):
        return args, kwargs

    net.first.register_forward_pre_hook(before, with_kwargs=True)
    with timed_hooks(net, [FORWARD]) as found:
        net(torch.randn(2, 8))
    assert seen == [{}]
    assert len(at(found, 1)) == 2


def test_hooks_are_put_back_when_one_raises():
    net = toy.Net()

    def breaks(module, inputs):
        raise ValueError("broken")

    net.first.register_forward_pre_hook(breaks)
    try:
        with timed_hooks(net, [FORWARD]):
            net(torch.randn(2, 8))
    except ValueError:
        assert list(net.first._forward_pre_hooks.values()) == [breaks]
    else:
        raise AssertionError


def test_events_are_counted_between_the_beginnings_of_lines():
    def inner():
        one = 1
        return one + 1

    def outer():
        inner()
        inner()

    def phases():
        outer()
        yield "forward"
        yield "backward"

    events, total = count_events([outer.__code__, inner.__code__], phases())
    first = outer.__code__.co_firstlineno
    # A call of inner is its call, its two lines and its return, and the event that ends the line.
    assert events[outer.__code__, first + 1] == events[outer.__code__, first + 2] == {"forward": 5}
    assert events[inner.__code__, inner.__code__.co_firstlineno + 1] == {"forward": 2}
    assert total["forward"] >= 12
    assert total["backward"] <= 4
    assert sys.gettrace() is None or sys.gettrace().__name__ != "trace"

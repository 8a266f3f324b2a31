from __future__ import annotations

import functools
import importlib.metadata

import pytest

from bench.data.metric import PHASES
from bench.errors import DuplicateName, StepbenchError, UnknownName
from bench.plugin import Registry


def test_a_registry_gives_back_what_was_registered_in_order():
    registry = Registry()

    @registry.optimizer("b")
    def second(module):
        """Does something.

        At length.
        """

    @registry.optimizer("a")
    def first(module): ...

    assert registry.names("optimizer") == ["b", "a"]
    part = registry.get("optimizer", "b")
    assert part.factory is second
    assert part.summary == "Does something."
    assert part.origin.startswith(__file__)
    assert registry.get("optimizer", "a").summary == ""
    assert [p.name for p in registry.parts("optimizer")] == ["b", "a"]


def test_one_name_may_stand_on_two_axes_but_not_twice_on_one():
    registry = Registry()
    registry.model("same")(lambda *_: None)
    registry.optimizer("same")(lambda _: None)
    with pytest.raises(DuplicateName, match=r"model 'same' is registered twice: .*:\d+ and .*:\d+"):
        registry.model("same")(lambda *_: None)


def test_unknown_names_and_phases_are_errors():
    registry = Registry()
    with pytest.raises(UnknownName, match=r"unknown model 'x'\. \(known: none\)"):
        registry.get("model", "x")
    with pytest.raises(UnknownName, match="did you mean 'forward'"):
        registry.quantization("q", phases=("foward",))


def test_parts_remember_what_they_declared():
    registry = Registry()
    registry.quantization("frozen", phases=("forward",))(lambda module: module)
    registry.quantization("whole")(lambda module: module)
    registry.data("folder", paths=True)(lambda path: None)
    registry.data("noise")(lambda: None)
    assert registry.get("quantization", "frozen").options["phases"] == ("forward",)
    assert registry.get("quantization", "whole").options["phases"] == PHASES
    both = [{"paths": True, "held_out": None}, {"paths": False, "held_out": None}]
    assert [part.options for part in registry.parts("data")] == both


def test_a_decorator_returns_the_factory_as_it_was():
    def factory(module):
        return module

    assert Registry().optimizer("o")(factory) is factory


def test_the_origin_is_that_of_the_wrapped_function_or_the_module():
    registry = Registry()

    @registry.model("wrapped")
    @functools.wraps(test_two_registries_share_nothing)
    def wrapper(*arguments): ...

    class Factory:
        def __call__(self, module): ...

    registry.optimizer("object")(Factory())
    first = test_two_registries_share_nothing.__code__.co_firstlineno
    assert registry.get("model", "wrapped").origin == f"{__file__}:{first}"
    assert registry.get("optimizer", "object").origin == __name__


def test_a_decorator_without_its_name_says_so():
    with pytest.raises(StepbenchError, match=r'write @registry.model\("name"\)'):
        Registry().model(lambda *_: None)


def test_two_registries_share_nothing():
    first, second = Registry(), Registry()
    first.model("only")(lambda *_: None)
    assert second.names("model") == []


def test_the_import_name_bench_is_ours():
    """Another distribution that installs a package `bench` would be imported in its place."""
    assert set(importlib.metadata.packages_distributions()["bench"]) == {"stepbench"}

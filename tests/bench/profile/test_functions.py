from __future__ import annotations

import functools

import pytest
import torch

from bench.data.variant import Variant
from bench.errors import UnknownName
from bench.plugin import Registry
from bench.profile.functions import hook_name, specimens_of, targets
from bench.run.build import build
from tests.bench.profile import toy


@pytest.fixture
def registry():
    registry = Registry()
    toy.register(registry)
    return registry


@pytest.fixture
def step(registry):
    return build(registry, Variant.parse("net/descent/none"), data=None, seed=0)


def found(step, registry, *names):
    return {target.name: target.role for target in targets(step, names, specimens_of(registry))}


def test_by_default_forward_step_hooks_and_what_is_marked(step, registry):
    assert found(step, registry) == {
        "Net.forward": "forward", "Descent.step": "optimize", "looks": "hook", "halve": "marked",
    }  # fmt: skip


def test_names_take_the_place_of_the_default_and_may_be_cut_short(step, registry):
    assert found(step, registry, "Descent.step") == {"Descent.step": "named", "halve": "marked"}
    assert found(step, registry, "step")["Descent.step"] == "named"
    assert found(step, registry, "tests.bench.profile.toy.Net.forward")["Net.forward"] == "named"


def test_a_function_inside_of_another_one_has_a_name_too(step, registry):
    assert found(step, registry, "register.net")["register.net"] == "named"


def test_a_full_name_reaches_any_function(step, registry):
    assert found(step, registry, "torch.optim.SGD.step")["SGD.step"] == "named"


def test_an_unknown_name_gets_the_nearest_ones(step, registry):
    with pytest.raises(UnknownName, match=r"unknown function 'Net\.forwards', did you mean 'Net\.forward'"):
        found(step, registry, "Net.forwards")


def test_neither_the_instrument_nor_libraries_are_specimens(registry):
    owned = specimens_of(registry)
    assert owned(toy.__file__)
    assert not owned(torch.__file__)
    assert not owned(functools.__file__)
    assert not owned(__import__("bench").__file__)


def test_hooks_are_called_by_their_functions_name():
    class Hook:
        def __call__(self, module, inputs, output):
            return None

    assert hook_name(functools.partial(toy.looks, extra=1)) == "looks"
    assert hook_name(Hook()).endswith("Hook.__call__")
    assert hook_name(len) == "builtin_function_or_method"

from __future__ import annotations

import random

import pytest
import torch
from torch import fx, nn

from lowbit.deploy import timing
from tests.fakes import FakeClock


class Takes(nn.Module):
    """A layer that takes some seconds of a clock."""

    def __init__(self, clock, seconds):
        super().__init__()
        self.clock, self.seconds = clock, seconds

    def forward(self, values):
        self.clock.move(self.seconds)
        return values


class Model(nn.Module):
    """Two layers, one of them used twice, and a second of its own."""

    def __init__(self, clock):
        super().__init__()
        self.clock = clock
        self.first, self.second = Takes(clock, 2.0), Takes(clock, 3.0)
        self.batches = []

    def forward(self, values):
        self.batches.append(values)
        self.clock.move(1.0)
        return self.first(self.second(self.first(values)))


@pytest.fixture
def clock():
    return FakeClock()


def take(*modules, clock, seconds=200.0, **given):
    subjects = [timing.Subject(module=module, batches=[0, 1, 2], **given) for module in modules]
    return timing.take(subjects, clock, seconds, random.Random(0))


def test_the_seconds_of_layers_are_those_in_which_they_were_the_innermost(clock):
    (found,) = take(Model(clock), clock=clock)
    assert set(found.whole) == set(found.marked) == {8.0}
    assert {name: set(spans) for name, spans in found.places.items()} == {"": {1.0}, "first": {4.0}, "second": {3.0}}


def test_a_slow_model_runs_as_often_as_a_median_needs_and_every_batch_has_its_turn(clock):
    model = Model(clock)
    (found,) = take(model, clock=clock, seconds=1.0)
    assert len(found.whole) == len(found.marked) == timing.LEAST
    # Each batch comes once with marks and once without.
    assert model.batches == [index % 3 for index in range(timing.LEAST + timing.WARMUP) for _ in range(2)]


def test_two_models_take_turns_and_only_the_marked_ones_are_seen_inside(clock):
    order = []

    class Noted(Takes):
        def forward(self, values):
            order.append(self.seconds)
            return super().forward(values)

    found = take(Noted(clock, 2.0), Noted(clock, 5.0), clock=clock, seen_inside=False)
    assert [set(each.whole) for each in found] == [{2.0}, {5.0}]
    assert [each.marked for each in found] == [(), ()]
    pairs = [tuple(order[start : start + 2]) for start in range(0, len(order), 2)]
    assert {tuple(sorted(pair)) for pair in pairs} == {(2.0, 5.0)}
    assert len(set(pairs)) == 2


def test_nodes_of_a_graph_are_places_too(clock):
    def spend(values):
        clock.move(7.0)
        return values

    graph = fx.Graph()
    graph.output(graph.call_function(spend, (graph.call_module("layer", (graph.placeholder("values"),)),)))
    (found,) = take(fx.GraphModule({"layer": Takes(clock, 2.0)}, graph), clock=clock)
    assert {name: set(spans) for name, spans in found.places.items() if any(spans)} == {"layer": {2.0}, "spend": {7.0}}


def test_the_time_of_the_thread_is_kept_beside_that_of_the_wall(clock):
    (found,) = take(Takes(clock, 2.0), clock=clock)
    assert set(found.cpu) == set(found.places_cpu[""]) == {1.0}


def test_models_run_without_gradients_but_not_in_inference_mode_for_which_compiled_ones_are_made_anew(clock):
    seen = set()

    class Noted(Takes):
        def forward(self, values):
            seen.add((torch.is_grad_enabled(), torch.is_inference_mode_enabled()))
            return super().forward(values)

    take(Noted(clock, 2.0), clock=clock)
    assert seen == {(False, False)}


def test_the_interval_of_a_median_comes_from_stretches_of_neighbours():
    even = timing.median([1.0, 1.1] * 40)
    # The same samples, but a machine that was slower in the second half: neighbours are no independent witnesses.
    drifting = timing.median(sorted([1.0, 1.1] * 40))
    assert even.low <= even.center <= even.high
    assert drifting.high - drifting.low > 5 * (even.high - even.low)
    assert timing.median([2.0]).low is None

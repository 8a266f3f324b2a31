from __future__ import annotations

import contextlib
import gc
import random

import pytest

from bench.run.measure import WINDOW_S, WINDOW_STEPS, quiet_collector, take
from tests.fakes import FakeClock, TinyStep


def test_the_spans_of_a_phased_step_add_up_to_the_plain_step_exactly():
    clock = FakeClock()
    taken = take(TinyStep(clock), clock, 200.0, random.Random(0))
    pairs = len(taken.samples["step"])
    assert {name: set(values) for name, values in taken.samples.items()} == {
        "zero_grad": {1.0}, "forward": {2.0}, "backward": {3.0}, "optimize": {4.0}, "step": {10.0},
        "zero_grad.cpu": {0.5}, "forward.cpu": {1.0}, "backward.cpu": {1.5}, "optimize.cpu": {2.0}, "step.cpu": {5.0},
    }  # fmt: skip
    assert all(len(values) == pairs for values in taken.samples.values())
    assert taken.last_loss == 0.5


def test_measuring_ends_with_the_pair_that_spends_the_time():
    clock = FakeClock()
    taken = take(TinyStep(clock), clock, 200.0, random.Random(0))
    # Two warm-up steps of 10 s, then pairs of 20 s until 200 s have passed.
    assert taken.warmup_steps == 2
    assert clock.wall == 20 + 9 * 20
    assert len(taken.samples["step"]) == 9


@pytest.mark.parametrize(("seconds", "window"), [(0.001, 20), (0.03, WINDOW_STEPS), (0.2, 1)])
def test_a_window_is_two_steps_or_its_time_or_one_long_step(seconds, window):
    clock = FakeClock()
    step = TinyStep(clock)
    step.durations = {name: seconds / 10 * duration for name, duration in TinyStep.durations.items()}
    assert take(step, clock, 200 * seconds, random.Random(0)).warmup_steps == pytest.approx(2 * window, abs=2)


def test_a_window_of_fast_steps_lasts_its_time():
    clock = FakeClock()
    step = TinyStep(clock)
    step.durations = {name: seconds * 1e-4 for name, seconds in TinyStep.durations.items()}  # a step of 1 ms
    taken = take(step, clock, 1.0, random.Random(0))
    assert taken.settled
    assert taken.warmup_steps == pytest.approx(2 * WINDOW_S / 1e-3, abs=2)


def test_two_pairs_are_taken_of_a_step_slower_than_the_time_it_is_given():
    clock = FakeClock()
    assert len(take(TinyStep(clock), clock, 1.0, random.Random(0)).samples["step"]) == 2


def test_warm_up_goes_on_until_two_windows_agree():
    clock = FakeClock()
    scales = (9.0, 7.0, 4.0, 3.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    taken = take(TinyStep(clock, scales), clock, 1e4, random.Random(0))
    assert taken.settled
    assert taken.warmup_steps == 7
    assert set(taken.samples["step"]) == {10.0}


def test_a_step_that_never_settles_is_marked_and_measured_all_the_same():
    clock = FakeClock()
    scales = tuple(0.8**n for n in range(-60, 140))
    taken = take(TinyStep(clock, scales), clock, 1e7, random.Random(0))
    assert not taken.settled
    assert len(taken.samples["step"]) >= 2


def test_phased_and_plain_steps_run_in_random_order():
    def first_marks(seed):
        clock = FakeClock()
        step = TinyStep(clock)
        marks = []
        move = clock.mark
        clock.mark = lambda: (marks.append(len(step.calls)), move())[1]
        take(step, clock, 400.0, random.Random(seed))
        return marks

    assert first_marks(1) == first_marks(1)
    assert len({tuple(first_marks(seed)) for seed in range(8)}) > 1


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_rests_inside_a_block_and_is_as_before_after_it(enabled):
    before = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        with contextlib.suppress(RuntimeError), quiet_collector():
            assert not gc.isenabled()
            raise RuntimeError
        assert gc.isenabled() is enabled
        assert gc.get_freeze_count() == 0
    finally:
        (gc.enable if before else gc.disable)()

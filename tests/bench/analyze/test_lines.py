from __future__ import annotations

import pytest

from bench.analyze.lines import a_step, costs, overhead, steps
from tests.bench.report.profile import samples


def test_shares_of_a_function_sum_to_one():
    (cost,) = costs(samples.profile())
    assert sum(line.share for line in cost.lines) == pytest.approx(1)
    assert cost.seconds == pytest.approx(1664.4e-6 * 40, rel=0.02)
    assert steps(samples.profile()) == 40


def test_time_a_hit_is_as_recorded_and_time_a_step_without_the_profilers_cost():
    found = samples.explained()
    line = next(line for line in costs(found)[0].lines if "conv" in line.line.text)
    own = overhead(found)
    # 20 % of 3 ms over 1,000 events; 200 of them are under the line.
    assert own.event_seconds == {"forward": pytest.approx(0.6e-6)}
    assert line.per_hit == pytest.approx(742e-6, rel=0.01)
    assert line.step_seconds == pytest.approx(742e-6 - 120e-6, rel=0.02)


def test_a_line_that_never_ran_costs_nothing():
    cost = costs(samples.profile())[0].lines[0]
    assert (cost.seconds, cost.share, cost.per_hit, cost.step_seconds) == (0, 0, 0, 0)


def test_a_profiler_that_made_steps_faster_costs_nothing():
    noisy = samples.profile(events={"forward": 100})
    fast = {"forward": (1e-3,) * 4, "step": (1e-3,) * 4}
    times = tuple(type(one)(**{**vars(one), "profiled": fast}) for one in noisy.replicates)
    assert overhead(samples.profile(events={"forward": 100}, replicates=times)).event_seconds == {"forward": 0}


def test_a_functions_lines_without_the_profilers_cost_add_up_to_its_phase():
    # Half of the phase's events are under one line; the profiler made the phase 600 us longer.
    lines = {"x = self.conv(x)": {"events": {"forward": 500}}, "x = block(x)": {"events": {"forward": 400}}}
    (cost,) = costs(samples.profile(samples.function(noise=0, **lines), events={"forward": 1000}))
    assert sum(line.step_seconds for line in cost.lines) == pytest.approx(1664.4e-6 - 0.9 * 600e-6)


def test_work_that_is_done_every_few_steps_counts_with_what_it_takes_on_average():
    assert a_step([0.0, 0.0, 0.0, 8.0]) == 2.0
    assert a_step([1.0, 1.1, 0.9, 50.0]) == pytest.approx(1.05)
    assert a_step([0.0]) == 0.0


def test_a_profile_without_replicates_has_no_costs():
    assert costs(samples.profile(replicates=(), failure="broken")) == []


def test_a_line_of_many_events_keeps_a_third_of_its_time():
    loop = {"for block in self.blocks:": {"events": {"forward": 1000}}}
    (cost,) = costs(samples.profile(samples.function(**loop), events={"forward": 1000}))
    line = next(line for line in cost.lines if line.line.events)
    assert line.step_seconds == pytest.approx(2e-6 / 3, rel=0.05)

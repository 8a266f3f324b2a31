from __future__ import annotations

import pytest

from bench.analyze.lines import costs, overhead, steps
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
    assert own.event_seconds == pytest.approx(0.6e-6)
    assert line.per_hit == pytest.approx(742e-6, rel=0.01)
    assert line.step_seconds == pytest.approx(742e-6 - 120e-6, rel=0.02)


def test_a_line_that_never_ran_costs_nothing():
    cost = costs(samples.profile())[0].lines[0]
    assert (cost.seconds, cost.share, cost.per_hit, cost.step_seconds) == (0, 0, 0, 0)


def test_a_profiler_that_made_steps_faster_costs_nothing():
    noisy = samples.profile(events=100)
    times = [type(one)(**{**vars(one), "profiled": {"step": (1e-3,) * 4}}) for one in noisy.replicates]
    assert overhead(samples.profile(events=100, replicates=tuple(times))).event_seconds == 0


def test_a_profile_without_replicates_has_no_costs():
    assert costs(samples.profile(replicates=(), failure="broken")) == []


def test_a_line_of_many_events_keeps_a_third_of_its_time():
    loop = {"for block in self.blocks:": {"events": 1000}}
    (cost,) = costs(samples.profile(samples.function(**loop), events=1000))
    line = next(line for line in cost.lines if line.line.events)
    assert line.step_seconds == pytest.approx(2e-6 / 3, rel=0.05)

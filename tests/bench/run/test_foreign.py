from __future__ import annotations

import os

import pytest

from bench.run.foreign import Snapshot, load_between, own_between, snapshot


def test_what_others_did_is_what_was_busy_less_what_we_did():
    start, end = Snapshot(at=10.0, busy=100.0, own=50.0), Snapshot(at=12.0, busy=103.5, own=51.5)
    assert load_between(start, end) == pytest.approx(1.0)


def test_what_processes_did_that_work_with_this_one_is_not_foreign():
    start, end = Snapshot(at=10.0, busy=100.0, own=50.0), Snapshot(at=12.0, busy=103.5, own=51.5)
    assert own_between(start, end) == pytest.approx(1.5)
    assert load_between(start, end, 1.5) == pytest.approx(0.25)
    assert load_between(start, end, 99.0) == 0.0
    assert own_between(None, None) == 0.0


def test_rounding_of_the_kernels_ticks_never_gives_negative_load():
    assert load_between(Snapshot(0.0, 1.0, 1.0), Snapshot(1.0, 1.9, 2.0)) == 0.0


def test_without_counters_there_is_no_figure(tmp_path):
    assert snapshot(tmp_path / "missing") is None
    assert load_between(None, None) is None
    now = Snapshot(1.0, 1.0, 1.0)
    assert load_between(now, now) is None


def test_busy_counts_our_cores_and_stolen_time_but_not_idle_or_waiting(tmp_path):
    tick = os.sysconf("SC_CLK_TCK")
    cpus = sorted(os.sched_getaffinity(0))
    stat = tmp_path / "stat"
    # user nice system idle iowait irq softirq steal guest guest_nice
    rows = [f"cpu{cpu} {tick} 0 {tick} 500 600 0 0 {tick} 70 80" for cpu in cpus]
    stat.write_text(
        "\n".join(["cpu 1 2 3 4 5 6 7 8 9 10", *rows, f"cpu{max(cpus) + 1} 9999 0 0 0 0 0 0 0 0 0", "intr 5"])
    )
    taken = snapshot(stat)
    assert taken is not None
    assert taken.busy == pytest.approx(3.0 * len(cpus))

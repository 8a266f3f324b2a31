from __future__ import annotations

import contextlib

import pytest

from bench.data.environment import Environment
from bench.data.measurement import Caveat, Counters, Replicate
from bench.data.protocol import Protocol
from bench.data.variant import Variant
from bench.errors import StepbenchError
from bench.run import schedule
from bench.run.messages import Answer, Exact

ENVIRONMENT = Environment(
    host="here", commit=None, dirty=False, python="3", torch="2", stepbench="0", platform="p", cpu="c", cores=2,
    memory_bytes=1, gpu=None, threads=1, wait_policy="passive", clock="fake", clock_resolution=1e-9,
)  # fmt: skip


class FakePool:
    """Answers every job at once and keeps a log; `broken` variants fail at the given job, `slow` ones take seconds."""

    def __init__(self, workers, broken=None, data_error=None, slow=None):
        self.workers, self.broken, self.data_error, self.slow = workers, broken or {}, data_error, slow or {}
        self.log = []
        self.time = 0.0

    def now(self):
        return self.time

    def __len__(self):
        return self.workers

    def greet(self, _request):
        return Answer(environment=ENVIRONMENT)

    def ask_together(self, requests):
        return [self.ask(slot, request) for slot, request in enumerate(requests)]

    def ask(self, slot, request):
        if request.do == "data":
            return Answer(usage=self.data_error)
        self.log.append((request.do, slot, request.variant.optimizer, request.round))
        if self.broken.get(request.variant.optimizer) == request.do:
            return Answer(failure="it broke")
        self.time += self.slow.get(request.variant.optimizer, 0.0)
        if request.do == "count":
            return Answer(exact=Exact(phases=("forward",), counters=Counters(), caveats=(), sources={"model:m": "0"}))
        replicate = Replicate(
            worker=slot, round=request.round, started=0.0, warmup_steps=1, settled=True, foreign_load=None, samples={}
        )
        return Answer(replicate=replicate, caveats=(Caveat(code="odd", message="odd."),))


@pytest.fixture
def run_with(monkeypatch):
    def start(pool, variants, **protocol):
        opened = []

        @contextlib.contextmanager
        def open_pool(count, threads, wait_policy, plugins, ranks):
            opened.append((count, threads, wait_policy, plugins, ranks))
            yield pool

        monkeypatch.setattr(schedule, "open_pool", open_pool)
        monkeypatch.setattr(schedule, "now", pool.now)
        run = schedule.new_run(Protocol(**{"workers": 3, "rounds": 2, **protocol}), ["plug.py"])
        lines = []
        records = list(schedule.measure(run, variants, lines.append))
        return records, opened, lines, run

    return start


def some(*optimizers, **axes):
    return [Variant(model="m", optimizer=optimizer, **axes) for optimizer in optimizers]


def test_every_replicate_of_a_group_is_interleaved_with_those_of_the_others(run_with):
    pool = FakePool(3)
    records, opened, lines, run = run_with(pool, some("a", "b", "c", "d"))
    assert opened == [(3, 1, "passive", ("plug.py",), 1)]
    timed = [entry for entry in pool.log if entry[0] == "replicate"]
    rounds = [timed[i : i + 4] for i in range(0, len(timed), 4)]
    assert len(rounds) == 6
    for block in rounds:
        assert {entry[2] for entry in block} == {"a", "b", "c", "d"}
        assert len({entry[1] for entry in block}) == 1
    assert sorted(block[0][1] for block in rounds[:3]) == [0, 1, 2]
    assert len({tuple(entry[2] for entry in block) for block in rounds}) > 1
    assert len(lines) - 1 == schedule.jobs(run, some("a", "b", "c", "d"))
    for record in records:
        assert [(r.worker, r.round) for r in record.measurement.replicates] == [(b[0][1], b[0][3]) for b in rounds]
        assert record.sources == {"model:m": "0"}


def test_records_come_as_variants_finish_and_a_group_before_the_next(run_with, monkeypatch):
    pool = FakePool(3)
    variants = some("a", "b") + some("a", "b", batch=2)
    seen = []
    monkeypatch.setattr(
        schedule, "_record", lambda _run, _environment, item: seen.append((len(pool.log), item.variant))
    )
    run_with(pool, variants)
    assert {variant.batch for _, variant in seen[:2]} == {1}
    assert seen[0][0] < seen[1][0] < seen[2][0] < seen[3][0]


@pytest.mark.parametrize(
    ("seconds", "budget", "taken"), [(19.0, 6.0, 4), (25.0, 6.0, 3), (25.0, 20.0, 5), (9.0, 1.0, 6)]
)
def test_what_takes_long_to_build_has_fewer_replicates_and_says_so(run_with, seconds, budget, taken):
    pool = FakePool(3, slow={"a": seconds})
    records, _, lines, run = run_with(pool, some("a", "b"), budget_s=budget)
    measurements = {record.measurement.variant.optimizer: record.measurement for record in records}
    found = measurements["a"]
    assert (len(found.replicates), len(measurements["b"].replicates)) == (taken, 6)
    few = [caveat.message for caveat in found.caveats if caveat.code == "few-replicates"]
    assert len(few) == (taken < 6)
    assert all(f"takes {seconds:.0f} s" in message and f"{taken} and not 6" in message for message in few)
    assert len({replicate.worker for replicate in found.replicates}) == 3
    assert len(lines) - 1 == schedule.jobs(run, some("a", "b"))


def test_a_broken_variant_is_a_record_with_its_reason_and_the_others_go_on(run_with):
    records, *_ = run_with(FakePool(3, {"a": "count", "b": "replicate"}), some("a", "b", "c"))
    failures = {record.measurement.variant.optimizer: record.measurement.failure for record in records}
    assert failures == {"a": "it broke", "b": "it broke", "c": None}
    assert len(records[-1].measurement.replicates) == 6


def test_the_same_caveat_of_many_replicates_is_one(run_with):
    records, *_ = run_with(FakePool(3), some("a"))
    assert records[0].measurement.caveats == (Caveat(code="odd", message="odd."),)


def test_each_thread_count_has_a_pool_of_its_own(run_with):
    _, opened, *_ = run_with(FakePool(2), some("a") + some("a", threads=2), workers=2)
    assert [threads for _, threads, *_ in opened] == [1, 2]


def test_each_number_of_ranks_has_a_pool_of_its_own(run_with):
    _, opened, *_ = run_with(FakePool(2), some("a") + some("a", ranks=2), workers=2)
    assert [ranks for *_, ranks in opened] == [1, 2]


def test_a_data_source_that_does_not_open_stops_the_run_before_it_measures(run_with):
    pool = FakePool(1, data_error="--data x: no image set")
    with pytest.raises(StepbenchError, match="no image set"):
        run_with(pool, some("a"))
    assert pool.log == []

"""The races, with a worker that is scripted; and the worker itself, in this process."""

from __future__ import annotations

import pytest
import torch

from bench.data.target import Checkpoint, TargetProtocol
from bench.data.variant import Variant
from bench.errors import InvalidVariant, StepbenchError, WorkerLost
from bench.plugin import HeldOut
from bench.run import target
from bench.run.build import open_held_out
from bench.run.target import TargetRun, check, choose, races, train
from bench.run.target_messages import Runner, TargetAnswer, TargetRequest
from bench.run.target_worker import TargetWorker
from tests.trainings import ENVIRONMENT, TARGET, training


def variants(*optimizers, **axes):
    return [Variant(model="toy", optimizer=name, **axes) for name in optimizers]


def run(**changed):
    rules = TargetProtocol(target=TARGET, **{"seeds": 2, "rates": (0.01, 0.1), "every": 10, "limit": 45} | changed)
    return TargetRun(id="r", created="2026-01-02T03:04:05+00:00", protocol=rules, plugins=())


@pytest.fixture
def scripted(monkeypatch):
    """Plays workers: `arrive(optimizer, rate, seed)` gives the step at which a runner is at the target."""
    workers = []

    class Scripted:
        arrive = staticmethod(lambda optimizer, rate, seed: 20)
        answer = None

        def __init__(self, *_, **__):
            self.jobs, self.steps, self.stopped = [], {}, False
            workers.append(self)

        def ask(self, job, patience_s):
            self.jobs.append(job)
            if job.do == "begin":
                self.runners, self.seed = job.runners, job.seed
                return self.answer or TargetAnswer(environment=ENVIRONMENT, looks={}, failures={})
            looks = {}
            for place in job.order:
                self.steps[place] = self.steps.get(place, 0) + job.steps
                runner = self.runners[place]
                there = self.steps[place] >= self.arrive(runner.variant.optimizer, runner.rate, self.seed)
                looks[place] = Checkpoint(steps=self.steps[place], seconds=1.0, accuracy=0.95 if there else 0.5)
            return TargetAnswer(looks=looks, failures={})

        def stop(self):
            self.stopped = True

    monkeypatch.setattr(target, "WorkerProcess", Scripted)
    Scripted.workers = workers
    return Scripted


def test_each_variant_is_measured_with_every_seed_at_the_rate_that_was_there_first(scripted):
    scripted.arrive = staticmethod(lambda optimizer, rate, seed: 20 if (optimizer == "a") == (rate == 0.1) else 40)
    found = [record.training for record in train(run(), variants("a", "b"), lambda *_: None)]
    trials = [made for made in found if made.tuning]
    assert [(made.variant.optimizer, made.rate, made.seed) for made in trials] == [
        ("a", 0.01, 0), ("a", 0.1, 0), ("b", 0.01, 0), ("b", 0.1, 0),
    ]  # fmt: skip
    assert [(made.variant.optimizer, made.rate, made.seed) for made in found if not made.tuning] == [
        ("a", 0.1, 1), ("b", 0.01, 1), ("a", 0.1, 2), ("b", 0.01, 2),
    ]  # fmt: skip
    # A race of rates ends with the turn in which the first one arrives.
    assert {made.checkpoints[-1].steps for made in trials} == {20}
    assert len(scripted.workers) == races(run(), variants("a", "b")) == 4
    assert all(worker.stopped for worker in scripted.workers)


def test_with_several_seeds_a_rate_is_chosen_by_its_mean_and_the_late_ones_are_waited_for_a_while(scripted):
    steps = {(0.01, 0): 10, (0.1, 0): 20, (0.01, 1): 40, (0.1, 1): 20, (0.01, 2): 1000, (0.1, 2): 20}
    scripted.arrive = staticmethod(lambda optimizer, rate, seed: steps.get((rate, seed), 10))
    found = [record.training for record in train(run(tuning_seeds=3, seeds=1), variants("a"), lambda *_: None)]
    assert [(made.rate, made.seed, made.checkpoints[-1].steps) for made in found if made.tuning] == [
        (0.01, 0, 10), (0.1, 0, 20), (0.01, 1, 40), (0.1, 1, 20), (0.01, 2, 40), (0.1, 2, 20),
    ]  # fmt: skip
    assert [(made.rate, made.seed) for made in found if not made.tuning] == [(0.1, 3)]
    assert races(run(tuning_seeds=3, seeds=1), variants("a")) == 4


def test_one_that_is_there_stops_and_the_others_go_on_to_the_limit(scripted):
    scripted.arrive = staticmethod(lambda optimizer, rate, seed: 10 if optimizer == "a" else 1000)
    found = [record.training for record in train(run(rates=(0.1,), seeds=1), variants("a", "b"), lambda *_: None)]
    assert [[look.steps for look in made.checkpoints] for made in found] == [[10], [10, 20, 30, 40, 45]]
    assert found[1].reached(TARGET) is None
    (worker,) = scripted.workers
    assert [sorted(job.order) for job in worker.jobs[1:]] == [[0, 1], [1], [1], [1], [1]]


def test_the_order_of_turns_is_drawn_by_lot(scripted):
    scripted.arrive = staticmethod(lambda optimizer, rate, seed: 1000)
    list(train(run(rates=(0.1,), seeds=1, every=1, limit=40), variants("a", "b"), lambda *_: None))
    first = [job.order[0] for job in scripted.workers[0].jobs[1:]]
    assert 8 < sum(first) < 32


def test_a_worker_that_is_lost_fails_its_race_and_no_other(scripted, monkeypatch):
    ask = scripted.ask

    def lose(self, job, patience_s):
        if job.do == "turn" and self.seed == 1:
            raise WorkerLost("worker 0 ended by signal 9: it said nothing")
        return ask(self, job, patience_s)

    monkeypatch.setattr(scripted, "ask", lose)
    found = [record.training for record in train(run(rates=(0.1,)), variants("a"), lambda *_: None)]
    assert [made.failure for made in found] == ["worker 0 ended by signal 9: it said nothing", None]
    assert all(worker.stopped for worker in scripted.workers)


def test_a_users_mistake_ends_the_run_and_the_process(scripted):
    scripted.answer = TargetAnswer(looks={}, failures={}, usage="--data x: holds out nothing")
    with pytest.raises(StepbenchError, match="holds out nothing"):
        list(train(run(), variants("a"), lambda *_: None))
    assert scripted.workers[0].stopped


def test_progress_grows_to_the_number_of_races(scripted):
    told = []
    list(train(run(), variants("a"), lambda text, done, total: told.append((text, done, total))))
    assert {total for _, _, total in told} == {3}
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    assert told[0][0] == "toy/a/none: learning rates, starting"


def test_the_rate_with_the_fewest_steps_is_chosen_then_the_highest_accuracy_then_the_closest():
    late = training("sgd", 0, 0.5, 0.5, 0.99, rate=0.1)
    early, better = training("sgd", 0, 0.5, 0.92, rate=0.2), training("sgd", 0, 0.5, 0.95, rate=0.3)
    assert choose([late, early, better], TARGET) == 0.3
    assert choose([training("sgd", 0, 0.8, rate=1.0), training("sgd", 0, 0.85, 0.1, rate=2.0)], TARGET) == 2.0


@pytest.mark.parametrize(
    ("optimizer", "axes", "says"),
    [("none", {}, "has no optimizer"), ("a", {"compiled": True}, "compiling"), ("a", {"ranks": 2}, "one process")],
)
def test_what_cannot_be_trained_to_a_target_is_refused(optimizer, axes, says):
    with pytest.raises(InvalidVariant, match=says):
        check(variants(optimizer, **axes))


@pytest.fixture
def worker(registry):
    def held_out(seed):
        generator = torch.Generator().manual_seed(seed)
        inputs = torch.randn(40, 3, 32, 32, generator=generator)
        return HeldOut(train=registry.get("data", "noise").factory(), test=(inputs, torch.zeros(40, dtype=torch.int64)))

    registry.data("split", held_out=held_out)(registry.get("data", "noise").factory)

    @registry.optimizer("raises")
    def raises(module):
        raise ValueError("no such luck")

    return TargetWorker(registry)


def begin(worker, *names, data="split", model="picture"):
    runners = tuple(Runner(variant=Variant(model=model, optimizer=name), rate=0.5) for name in names)
    return worker.answer(TargetRequest(do="begin", data=data, seed=3, runners=runners))


def test_a_worker_trains_those_whose_turn_it_is_at_their_rate(worker):
    assert begin(worker, "descent", "rocket").environment.threads == torch.get_num_threads()
    assert {made.step.optimizer.param_groups[0]["lr"] for made in worker.trained.values()} == {0.5}
    answer = worker.answer(TargetRequest(do="turn", order=(1,), steps=3))
    assert set(answer.looks) == {1}
    assert answer.looks[1].steps == 3
    assert answer.looks[1].seconds > 0


def test_a_specimen_that_raises_fails_alone(worker):
    assert begin(worker, "raises", "descent").failures[0].startswith("ValueError: no such luck")
    worker.trained[1].step.module[1].weight.data = torch.zeros(2, 2)
    assert "RuntimeError" in worker.answer(TargetRequest(do="turn", order=(1,), steps=1)).failures[1]


def test_data_that_hold_out_nothing_are_a_users_mistake(worker):
    assert begin(worker, "descent", data="noise").usage.startswith("--data noise: holds out nothing to count")
    assert "choose one of split" in begin(worker, "descent", data="noise").usage
    assert "draws its own batches" in begin(worker, "descent", model="line").failures[0]


def test_held_out_parts_follow_from_the_seed(worker):
    first, again, other = (open_held_out(worker.registry, "split", seed).test[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)

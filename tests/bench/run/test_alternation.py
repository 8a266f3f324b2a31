from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from types import SimpleNamespace

import pytest

from bench.run.alternation import (
    LONG_STEP_S,
    Player,
    Table,
    at_once,
    choose,
    phase_by_phase,
    step_by_step,
    twice,
)  # fmt: skip
from bench.run.clock import HostClock
from bench.run.isolation import LateImport
from tests.fakes import FakeClock, TinyStep

PARTS = ["zero_grad", "forward", "backward", "optimize"]


class Switch:
    """Stands for the isolation: notes who was made active, and what ran meanwhile."""

    def __init__(self):
        self.seen = []

    def switch(self, side):
        self.seen.append(side.name)

    @contextlib.contextmanager
    def neither(self):
        yield


class NotedStep(TinyStep):
    def __init__(self, clock, seen):
        super().__init__(clock)
        self.seen = seen

    def _spend(self, name):
        self.seen.append(name)
        super()._spend(name)


@pytest.fixture
def table():
    clock, switch = FakeClock(), Switch()
    players = tuple(
        Player(side=SimpleNamespace(name=name), step=NotedStep(clock, switch.seen)) for name in ("base", "head")
    )
    return Table(players=players, isolation=switch, order=random.Random(0), clock=clock)


@pytest.mark.parametrize("alternation", [step_by_step, phase_by_phase])
def test_a_pair_times_every_part_of_both_sides_however_it_alternates(table, alternation):
    assert alternation(table, 5) == 6
    for player in table.players:
        assert player.samples(table.clock) == {
            "zero_grad": (1.0,), "forward": (2.0,), "backward": (3.0,), "optimize": (4.0,), "step": (10.0,),
            "zero_grad.cpu": (0.5,), "forward.cpu": (1.0,), "backward.cpu": (1.5,), "optimize.cpu": (2.0,),
            "step.cpu": (5.0,),
        }  # fmt: skip


def test_step_by_step_a_side_runs_its_whole_step_while_it_is_active(table):
    step_by_step(table, 0)
    seen = table.isolation.seen
    assert sorted((seen[0], seen[5])) == ["base", "head"]
    assert seen[1:5] == seen[6:] == PARTS


def test_phase_by_phase_each_part_of_one_side_is_followed_by_that_of_the_other(table):
    firsts = set()
    for _ in range(8):
        table.isolation.seen.clear()
        phase_by_phase(table, 0)
        seen = table.isolation.seen
        for at, part in enumerate(PARTS):
            first, one, second, other = seen[4 * at : 4 * at + 4]
            assert (one, other) == (part, part)
            assert {first, second} == {"base", "head"}
            firsts.add((part, first))
    assert firsts == {(part, side) for part in PARTS for side in ("base", "head")}  # the order is drawn for each


def test_on_a_device_that_is_waited_for_whole_steps_are_taken_too(table):
    assert twice(table, 5) == 7
    (player, _) = table.players
    assert player.samples(table.clock)["step"] == (10.0,)
    assert player.samples(table.clock)["optimize"] == (4.0,)


@pytest.mark.parametrize(
    ("device", "threads", "seconds", "alone", "chosen"),
    [
        ("cpu", 1, LONG_STEP_S / 2, True, step_by_step),
        ("cpu", 1, LONG_STEP_S, True, at_once),
        ("cpu", 1, LONG_STEP_S, False, phase_by_phase),  # it waits, or other threads work for it
        ("cpu", 2, LONG_STEP_S, True, phase_by_phase),
        ("cuda:0", 1, LONG_STEP_S, True, twice),
    ],
)
def test_what_suits_a_step(device, threads, seconds, alone, chosen):
    step = SimpleNamespace(variant=SimpleNamespace(device=device, threads=threads))
    players = [Player(side=None, step=step, seconds=seconds, alone=alone), Player(side=None, step=step, alone=True)]
    assert choose(players) is chosen


class Spin(TinyStep):
    """Computes for a while in each phase, and remembers where."""

    def __init__(self, sleep=0.0):
        super().__init__(FakeClock())
        self.sleep = sleep
        self.places = set()

    def _spend(self, name):
        self.places.add((threading.get_ident(), tuple(os.sched_getaffinity(0))))
        end = time.thread_time() + 0.005
        while time.thread_time() < end:
            pass
        time.sleep(self.sleep)


@pytest.fixture
def spinning():
    made = []

    def make(*steps):
        players = tuple(
            Player(side=SimpleNamespace(name=n), step=s) for n, s in zip(("base", "head"), steps, strict=True)
        )
        made.extend(players)
        return Table(players=players, isolation=Switch(), order=random.Random(0), clock=HostClock())

    yield make
    for player in made:
        player.close()


def test_at_once_both_sides_run_in_threads_of_their_own_on_one_core_and_count_their_own_time(spinning):
    table = spinning(Spin(), Spin())
    assert at_once(table, 0) == 2  # one pair for the threads' own memory
    assert at_once(table, 2) == 3
    places = [player.step.places for player in table.players]
    assert [len(found) for found in places] == [1, 1]
    ((first, core), (second, other)) = (found.pop() for found in places)
    assert first != second
    assert core == other
    assert len(core) == 1
    for player in table.players:
        samples = player.samples(table.clock)
        assert samples["step"] == samples["step.cpu"]
        assert len(samples["step"]) == 2
        assert all(value >= 0.02 for value in samples["step"])


def test_at_once_what_the_other_side_works_is_not_counted(spinning):
    """By the wall, the side that is done first would have waited for the other one."""
    table = spinning(Spin(), Spin(sleep=0.02))
    at_once(table, 0)
    base, head = (player.samples(table.clock)["step"][0] for player in table.players)
    assert head < base + 0.02


def test_an_import_of_a_version_while_both_run_ends_the_pair(spinning):
    class Late(Spin):
        def forward(self, index):
            raise LateImport("toys.deep")

    with pytest.raises(LateImport):
        at_once(spinning(Spin(), Late()), 0)

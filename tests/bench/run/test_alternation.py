from __future__ import annotations

import random
from types import SimpleNamespace

import pytest

from bench.run.alternation import LONG_STEP_S, Player, Turns, choose, phase_by_phase, step_by_step, twice
from tests.fakes import FakeClock, TinyStep

PARTS = ["zero_grad", "forward", "backward", "optimize"]


class Switch:
    """Stands for the isolation: notes who was made active, and what ran meanwhile."""

    def __init__(self):
        self.seen = []

    def switch(self, side):
        self.seen.append(side.name)


class NotedStep(TinyStep):
    def __init__(self, clock, seen):
        super().__init__(clock)
        self.seen = seen

    def _spend(self, name):
        self.seen.append(name)
        super()._spend(name)


@pytest.fixture
def turns():
    clock, switch = FakeClock(), Switch()
    players = tuple(
        Player(side=SimpleNamespace(name=name), step=NotedStep(clock, switch.seen)) for name in ("base", "head")
    )
    return Turns(players=players, isolation=switch, order=random.Random(0), clock=clock)


@pytest.mark.parametrize("alternation", [step_by_step, phase_by_phase])
def test_a_pair_times_every_part_of_both_sides_however_it_alternates(turns, alternation):
    assert alternation(turns, 5) == 6
    for player in turns.players:
        assert player.samples(turns.clock) == {
            "zero_grad": (1.0,), "forward": (2.0,), "backward": (3.0,), "optimize": (4.0,), "step": (10.0,),
            "zero_grad.cpu": (0.5,), "forward.cpu": (1.0,), "backward.cpu": (1.5,), "optimize.cpu": (2.0,),
            "step.cpu": (5.0,),
        }  # fmt: skip


def test_step_by_step_a_side_runs_its_whole_step_while_it_is_active(turns):
    step_by_step(turns, 0)
    seen = turns.isolation.seen
    assert sorted((seen[0], seen[5])) == ["base", "head"]
    assert seen[1:5] == seen[6:] == PARTS


def test_phase_by_phase_each_part_of_one_side_is_followed_by_that_of_the_other(turns):
    firsts = set()
    for _ in range(8):
        turns.isolation.seen.clear()
        phase_by_phase(turns, 0)
        seen = turns.isolation.seen
        for at, part in enumerate(PARTS):
            first, one, second, other = seen[4 * at : 4 * at + 4]
            assert (one, other) == (part, part)
            assert {first, second} == {"base", "head"}
            firsts.add((part, first))
    assert firsts == {(part, side) for part in PARTS for side in ("base", "head")}  # the order is drawn for each


def test_on_a_device_that_is_waited_for_whole_steps_are_taken_too(turns):
    assert twice(turns, 5) == 7
    (player, _) = turns.players
    assert player.samples(turns.clock)["step"] == (10.0,)
    assert player.samples(turns.clock)["optimize"] == (4.0,)


@pytest.mark.parametrize(
    ("device", "seconds", "chosen"),
    [("cpu", LONG_STEP_S / 2, step_by_step), ("cpu", LONG_STEP_S, phase_by_phase), ("cuda:0", LONG_STEP_S, twice)],
)
def test_long_steps_of_the_cpu_alternate_phase_by_phase(device, seconds, chosen):
    step = SimpleNamespace(variant=SimpleNamespace(device=device))
    players = [Player(side=None, step=step, seconds=seconds), Player(side=None, step=step)]
    assert choose(players) is chosen

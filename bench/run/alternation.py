"""How two sides of a comparison take turns: step by step, or phase by phase where steps are long."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.data.metric import STEP
from bench.run.build import Step
from bench.run.clock import Clock
from bench.run.isolation import Isolation, Side
from bench.run.measure import Timed, by_phase, phased, plain, spans

# What disturbs a machine lasts: the sooner the other side follows, the more of it falls on both. A pair of long steps
# is taken phase by phase, which halves its scatter; in short ones, the other side's phase in between would only clear
# the caches that one phase leaves to the next (tests/studies/alternation.py measures both).
LONG_STEP_S = 0.1


@dataclass(kw_only=True, eq=False)
class Player:
    """One side while it is measured: its step, how long its last warm-up step took, and what was timed."""

    side: Side
    step: Step
    seconds: float = 0.0
    timed: list[Timed] = field(default_factory=list)

    def samples(self, clock: Clock) -> dict[str, tuple[float, ...]]:
        """Returns samples by metric; where no whole steps were timed, the step is the sum of its parts."""
        samples = spans(self.step, clock, self.timed)
        if STEP not in samples:
            for suffix in ("", ".cpu"):
                parts = [samples[f"{part}{suffix}"] for part in ("zero_grad", *self.step.phases)]
                samples[f"{STEP}{suffix}"] = tuple(sum(values) for values in zip(*parts, strict=True))
        return samples


@dataclass(frozen=True, kw_only=True)
class Turns:
    """What a pair of steps is taken with: both sides, the switch between them, the order's dice, and the clock."""

    players: tuple[Player, Player]
    isolation: Isolation
    order: random.Random
    clock: Clock


# Takes one pair of steps on the batches from an index on, and returns the index after them.
Alternation = Callable[[Turns, int], int]


def choose(players: Sequence[Player]) -> Alternation:
    """Returns how to alternate steps of this device and length."""
    if players[0].step.variant.device != "cpu":
        return twice
    return phase_by_phase if max(player.seconds for player in players) >= LONG_STEP_S else step_by_step


def step_by_step(turns: Turns, index: int) -> int:
    """Takes a step of each side, in random order; phase edges cost nothing where nothing has to be waited for."""
    return _whole(turns, phased, index)


def twice(turns: Turns, index: int) -> int:
    """Takes a step of each side with synchronised phase edges, and then one without any inside."""
    return _whole(turns, plain, _whole(turns, phased, index))


def phase_by_phase(turns: Turns, index: int) -> int:
    """Takes a step of each side, each phase of one followed by the same phase of the other, in random order."""
    steps = [by_phase(player.step, turns.clock, index) for player in turns.players]
    marks: tuple[list[Any], list[Any]] = ([], [])
    for _ in ("zero_grad", *turns.players[0].step.phases):
        for at in turns.order.sample(range(2), 2):
            turns.isolation.switch(turns.players[at].side)
            marks[at].append(next(steps[at]))
    for player, taken in zip(turns.players, marks, strict=True):
        player.timed.append((by_phase, taken))
    return index + 1


def _whole(turns: Turns, kind: Callable[..., tuple[Any, list[Any]]], index: int) -> int:
    for player in turns.order.sample(turns.players, 2):
        turns.isolation.switch(player.side)
        player.timed.append((kind, kind(player.step, turns.clock, index)[1]))
    return index + 1

"""How two sides of a comparison take turns: step by step, phase by phase, or both at once on one core.

What disturbs a machine lasts for milliseconds to seconds: the sooner one side follows the other, the more of it falls
on both. The closest are two threads on one core, between which the kernel changes every few milliseconds, so that each
step is compared by the CPU time of its thread. (Pairs that run at once: Bulej et al., Duet benchmarking, ICPE 2020,
arXiv 2001.05811; there, on two cores and by the wall.) It takes steps that are long beside these milliseconds, that one
thread does alone, and that never wait: waiting takes no CPU time, and must not go unseen. Other long steps alternate
phase by phase, and short ones as a whole. `tests/studies/alternation.py` measures all of them.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

from bench.data.duet import Turns
from bench.data.metric import STEP
from bench.run.build import Step
from bench.run.clock import Clock
from bench.run.isolation import Isolation, Side
from bench.run.measure import Timed, by_phase, phased, plain, spans

# From here on the other side's part in between costs less than its nearness gains: the kernel changes between threads
# about every 3 ms, and shorter steps live on what the caches kept of the last one, which the other side's would clear.
LONG_STEP_S = 0.1


@dataclass(kw_only=True, eq=False)
class Player:
    """One side while it is measured.

    `seconds` is how long its last warm-up step took, and `alone` says that one thread did it, without waiting.
    """

    side: Side
    step: Step
    seconds: float = 0.0
    alone: bool = False
    timed: list[Timed] = field(default_factory=list)
    by_cpu: bool = False
    thread: ThreadPoolExecutor | None = None

    def samples(self, clock: Clock) -> dict[str, tuple[float, ...]]:
        """Returns samples by metric; where no whole steps were timed, the step is the sum of its parts."""
        samples = spans(self.step, clock, self.timed)
        parts = ("zero_grad", *self.step.phases)
        if STEP not in samples:
            for suffix in ("", ".cpu"):
                values = zip(*(samples[f"{part}{suffix}"] for part in parts), strict=True)
                samples[f"{STEP}{suffix}"] = tuple(map(sum, values))
        if self.by_cpu:
            samples |= {name: samples[f"{name}.cpu"] for name in (STEP, *parts)}
        return samples

    def close(self) -> None:
        """Ends the thread, where there is one."""
        if self.thread is not None:
            self.thread.shutdown()


@dataclass(frozen=True, kw_only=True)
class Table:
    """What a pair of steps is taken with: both sides, the switch between them, the order's dice, and the clock."""

    players: tuple[Player, Player]
    isolation: Isolation
    order: random.Random
    clock: Clock


# Takes one pair of steps on the batches from an index on, and returns the index after them.
Alternation = Callable[[Table, int], int]


def choose(players: Sequence[Player]) -> Alternation:
    """Returns how to alternate steps of this device and length."""
    variant, seconds = players[0].step.variant, max(player.seconds for player in players)
    if variant.device != "cpu":
        return twice
    if variant.threads == 1 and seconds >= LONG_STEP_S and all(player.alone for player in players):
        return at_once
    return in_turn(players)


def in_turn(players: Sequence[Player]) -> Alternation:
    """Returns how to alternate steps of the CPU that cannot run at once."""
    return phase_by_phase if max(player.seconds for player in players) >= LONG_STEP_S else step_by_step


def step_by_step(table: Table, index: int) -> int:
    """Takes a step of each side, in random order; phase edges cost nothing where nothing has to be waited for."""
    return _whole(table, phased, index)


def twice(table: Table, index: int) -> int:
    """Takes a step of each side with synchronised phase edges, and then one without any inside."""
    return _whole(table, plain, _whole(table, phased, index))


def phase_by_phase(table: Table, index: int) -> int:
    """Takes a step of each side, each phase of one followed by the same phase of the other, in random order."""
    steps = [by_phase(player.step, table.clock, index) for player in table.players]
    marks: tuple[list[Any], list[Any]] = ([], [])
    for _ in ("zero_grad", *table.players[0].step.phases):
        for at in table.order.sample(range(2), 2):
            table.isolation.switch(table.players[at].side)
            marks[at].append(next(steps[at]))
    for player, taken in zip(table.players, marks, strict=True):
        player.timed.append((by_phase, taken))
    return index + 1


def at_once(table: Table, index: int) -> int:
    """Takes a step of each side in two threads that share a core; raises LateImport where a step imports."""
    if table.players[0].thread is None:
        core = table.order.choice(sorted(os.sched_getaffinity(0)))
        for player in table.players:
            player.by_cpu = True
            player.thread = ThreadPoolExecutor(1, initializer=_pin, initargs=(core,))
        # A thread has memory of its own: the first step in it gets pages that the next ones find there.
        _together(table, index)
        index += 1
    for player, marks in zip(table.players, _together(table, index), strict=True):
        player.timed.append((phased, marks))
    return index + 1


NAMES: dict[Alternation, Turns] = {phase_by_phase: "phase by phase", at_once: "at once"}


def _pin(core: int) -> None:
    os.sched_setaffinity(threading.get_native_id(), {core})


def _together(table: Table, index: int) -> list[list[Any]]:
    gate = threading.Barrier(2)

    def one(player: Player) -> list[Any]:
        gate.wait()
        return phased(player.step, table.clock, index)[1]

    with table.isolation.neither():
        tasks = {id(p): p.thread.submit(one, p) for p in table.order.sample(table.players, 2) if p.thread}
        wait(tasks.values())
        return [tasks[id(player)].result() for player in table.players]


def _whole(table: Table, kind: Callable[..., tuple[Any, list[Any]]], index: int) -> int:
    for player in table.order.sample(table.players, 2):
        table.isolation.switch(player.side)
        player.timed.append((kind, kind(player.step, table.clock, index)[1]))
    return index + 1

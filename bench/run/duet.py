"""Two versions of one variant, timed step against step in one process."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch

from bench.data.duet import DuetReplicate, SideName
from bench.data.variant import Variant
from bench.plugin import Registry, Sampler
from bench.run import fingerprint
from bench.run.alternation import NAMES, Alternation, Player, Table, choose, in_turn
from bench.run.build import Step, build, close, open_data
from bench.run.clock import activity, clock_for, now
from bench.run.isolation import Isolation, LateImport, Side, strangers
from bench.run.measure import quiet_collector

# Pairs of one replicate: with p seconds a pair and s seconds to import, build and warm both sides up, the estimate of a
# whole comparison is best at about f sqrt(s / p) pairs, f being how much more a pair scatters than a rebuild, and flat
# around it. tests/studies/alternation.py finds an f of 2 to 4; the lower end gives more replicates, and a test by signs
# needs ten of them before it can say anything. Fewer than three pairs have no median worth the name.
PAIR_FACTOR = 2.5
LEAST_PAIRS, MOST_PAIRS = 3, 400
# A first step makes the optimizer's state and a second one the tables that it is read with. What is left of warming up
# falls on both sides of a pair alike, so that no more is waited for than a fast step needs to fill the caches.
WARMUP_STEPS, WARMUP_S = 2, 0.02
# What other threads may work during a step that one thread does.
OTHERS_SHARE = 0.01
# Where the allocator puts things decides how fast they are: blocks of random size between the two builds, and before
# them, make it another place in each replicate.
BALLAST_BLOCKS, BALLAST_BYTES = 8, 1 << 20


class LeakFound(Exception):
    """The two versions are not separate in this process: what they share, and so could change for each other."""

    @classmethod
    def of(cls, changed: Sequence[str]) -> LeakFound:
        """Names what the specimen changed."""
        return cls(f"the specimen changes what both versions share: {', '.join(changed[:3])}")


class Duet:
    """Builds and times variants of the sides in this process."""

    def __init__(
        self, isolation: Isolation, *, data: str, seed: int, worker: int, alternation: Alternation | None = None
    ) -> None:
        self.isolation, self.data, self.seed, self.worker = isolation, data, seed, worker
        # None for the one that suits the step; studies bring their own.
        self.alternation = alternation
        # Which side is being imported, built or warmed up: what is raised then is that side's fault.
        self.building: SideName | None = None
        self.order = random.Random(f"{seed} {worker}")  # noqa: S311 - an order of steps is no secret
        # Those of a process without specimens: what these changed or registered in an earlier job is theirs too.
        self.before, self.operators = fingerprint.fingerprint(), fingerprint.operators()
        self._samplers: dict[SideName, Sampler] = {}
        self._registries: dict[SideName, Registry] = {}

    def replicate(self, variant: Variant, index: int, *, head_first: bool, begun: float) -> DuetReplicate:
        """Imports, builds, warms up and times both sides; raises LeakFound where they are not separate."""
        started = now() - begun
        clock = clock_for(variant.device)
        first = now()
        places = sorted(self.isolation.sides, key=lambda side: (side.name == "head") != head_first)
        ballast: list[torch.Tensor] = []
        players: list[Player] = []
        for side in places:
            ballast += self._ballast(variant.device)
            players.append(Player(side=side, step=self.build(side, variant)))
        self.building = None
        _refuse_strangers(players)
        with quiet_collector():
            warmup = max(self._warm_up(player) for player in players)
            self.building = None
            imported = {player.side.name: len(player.side.claimed) for player in players}
            setup = now() - first
            table = Table(players=(players[0], players[1]), isolation=self.isolation, order=self.order, clock=clock)
            try:
                alternation = self._play(table, warmup, setup)
            finally:
                for player in players:
                    player.close()
        late = tuple(name for p in players for name in p.side.claimed[imported[p.side.name] :])
        samples: dict[SideName, dict[str, tuple[float, ...]]] = {
            player.side.name: player.samples(clock) for player in players
        }
        for player in players:
            with self.isolation.inside(player.side):
                close(player.step)
        self.refuse_leaks()
        del ballast
        return DuetReplicate(
            worker=self.worker,
            index=index,
            head_first=head_first,
            started=started,
            warmup_steps=warmup,
            samples=samples,
            late_imports=late,
            turns=NAMES.get(alternation, "step by step"),
        )

    def refuse_leaks(self) -> None:
        """Raises LeakFound where a specimen of this process has changed what both versions share."""
        changed = fingerprint.changes(self.before, fingerprint.fingerprint()) + fingerprint.registered(self.operators)
        if changed:
            raise LeakFound.of(changed)

    def registry(self, side: Side) -> Registry:
        """Imports a side anew and returns what it registers; once, where it has the process for itself."""
        self.building = side.name
        if side.name in self._registries:
            return self._registries[side.name]
        side.forget()
        with self.isolation.inside(side):
            registry = side.load()
        if len(self.isolation.sides) == 1:
            # Its replicates are processes, and what it registers with torch a process takes only once.
            self._registries[side.name] = registry
        return registry

    def sampler(self, side: Side, registry: Registry) -> Sampler:
        """Returns a side's data source, which is opened when it is first drawn from, and once for all replicates.

        A model that brings its batches needs none, and its repository need not register one.
        """

        def draw(batch: int, generator: torch.Generator) -> tuple[Any, Any]:
            if side.name not in self._samplers:
                self._samplers[side.name] = open_data(registry, self.data)
            return self._samplers[side.name](batch, generator)

        return draw

    def build(self, side: Side, variant: Variant) -> Step:
        """Imports a side anew and builds a variant of it."""
        registry = self.registry(side)
        sampler = self.sampler(side, registry)
        with self.isolation.inside(side):
            return build(registry, variant, data=sampler, seed=self.seed)

    def _ballast(self, device: str) -> list[torch.Tensor]:
        sizes = [self.order.randrange(64, BALLAST_BYTES) for _ in range(BALLAST_BLOCKS)]
        return [torch.empty(size, dtype=torch.uint8, device=device) for size in sizes]

    def _warm_up(self, player: Player) -> int:
        self.building = player.side.name
        with self.isolation.inside(player.side):
            steps, player.seconds, player.alone = warm_up(player.step)
            return steps

    def _play(self, table: Table, index: int, setup: float) -> Alternation:
        """Takes as many pairs of steps as are worth it beside what the setup took; returns how."""
        alternation = self.alternation or choose(table.players)
        try:
            self._pairs(table, alternation, index, setup)
        except LateImport:
            alternation = in_turn(table.players)
            for player in table.players:
                player.timed.clear()
                player.by_cpu = False
            self._pairs(table, alternation, index, setup)
        return alternation

    def _pairs(self, table: Table, alternation: Alternation, index: int, setup: float) -> None:
        pairs, done, begun = LEAST_PAIRS, 0, now()
        while done < pairs:
            index = alternation(table, index)
            done += 1
            if done == LEAST_PAIRS:
                each = (now() - begun) / done
                pairs = max(LEAST_PAIRS, min(MOST_PAIRS, round(PAIR_FACTOR * (setup / each) ** 0.5)))
        self.isolation.switch(None)


def warm_up(step: Step) -> tuple[int, float, bool]:
    """Runs first steps; returns how many, how long the last one took, and whether one thread did it without waiting.

    A step that waits by chance only is found out by the others: it is enough that one of them did not.
    """
    begun, steps, each, alone = now(), 0, 0.0, False
    while steps < WARMUP_STEPS or now() - begun < WARMUP_S:
        started, before = now(), activity()
        step.run(steps)
        each, after = now() - started, activity()
        own, all_threads = after.thread_s - before.thread_s, after.process_s - before.process_s
        alone |= after.waits == before.waits and all_threads - own <= OTHERS_SHARE * own
        steps += 1
    return steps, each, alone


def _refuse_strangers(players: Sequence[Player]) -> None:
    for player in players:
        others = [other.side for other in players if other is not player]
        things = [*player.step.module.modules(), player.step.optimizer, player.step.workload]
        found = strangers(player.side, others, things)
        if found:
            raise LeakFound(f"one version runs code of the other: {found[0]}")

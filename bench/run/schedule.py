"""The schedule: which replicate of which variant is taken when, and by which worker."""

from __future__ import annotations

import datetime as dt
import random
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from bench.data.environment import Environment
from bench.data.measurement import Caveat, Measurement, Replicate
from bench.data.metric import PHASES
from bench.data.protocol import Protocol
from bench.data.record import SCHEMA_VERSION, Record
from bench.data.variant import FLAVOR, NONE, Variant
from bench.errors import StepbenchError
from bench.run.clock import now
from bench.run.messages import Exact, Request
from bench.run.pool import Pool, open_pool

# What is built for a minute and measured for half a second gets fewer replicates: from this many on, a variant is done
# that took so many times its budget, and so long at all. With less, an interval over workers says next to nothing.
LEAST_REPLICATES = 3
MOST_BUDGETS, LONG_S = 5.0, 60.0
Progress = Callable[[str], None]
Key = TypeVar("Key")


@dataclass(frozen=True, kw_only=True)
class Run:
    """What all records of one run share."""

    id: str
    created: str
    protocol: Protocol
    plugins: tuple[str, ...]
    begun: float

    def request(self, do: str, variant: Variant | None = None, round_: int = 0) -> Request:
        """Makes a job of this run."""
        return Request(do=do, protocol=self.protocol, variant=variant, round=round_, begun=self.begun)  # type: ignore[arg-type]


@dataclass(kw_only=True)
class _Open:
    """A variant that is being measured."""

    variant: Variant
    exact: Exact | None = None
    replicates: list[Replicate] = field(default_factory=list)
    caveats: list[Caveat] = field(default_factory=list)
    failure: str | None = None
    spent: float = 0.0


def new_run(protocol: Protocol, plugins: Sequence[str]) -> Run:
    """Starts a run: gives it an id and a time."""
    created = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    return Run(id=secrets.token_hex(4), created=created, protocol=protocol, plugins=tuple(plugins), begun=now())


def measure(run: Run, variants: Sequence[Variant], progress: Progress = lambda _: None) -> Iterator[Record]:
    """Measures variants and yields the record of each as soon as its last replicate is taken.

    Variants that differ only in optimizer or quantization form a group and are taken in interleaved rounds: in each
    round one worker, which is the next in a shuffled order, rebuilds and times every variant of the group in random
    order. A slow minute of the machine thus falls on all of them.

    `progress` is called with a line for people after each job; there are `jobs(run, variants)` of them.
    Raises StepbenchError when the workers cannot start or the data source is no image set.
    """
    order = random.Random(run.id)  # noqa: S311 - an order of measurements is no secret
    for (threads, device, ranks), group_of_pool in _grouped(
        variants, lambda variant: (variant.threads, variant.device, variant.ranks)
    ).items():
        protocol = run.protocol
        with open_pool(protocol.workers, threads, protocol.wait_policy, run.plugins, ranks) as pool:
            progress(f"starting {len(pool)} workers")
            environment = pool.greet(run.request("hello", replace(group_of_pool[0], device=device))).environment
            assert environment is not None
            for opened in pool.ask_together([run.request("data")] * len(pool)):
                if opened.usage or opened.failure:
                    raise StepbenchError(opened.usage or opened.failure)
            for group in _grouped(group_of_pool, _beside).values():
                yield from _measure_group(run, pool, environment, group, order=order, progress=progress)


def jobs(run: Run, variants: Sequence[Variant]) -> int:
    """Returns the number of jobs that measuring these variants takes."""
    return len(variants) * (1 + run.protocol.replicates)


def _beside(variant: Variant) -> Variant:
    """Returns what the variants of one group have in common: the problem, and not the way it is computed."""
    return replace(variant, optimizer=NONE, quantization=NONE, **FLAVOR)


def _grouped(variants: Sequence[Variant], key: Callable[[Variant], Key]) -> dict[Key, list[Variant]]:
    groups: dict[Key, list[Variant]] = {}
    for variant in variants:
        groups.setdefault(key(variant), []).append(variant)
    return groups


def _measure_group(
    run: Run,
    pool: Pool,
    environment: Environment,
    group: Sequence[Variant],
    *,
    order: random.Random,
    progress: Progress,
) -> Iterator[Record]:
    open_ = [_Open(variant=variant) for variant in group]
    # Counting times nothing, so that it may use every core.
    together = max(1, min(len(pool), environment.cores // (group[0].threads * group[0].ranks)))
    for start in range(0, len(open_), together):
        items = open_[start : start + together]
        answers = pool.ask_together([run.request("count", item.variant) for item in items])
        for item, answer in zip(items, answers, strict=True):
            item.exact, item.failure = answer.exact, answer.usage or answer.failure
            progress(f"{item.variant}: counters")
            if item.failure:
                yield _record(run, environment, item)
    slots = [slot for _ in range(run.protocol.rounds) for slot in order.sample(range(len(pool)), len(pool))]
    alive, done = [item for item in open_ if not item.failure], list[_Open]()
    for round_, slot in enumerate(slots):
        for item in order.sample(alive, len(alive)):
            begun = now()
            answer = pool.ask(slot, run.request("replicate", item.variant, round_))
            item.spent += now() - begun
            progress(f"{item.variant}: replicate {round_ + 1} of {len(slots)}")
            item.failure = answer.usage or answer.failure
            if answer.replicate:
                item.replicates.append(answer.replicate)
            # The same caveat of several replicates is one caveat of the row.
            item.caveats += [new for new in answer.caveats if new.code not in {old.code for old in item.caveats}]
            if item.failure or round_ == len(slots) - 1:
                yield _record(run, environment, item)
            elif _takes_too_long(item, run.protocol):
                item.caveats.append(_few(item, run.protocol))
                for _ in range(len(slots) - len(item.replicates)):
                    progress(f"{item.variant}: done with {len(item.replicates)} replicates, which take long to build")
                done.append(item)
                yield _record(run, environment, item)
        alive = [item for item in alive if not item.failure and item not in done]


def _takes_too_long(item: _Open, protocol: Protocol) -> bool:
    return len(item.replicates) >= LEAST_REPLICATES and item.spent > max(LONG_S, MOST_BUDGETS * protocol.budget_s)


def _few(item: _Open, protocol: Protocol) -> Caveat:
    each = item.spent / len(item.replicates)
    return Caveat(
        code="few-replicates",
        message=f"a replicate takes {each:.0f} s to build and measure: there are {len(item.replicates)} and not "
        f"{protocol.replicates}, and the interval is wide; a larger --budget gives more",
    )


def _record(run: Run, environment: Environment, item: _Open) -> Record:
    exact = item.exact
    measurement = Measurement(
        variant=item.variant,
        protocol=run.protocol,
        phases=exact.phases if exact else PHASES,
        replicates=tuple(item.replicates),
        caveats=(*(exact.caveats if exact else ()), *item.caveats),
        failure=item.failure,
        **({"counters": exact.counters} if exact else {}),
    )
    return Record(
        schema=SCHEMA_VERSION,
        run=run.id,
        created=run.created,
        measurement=measurement,
        environment=environment,
        sources=dict(exact.sources) if exact else {},
    )

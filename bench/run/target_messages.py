"""What a worker that trains to a target is asked and what it answers: one line of JSON each way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.data.environment import Environment
from bench.data.target import Checkpoint
from bench.data.variant import Variant


@dataclass(frozen=True, kw_only=True)
class Runner:
    """One that takes part in a race: a variant at a learning rate."""

    variant: Variant
    rate: float


@dataclass(frozen=True, kw_only=True)
class TargetRequest:
    """A job for a worker that trains.

    `begin` builds the `runners` from a seed, on the training part of `data`, and describes the environment; `turn`
    lets those in `order`, by their places, take so many steps each and looks at the held-out part.
    """

    do: Literal["begin", "turn"]
    data: str = ""
    seed: int = 0
    runners: tuple[Runner, ...] = ()
    order: tuple[int, ...] = ()
    steps: int = 0


@dataclass(frozen=True, kw_only=True)
class TargetAnswer:
    """What a job gave: looks and failures by the runner's place; `usage` is set for a user's mistake."""

    environment: Environment | None = None
    looks: dict[int, Checkpoint]
    failures: dict[int, str]
    usage: str | None = None

"""What a worker is asked and what it answers: one line of JSON each way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.data.environment import Environment
from bench.data.measurement import Caveat, Counters, Replicate
from bench.data.protocol import Protocol
from bench.data.variant import Variant


@dataclass(frozen=True, kw_only=True)
class Request:
    """A job for a worker.

    `hello` describes the environment, `data` opens the protocol's data source, `count` takes everything exact,
    `replicate` takes one replicate. `begun` is when the run began, on the machine's monotonic clock.
    """

    do: Literal["hello", "data", "count", "replicate"]
    protocol: Protocol
    variant: Variant | None = None
    round: int = 0
    begun: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Exact:
    """Everything about a variant that one look settles."""

    phases: tuple[str, ...]
    counters: Counters
    caveats: tuple[Caveat, ...]
    sources: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a job gave; `usage` is set for a user's mistake, `failure` for a specimen that broke."""

    environment: Environment | None = None
    exact: Exact | None = None
    replicate: Replicate | None = None
    caveats: tuple[Caveat, ...] = ()
    usage: str | None = None
    failure: str | None = None

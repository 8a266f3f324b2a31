"""Nouns of time to target: how long variants train until they are as good as was asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from bench.data.environment import Environment
from bench.data.variant import Variant
from bench.errors import InvalidOption, UnknownName

# History (raise the number when a field changes its name or meaning):
#   1  first schema
TARGET_SCHEMA = 1
METRICS = ("accuracy",)
# Decades and their halves: from where AdamW is good to where SGD is.
RATES = (0.001, 0.003, 0.01, 0.03, 0.1)


@dataclass(frozen=True, kw_only=True)
class Target:
    """What is to be reached on the held-out part of the data: accuracy, as a share in (0, 1]."""

    metric: str
    value: float

    def __str__(self) -> str:
        return f"{self.metric}={self.value:g}"

    @classmethod
    def parse(cls, text: str) -> Target:
        """Reads `accuracy=0.95`; raises InvalidOption or UnknownName with what is allowed."""
        metric, equals, value = text.partition("=")
        if metric not in METRICS:
            raise UnknownName("target", metric, METRICS)
        try:
            share = float(value)
        except ValueError:
            share = math.nan
        if not equals or not 0 < share <= 1:
            raise InvalidOption(f"target {text!r}: write {metric}=SHARE, a number above 0 and up to 1: {metric}=0.95")
        return cls(metric=metric, value=share)


@dataclass(frozen=True, kw_only=True)
class TargetProtocol:
    """How variants are trained to a target.

    Each of `rates` is tried with the data, parameters and batches of `tuning_seeds` seeds from `seed` on; the best one
    of each variant is then trained with each of the `seeds` seeds that follow. Every `every` steps the held-out part is
    looked at, and after `limit` steps training is given up. Raises InvalidOption for values out of range.
    """

    target: Target
    data: str = "digits"
    seed: int = 0
    tuning_seeds: int = 1
    seeds: int = 5
    rates: tuple[float, ...] = RATES
    every: int = 5
    limit: int = 500
    wait_policy: str = "passive"

    def __post_init__(self) -> None:
        for name in ("tuning_seeds", "seeds", "every", "limit"):
            if getattr(self, name) < 1:
                raise InvalidOption(f"{name} {getattr(self, name)}: must be 1 or more")
        if not self.rates or not all(0 < rate < math.inf for rate in self.rates):
            raise InvalidOption(f"learning rates {self.rates}: must be numbers above 0, one at least")
        if len(set(self.rates)) < len(self.rates):
            raise InvalidOption(f"learning rates {self.rates}: one stands there twice")

    @property
    def tuned_with(self) -> range:
        """The seeds that learning rates are tried with; none where there is nothing to choose."""
        return range(self.seed, self.seed + self.tuning_seeds) if len(self.rates) > 1 else range(self.seed, self.seed)

    @property
    def measured_with(self) -> range:
        """The seeds that are measured; whether rates are tried or not, they are the same."""
        first = self.seed + self.tuning_seeds
        return range(first, first + self.seeds)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A look at the held-out part: after how many steps, how long these took (in seconds), and what share is right."""

    steps: int
    seconds: float
    accuracy: float


@dataclass(frozen=True, kw_only=True)
class Training:
    """One training of a variant from one seed at one learning rate, as far as it went.

    `tuning` tells a trial of a learning rate from what is measured. A trial may end before the target and the limit,
    because another rate was there first. `failure` is the one-line reason where training broke off.
    """

    variant: Variant
    rate: float
    seed: int
    tuning: bool
    checkpoints: tuple[Checkpoint, ...] = ()
    failure: str | None = None

    def reached(self, target: Target) -> Checkpoint | None:
        """Returns the first look at which the target was reached; None where it never was."""
        return next((look for look in self.checkpoints if look.accuracy >= target.value), None)

    @property
    def best(self) -> float:
        """Highest accuracy that was seen; 0 where none was."""
        return max((look.accuracy for look in self.checkpoints), default=0.0)


@dataclass(frozen=True, kw_only=True)
class TargetRecord:
    """What is stored of one training; `run` and `created` are the same for all of a run."""

    kind: Literal["target"] = "target"
    schema: int = TARGET_SCHEMA
    run: str
    created: str
    protocol: TargetProtocol
    training: Training
    environment: Environment

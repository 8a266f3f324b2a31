"""What an optimizer is told: the numbers that SGD reads at each step, and the ranges of all arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch


class Rates(NamedTuple):
    """What a parameter group says of a step, as torch.optim.SGD reads it."""

    lr: float | torch.Tensor
    momentum: float
    weight_decay: float


def rates_of(group: Mapping[str, Any]) -> Rates:
    """Returns the rates of a parameter group as they are now: a schedule may change them between steps."""
    return Rates(group["lr"], group["momentum"], group["weight_decay"])


def group_numbers(parameters: Sequence[torch.Tensor], groups: Sequence[Mapping[str, Any]]) -> list[int]:
    """Returns the number of each parameter's group."""
    if len(groups) == 1:
        return [0] * len(parameters)
    numbers = {id(p): number for number, group in enumerate(groups) for p in group["params"]}
    return [numbers[id(p)] for p in parameters]


_RANGES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "lr": (lambda value: value >= 0, "a number, 0 or more"),
    "momentum": (lambda value: 0 <= value < 1, "in [0, 1)"),
    "weight_decay": (lambda value: value >= 0, "0 or more"),
    "damping": (lambda value: value > 0, "above 0"),
    "stat_decay": (lambda value: 0 < value <= 1, "in (0, 1]"),
    "stat_samples": (lambda value: value >= 1, "1 or more"),
    "stat_every": (lambda value: value >= 1, "1 or more"),
}


def require(**given: Any) -> None:
    """Raises ValueError for the first argument outside its range, with its name, its value and the range."""
    for name, value in given.items():
        fits, allowed = _RANGES[name]
        if not fits(value):
            raise ValueError(f"{name}={value!r}: must be {allowed}")

"""Nouns of calibration: comparisons whose true outcome is known."""

from __future__ import annotations

from dataclasses import dataclass

# History (raise the number when a field changes its meaning):
#   1  first schema
TRIAL_SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One comparison of a version with itself, or with itself and extra work in the optimizer.

    `extra` is how much of the extra work each step of head does, in units of work; `effect` the relative change of the
    step, or of the phase `of`, that so much work was set to cost. `busy` says whether other work, such as a second
    trial, kept another core busy. `budget_s` is how long it might have taken: with identical code it takes all of
    that, else it ends with a verdict on `of`. `seconds` is when each replicate ended, since the first began;
    `log_ratios` holds a value for each replicate by metric, and `head_first` who was built first.
    """

    schema: int = TRIAL_SCHEMA
    created: str
    host: str
    commit: str
    variant: str
    extra: int
    effect: float
    of: str
    busy: bool
    budget_s: float
    phases: tuple[str, ...]
    seconds: tuple[float, ...]
    head_first: tuple[bool, ...]
    log_ratios: dict[str, tuple[float, ...]]

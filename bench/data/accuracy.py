"""Nouns of accuracy: what a quantized model gets right beside the float model that it was made of, seed by seed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Right answers among `examples` of the test part, by the deployed model of one seed and by its float model."""

    seed: int
    examples: int
    correct: int
    float_correct: int


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """A model taken through a flow, once for each seed; without `qat_epochs` it was quantized after training."""

    model: str
    flow: str
    data: str
    epochs: int
    qat_epochs: int
    seeds: tuple[Scored, ...]

"""Test doubles: a clock that tests move by hand, and a step whose phases take the time they are told."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from bench.run.clock import Span


class FakeClock:
    """A clock that stands still unless it is moved, and remembers how often it was read."""

    name = "fake"

    def __init__(self) -> None:
        self.wall = 0.0
        self.cpu = 0.0
        self.reads = 0

    def mark(self) -> tuple[float, float]:
        self.reads += 1
        return self.wall, self.cpu

    def span(self, start: tuple[float, float], end: tuple[float, float]) -> Span:
        return Span(end[0] - start[0], end[1] - start[1])

    def move(self, seconds: float) -> None:
        self.wall += seconds
        self.cpu += seconds / 2


class TinyStep:
    """A step without a model: each part of it moves the clock by its duration times the scale of its turn.

    `scales` gives the scale of the first steps; later ones run at 1.
    """

    trains = True
    phases = ("forward", "backward", "optimize")
    durations: ClassVar = {"zero_grad": 1.0, "forward": 2.0, "backward": 3.0, "optimize": 4.0}

    def __init__(self, clock: FakeClock, scales: tuple[float, ...] = ()) -> None:
        self.clock = clock
        self.scales = scales
        self.turn = -1
        self.calls: list[str] = []

    def _spend(self, name: str) -> None:
        self.calls.append(name)
        scale = self.scales[self.turn] if self.turn < len(self.scales) else 1.0
        self.clock.move(self.durations[name] * scale)

    def zero_grad(self) -> None:
        self.turn += 1
        self._spend("zero_grad")

    def forward(self, index: int) -> torch.Tensor:
        self._spend("forward")
        return torch.tensor(0.5)

    def backward(self, loss: Any) -> None:
        self._spend("backward")

    def optimize(self) -> None:
        self._spend("optimize")

    def run(self, index: int) -> torch.Tensor:
        self.zero_grad()
        loss = self.forward(index)
        self.backward(loss)
        self.optimize()
        return loss

"""Profiles made by hand."""

from __future__ import annotations

import random
from collections.abc import Sequence

from bench.data.profile import Function, Line, Operation, Profile, StepTimes
from bench.data.variant import Variant
from tests.bench.report.conftest import ENVIRONMENT

# text -> seconds a step; None for a line that does not run.
Lines = Sequence[tuple[str, float | None]]
FORWARD: Lines = (
    ("def forward(self, x):", None),
    ('    """Classifies."""', None),
    ("    x = self.conv(x)", 742e-6),
    ("    x = F.relu(x)", 20e-6),
    ("    for block in self.blocks:", 2e-6),
    ("        x = block(x)", 900e-6),
    ("    return x", 0.4e-6),
)
REPLICATES, STEPS = 10, 4


def line(number, text, seconds, rng, *, noise=0.01, hits=1, **more):
    if seconds is None:
        return Line(number=number, text=text)
    taken = tuple(
        tuple(round(seconds * (1 + noise * rng.gauss(0, 1)), 9) for _ in range(STEPS)) for _ in range(REPLICATES)
    )
    return Line(number=number, text=text, hits=hits * STEPS * REPLICATES, seconds=taken, **more)


def function(lines: Lines = FORWARD, *, name="Net.forward", role="forward", first=46, seed=0, noise=0.01, **more):
    rng = random.Random(seed)
    return Function(
        name=name,
        role=role,
        file="toys/net.py",
        sha256="0" * 64,
        first=first,
        lines=tuple(
            line(first + index, text, seconds, rng, noise=noise, **more.get(text.strip(), {}))
            for index, (text, seconds) in enumerate(lines)
        ),
    )


def profile(*functions, variant="net/eva/none", session="s1", step=3e-3, **more):
    times = StepTimes(
        worker=0,
        warmup_steps=2,
        plain={"forward": (step,) * STEPS, "step": (step,) * STEPS},
        profiled={"forward": (step * 1.2,) * STEPS, "step": (step * 1.2,) * STEPS},
    )
    given = {
        "session": session,
        "created": "2026-11-21T14:00:00+00:00",
        "variant": Variant.parse(variant),
        "version": None,
        "commit": "1a56d179ec58c10c96bf97296e54d6e9cbefc2f9",
        "dirty": False,
        "environment": ENVIRONMENT,
        "replicates": (times,) * REPLICATES,
        "functions": functions or (function(),),
    }
    return Profile(**(given | more))


def explained():
    """A profile whose dearest line has hooks and operations."""
    conv = {
        "hooks": {"Eva.hook": 236e-6},
        "operations": (
            Operation(name="aten.convolution", count=1, seconds=300e-6),
            Operation(name="aten.mean", count=10, seconds=90e-6),
        ),
        "events": {"forward": 200},
    }
    return profile(function(**{"x = self.conv(x)": conv}), events={"forward": 1000})

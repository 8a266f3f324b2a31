"""Comparisons with known outcomes."""

from __future__ import annotations

import numpy as np

from bench.data.duet import Duet, DuetReplicate, DuetRun, Version
from bench.data.environment import Environment
from bench.data.variant import Variant

PHASES = ("forward", "backward", "optimize")
SECONDS = {"zero_grad": 0.0002, "forward": 0.015, "backward": 0.014, "optimize": 0.006}


def version(side, name, commit, **more):
    return Version(
        side=side, name=name, commit=commit, root=f"/cache/{side}", paths=(f"/cache/{side}",), plugins=("parts",),
        **{"dirty": False, **more},
    )  # fmt: skip


RUN = DuetRun(
    id="0a1b2c3d",
    created="2026-11-21T10:00:00+00:00",
    base=version("base", "main", "1" * 40),
    head=version("head", "working tree", "2" * 40, dirty=True),
    environment=Environment(
        host="bench-1", commit="2" * 40, dirty=True, python="3.11.7", torch="2.13.0+cpu", stepbench="0.1.0",
        platform="Linux 6.1 x86_64", cpu="A processor", cores=2, memory_bytes=25_300_000_000, gpu=None, threads=1,
        wait_policy="passive", clock="host", clock_resolution=1e-7,
    ),
    data="digits",
    seed=0,
    budget_s=30.0,
    workers=4,
)  # fmt: skip


def duet(model="resnet20", *, step=0.0, optimize=0.0, noise=0.004, order=0.0, count=40, seed=0, counters=None, **more):
    """A duet whose head takes `step` more time in every phase and `optimize` more in that one.

    `noise` is that of a replicate, `order` what the second place costs.
    """
    generator = np.random.default_rng(seed)
    replicates = []
    for index in range(count):
        head_first = bool(generator.integers(2))
        place = -order if head_first else order
        samples = {"base": {}, "head": {}}
        for phase, seconds in SECONDS.items():
            own = optimize if phase == "optimize" else 0.0
            factor = (1 + step) * (1 + own) * np.exp(place + generator.normal(0, noise))
            base = seconds * (1 + 0.001 * np.arange(3))
            samples["base"][phase], samples["head"][phase] = tuple(base.tolist()), tuple((base * factor).tolist())
        for side in samples.values():
            side["step"] = tuple(map(sum, zip(*(side[phase] for phase in SECONDS), strict=True)))
        replicates.append(
            DuetReplicate(
                worker=index % 4,
                index=index,
                head_first=head_first,
                started=float(index),
                warmup_steps=2,
                samples=samples,
            )
        )
    return Duet(
        variant=Variant(model=model, optimizer="eva"), status="compared", phases=PHASES, replicates=tuple(replicates),
        counters=counters or {}, seconds=12.5, **more,
    )  # fmt: skip

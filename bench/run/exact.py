"""The exact half of a row: counters, memory, quality and source hashes of one variant, in one pass."""

from __future__ import annotations

import math

from bench.data.measurement import Caveat, Counters
from bench.data.protocol import Protocol
from bench.data.variant import Variant
from bench.plugin import Registry, Sampler
from bench.run import counters, memory, quality, sources
from bench.run.build import build, close
from bench.run.messages import Exact

SETTLED_STEPS = 3
_EAGER = Caveat(
    code="eager-counters",
    message="counting turns torch.compile off: operations, syncs, FLOPs and bytes are those of the eager model",
)


def exact(registry: Registry, variant: Variant, protocol: Protocol, data: Sampler) -> Exact:
    """Builds a variant and takes everything of it that repetition does not change."""
    step, caveats = counters.background_threads(
        lambda: build(registry, variant, data=data, seed=protocol.seed),
    )
    # First steps make state and tables that later ones reuse: they are counted in no process, fresh or used.
    for index in range(1, SETTLED_STEPS):
        step.run(index)
    values: dict[str, float | None] = dict(counters.count(step, SETTLED_STEPS))
    values["peak_bytes"] = memory.peak_bytes(step, SETTLED_STEPS + 3)
    parts = memory.state_bytes(step.optimizer)
    if step.optimizer is not None:
        values["state_bytes"] = sum(parts.values())
    hashes = sources.hash_parts(registry, step)
    close(step)
    # Quality is that of a run from the seed, so the counted step, which has trained already, is of no use.
    fresh = build(registry, variant, data=data, seed=protocol.seed)
    result = quality.train(fresh, protocol.quality_steps, protocol.seed)
    close(fresh)
    values["loss"] = result.after if math.isfinite(result.after) else None
    return Exact(
        phases=step.phases,
        counters=Counters(values=values, state_bytes=parts),
        caveats=(*caveats, *((_EAGER,) if variant.compiled else ()), *result.caveats),
        sources=hashes,
    )

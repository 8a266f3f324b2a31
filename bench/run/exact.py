"""The exact half of a row: counters, memory, quality and source hashes of one variant, in one pass."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from bench.data.measurement import WHEN_SLOWER, Caveat, Counters
from bench.data.protocol import Protocol
from bench.data.variant import FLAVOR, NONE, Variant
from bench.plugin import Ran, Registry, Sampler
from bench.run import compiled, counters, memory, quality, ranks, sources
from bench.run.build import Step, build, close
from bench.run.messages import Exact
from bench.run.weights import weight_bytes

SETTLED_STEPS = 3
_EAGER = Caveat(
    code="eager-counters",
    message="counting turns torch.compile off: operations, syncs, FLOPs and bytes are those of the eager model",
)


def exact(registry: Registry, variant: Variant, protocol: Protocol, data: Sampler) -> Exact:
    """Builds a variant and takes everything of it that repetition does not change."""
    if variant.compiled:
        compiled.reset()
    step, caveats = counters.background_threads(
        lambda: build(registry, variant, data=data, seed=protocol.seed),
    )
    # First steps make state and tables that later ones reuse: they are counted in no process, fresh or used.
    for index in range(1, SETTLED_STEPS):
        step.run(index)
    values: dict[str, float | None] = dict(counters.count(step, SETTLED_STEPS))
    found, unfused = _quantized(registry, variant, protocol, data, step)
    values |= found
    values["peak_bytes"] = memory.peak_bytes(step, SETTLED_STEPS + 3)
    parts = memory.state_bytes(step.optimizer)
    if step.optimizer is not None:
        values["state_bytes"] = sum(parts.values())
    values |= weight_bytes(step.module)
    hashes, said = sources.hash_parts(registry, step), _remarks(step)
    close(step)
    # Quality is that of a run from the seed, so the counted step, which has trained already, is of no use.
    fresh = build(registry, variant, data=data, seed=protocol.seed)
    result = quality.train(fresh, protocol.quality_steps, protocol.seed)
    if variant.ranks > 1:
        ranks.check_identical(fresh.module)
    close(fresh)
    values["loss"] = result.after if math.isfinite(result.after) else None
    return Exact(
        phases=step.phases,
        counters=Counters(values=values, state_bytes=parts),
        caveats=(*caveats, *said, *unfused, *((_EAGER,) if variant.compiled else ()), *result.caveats),
        sources=hashes,
    )


def _remarks(step: Step) -> tuple[Caveat, ...]:
    """Returns what an optimizer says of its own rows, where it does."""
    said = getattr(step.optimizer, "remarks", None)
    if not isinstance(said, Mapping):
        return ()
    return tuple(Caveat(code=str(code), message=str(message)) for code, message in said.items())


def _quantized(
    registry: Registry, variant: Variant, protocol: Protocol, data: Sampler, step: Step
) -> tuple[dict[str, float], tuple[Caveat, ...]]:
    """Returns how much of the model a quantization reached, and what it did to the outputs."""
    if step.coverage is None:
        return {}, ()
    found: dict[str, float] = {
        "quantized_layers": step.coverage.quantized,
        "eligible_layers": step.coverage.eligible,
    }
    caveats: tuple[Caveat, ...] = ()
    if step.coverage.cause:
        caveats = (Caveat(code="partly-quantized", message=step.coverage.cause),)
    options = registry.get("quantization", variant.quantization).options
    slower = options["slower"]
    if callable(slower):
        ran = Ran(batch=variant.batch, threads=variant.threads, compiled=variant.compiled, trains=step.trains)
        slower = slower(ran)
    if slower:
        caveats += (Caveat(code=WHEN_SLOWER, message=slower),)
    if variant.compiled and not step.trains and not options["own_kernels"]:
        fused = found["fused_layers"] = compiled.fused_layers()
        caveats += _not_fused(fused, step.coverage.quantized)
    if not step.trains:
        reference = build(registry, replace(variant, quantization=NONE, **FLAVOR), data=data, seed=protocol.seed)
        found["output_error"] = quality.output_error(step, reference)
        close(reference)
    return found, caveats


def _not_fused(fused: int, quantized: int) -> tuple[Caveat, ...]:
    """Returns what a compiled row has to say where not all of its quantized layers became kernels of integers."""
    if fused >= quantized:
        return ()
    message = (
        f"the compiler made kernels of integers of {fused} of {quantized} quantized layers; the others compute in "
        "float, with roundings in between: only static flows that export the model (pt2e-static) are made for it"
    )
    return (Caveat(code="not-fused", message=message),)

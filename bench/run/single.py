"""The narrow waist: one variant measured in this very process, for asv, pytest-benchmark and other commits."""

from __future__ import annotations

import functools
import os
import random
from collections.abc import Mapping

from bench.data.metric import METRICS
from bench.data.protocol import PROTOCOL_VERSION, Protocol
from bench.data.variant import Variant
from bench.errors import StepbenchError, UnknownName
from bench.plugin import Registry, Sampler
from bench.run.load import VARIABLE, load
from bench.run.select import check


def sample_here(variant: str, metric: str) -> list[float]:
    """Measures a variant in this process under the default protocol; see `bench.sample`."""
    if metric not in METRICS:
        raise UnknownName("metric", metric, METRICS)
    parsed = Variant.parse(variant)
    if not METRICS[metric].timed:
        value = _exact(parsed, os.environ.get(VARIABLE)).get(metric)
        return [] if value is None else [value]

    from bench.run.build import build, close
    from bench.run.clock import clock_for
    from bench.run.measure import take

    registry, protocol, data = _ready(parsed)
    step = build(registry, parsed, data=data, seed=protocol.seed)
    taken = take(step, clock_for(parsed.device), protocol.replicate_s, random.Random(protocol.seed))  # noqa: S311
    close(step)
    return list(taken.samples.get(metric, ()))


@functools.lru_cache(maxsize=1)
def _exact(variant: Variant, plugins: str | None) -> Mapping[str, float | None]:  # noqa: ARG001 - is part of the key
    """Takes all exact metrics of a variant in one pass, which is long; suites ask for one of them after the other."""
    from bench.run.exact import exact

    registry, protocol, data = _ready(variant)
    return exact(registry, variant, protocol, data).counters.values


def _ready(variant: Variant) -> tuple[Registry, Protocol, Sampler]:
    registry, protocol = load(), Protocol()
    check(registry, variant)

    import torch

    from bench.run.build import open_data

    # asv and pytest-benchmark own this process; OMP_NUM_THREADS, set before they start, is the better way.
    torch.set_num_threads(variant.threads)
    return registry, protocol, open_data(registry, protocol.data)


def supported(variant: str, protocol: int) -> bool:
    """Says whether this version measures a variant under a protocol version; see `bench.supports`."""
    try:
        parsed = Variant.parse(variant)
        check(load(), parsed)
    except StepbenchError:
        return False
    return protocol == PROTOCOL_VERSION and parsed.ranks == 1

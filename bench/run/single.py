"""The narrow waist: one variant measured in this very process, for asv, pytest-benchmark and other commits."""

from __future__ import annotations

import random

from bench.data.metric import METRICS
from bench.data.protocol import PROTOCOL_VERSION, Protocol
from bench.data.variant import Variant
from bench.errors import StepbenchError, UnknownName
from bench.run.load import load
from bench.run.select import check


def sample_here(variant: str, metric: str) -> list[float]:
    """Measures a variant in this process under the default protocol; see `bench.sample`."""
    if metric not in METRICS:
        raise UnknownName("metric", metric, METRICS)
    registry, protocol, parsed = load(), Protocol(), Variant.parse(variant)
    check(registry, parsed)

    import torch

    from bench.run.build import build, close, open_data
    from bench.run.clock import clock_for
    from bench.run.exact import exact
    from bench.run.measure import take

    # asv and pytest-benchmark own this process; OMP_NUM_THREADS, set before they start, is the better way.
    torch.set_num_threads(parsed.threads)
    data = open_data(registry, protocol.data)
    if METRICS[metric].noise == "exact":
        values = exact(registry, parsed, protocol, data).counters.values
        value = values.get(metric)
        return [] if value is None else [value]
    step = build(registry, parsed, data=data, seed=protocol.seed)
    taken = take(step, clock_for(parsed.device), protocol.replicate_s, random.Random(protocol.seed))  # noqa: S311
    close(step)
    return list(taken.samples.get(metric, ()))


def supported(variant: str, protocol: int) -> bool:
    """Says whether this version measures a variant under a protocol version; see `bench.supports`."""
    try:
        check(load(), Variant.parse(variant))
    except StepbenchError:
        return False
    return protocol == PROTOCOL_VERSION

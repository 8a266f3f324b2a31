"""stepbench's instrument: it measures any PyTorch training step and knows nothing of its specimens.

`Workload` is what a plug-in returns; `sample` and `supports` are the two functions that asv, pytest-benchmark and
other commits call, so their signatures never change. Importing this package does not import torch.
"""

from __future__ import annotations

from bench.plugin import Workload

__all__ = ["Workload", "sample", "supports"]


def sample(variant: str, metric: str) -> list[float]:
    """Measures one variant in this process and returns the samples of one metric, in SI units.

    An exact metric gives one value. Raises StepbenchError for a variant or a metric that is not known.
    """
    from bench.run.single import sample_here

    return sample_here(variant, metric)


def supports(variant: str, protocol: int) -> bool:
    """Says whether this version can measure a variant under a protocol version."""
    from bench.run.single import supported

    return supported(variant, protocol)

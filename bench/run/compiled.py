"""What torch.compile made of a step: whether quantized layers became kernels of integers."""

from __future__ import annotations

from collections import Counter

# Inductor counts each weight of a quantized layer that it packs for such a kernel.
_PACKED = ("qconv_weight_prepack_matcher_count", "qlinear_weight_prepack_matcher_count")


def reset() -> None:
    """Forgets what was counted before, so that the next compilation is counted alone."""
    _counters().clear()


def fused_layers() -> int:
    """Returns how many quantized layers inductor has fused with their rounding since `reset`."""
    return sum(_counters()[name] for name in _PACKED)


def _counters() -> Counter[str]:
    # Importing the compiler takes a second, which steps that are not compiled need not wait for.
    from torch._dynamo.utils import counters

    return counters["inductor"]

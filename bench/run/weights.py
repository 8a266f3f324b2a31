"""What a model's weights take in memory, in whatever form they are kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

_INTEGERS = frozenset({torch.int8, torch.uint8, torch.qint8, torch.quint8})
# Containers inside of containers, as far as modules of torch nest them.
_DEPTH = 3


def weight_bytes(module: torch.nn.Module) -> dict[str, int]:
    """Returns `model_bytes`, of all tensors that a module keeps, and `integer_bytes`, of those of one byte an element.

    Parameters, buffers, tensors in attributes, and what the packed weights of quantized modules unpack to; each
    storage counts once. The scales and zero points of channels count as bytes of the model.
    """
    total = integers = 0
    seen: set[int] = set()
    # A packed weight is unpacked into new memory each time: all is held at once, or one could lie where another lay.
    for tensor in list(_tensors(module)):
        storage = tensor.untyped_storage()
        if storage.data_ptr() in seen or not storage.nbytes():
            continue
        seen.add(storage.data_ptr())
        total += storage.nbytes() + _scale_bytes(tensor)
        # A single byte is a switch of a fake-quantizer, and no weight.
        integers += storage.nbytes() if tensor.dtype in _INTEGERS and tensor.numel() > 1 else 0
    return {"model_bytes": total, "integer_bytes": integers}


def _tensors(module: torch.nn.Module) -> Iterator[torch.Tensor]:
    for child in module.modules():
        yield from _within(list(vars(child).values()), _DEPTH)


def _within(value: Any, depth: int) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, torch.ScriptObject) and hasattr(value, "unpack"):
        yield from _within(value.unpack(), depth)
    elif isinstance(value, (list, tuple, dict)) and depth:
        for item in value.values() if isinstance(value, dict) else value:
            yield from _within(item, depth - 1)


def _scale_bytes(tensor: torch.Tensor) -> int:
    if not tensor.is_quantized or tensor.qscheme() not in {
        torch.per_channel_affine,
        torch.per_channel_affine_float_qparams,
    }:
        return 0
    parts = (tensor.q_per_channel_scales(), tensor.q_per_channel_zero_points())
    return sum(part.numel() * part.element_size() for part in parts)

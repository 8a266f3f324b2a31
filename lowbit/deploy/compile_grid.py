"""The grid of a quantized model's output: one step of it is the unit in which its differences count."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lowbit.quantization.coverage import coverage
from lowbit.quantization.departure import STEPS

_RESTORES = ("aten::dequantize", "quantized_decomposed::dequantize_per_tensor")


def output_step(module: nn.Module, inputs: tuple[Any, ...]) -> float | None:
    """Returns the scale of a quantized model's first output; None for a model that is not quantized.

    It is the scale of the output where that is a quantized tensor, or was restored from integers as the last step. Of a
    model that ends in float it is the output's range in 255 steps, as in `lowbit.quantization.departure`.
    """
    recorder = _Recorder()
    with torch.no_grad(), recorder:
        leaves = [leaf for leaf in tree_leaves(module(*inputs)) if isinstance(leaf, torch.Tensor)]
    if not leaves:
        return None
    if leaves[0].is_quantized:
        return _step(leaves[0])
    step = recorder.steps.get(leaves[0].untyped_storage().data_ptr())
    if step is None and leaves[0].numel() and coverage(module, module).quantized:
        step = float(leaves[0].max() - leaves[0].min()) / STEPS
    return step


class _Recorder(TorchDispatchMode):
    """Keeps the scale of each tensor that was restored from integers, by where it lies."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.steps: dict[int, float] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func._schema.name  # noqa: SLF001 - the one way to an operation's name
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor) and not leaf.is_quantized and not func.is_view:
                # Memory that was let go is used again: what lies there now has another scale, or none.
                self.steps.pop(leaf.untyped_storage().data_ptr(), None)
        if name in _RESTORES:
            step = _step(args[0]) if args[0].is_quantized else float(args[1])
            if step is not None:
                self.steps[result.untyped_storage().data_ptr()] = step
        return result


def _step(values: torch.Tensor) -> float | None:
    return (
        float(values.q_scale()) if values.qscheme() in {torch.per_tensor_affine, torch.per_tensor_symmetric} else None
    )

"""Pooling and padding of quantized activations on their codes, where torch's own kernels are slow.

Moving and comparing values needs no scale: what comes out are the codes that torch's kernels give, in the memory format
that convolutions want. A max pool of torch 2.13 goes one value at a time where there are fewer channels than a vector
holds, zero padding goes over float in FX and loses the memory format in eager mode, and an average of single values is
computed as any other.

Where a dispatch mode looks on, to count operations or to draw them, torch's own do it: they give the same codes, and
are one operation each by a name that everybody knows. So it is in what torch.jit traces, whose file is loaded where
nobody knows these. They are no operators of torch's dispatcher, which takes each name once in a process: two versions
of this file have to live in one.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

# From here on torch's kernel fills its vectors with channels: measured, 17 times faster at 32 than at 16.
VECTOR = 32
_PICTURES = 4


class MaxPool2d(nn.MaxPool2d):
    """A max pool that takes the maximum over rows first and over columns then, many pixels at a time.

    It does so for windows of stride 1 without padding over few channels; any other is torch's.
    """

    def forward(self, values: torch.Tensor) -> Any:
        """Pools values of shape [batch, channels, height, width], quantized or not."""
        height, width = _pair(self.kernel_size)
        plain = [_pair(part) for part in (self.stride, self.dilation, self.padding)] == [(1, 1), (1, 1), (0, 0)]
        if not plain or self.return_indices or not _has_codes(values) or values.shape[1] >= VECTOR:
            return super().forward(values)
        # What is too small for the window is refused there.
        if values.shape[2] < height or values.shape[3] < width:
            return super().forward(values)
        return _max_pool2d(values, height, width)


class AdaptiveAvgPool2d(nn.AdaptiveAvgPool2d):
    """An average that is none where each window is one value."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Averages values of shape [batch, channels, height, width], quantized or not."""
        if _has_codes(values) and tuple(values.shape[2:]) == _pair(self.output_size):
            return values
        return super().forward(values)


def pad(values: torch.Tensor, pads: Sequence[int], mode: str = "constant", value: float | None = None) -> torch.Tensor:
    """Pads as `torch.nn.functional.pad` does; pictures of codes with zeros on their codes."""
    sides = [*pads, *[0] * (2 * _PICTURES - len(pads))]
    if not _has_codes(values) or mode != "constant" or value or min(sides) < 0:
        return functional.pad(values, list(pads), mode, value)
    # `pads` begins with the last dimension.
    return _pad(values, sides[-2::-2], sides[-1::-2])


def lower(converted: fx.GraphModule) -> fx.GraphModule:
    """Puts these operations, in place, where a converted model pools or pads; in float they do what torch does.

    What FX does in float only because it has no kernel of integers, padding and flattening, is done on codes where
    quantizing follows at once: the flow lets both sides share one scale then.
    """
    for name, child in list(converted.named_modules()):
        if type(child) is nn.MaxPool2d:
            own: nn.Module = MaxPool2d(
                child.kernel_size, child.stride, child.padding, child.dilation, child.return_indices, child.ceil_mode
            )
        elif type(child) is nn.AdaptiveAvgPool2d:
            own = AdaptiveAvgPool2d(child.output_size)
        else:
            continue
        converted.set_submodule(name, own.train(child.training))
    for node in list(converted.graph.nodes):
        if node.op == "call_function" and node.target is functional.pad:
            node.target = pad
            _keep_codes(node)
        elif node.op == "call_method" and node.target == "flatten":
            _keep_codes(node)
    converted.graph.eliminate_dead_code()
    converted.recompile()
    return converted


def _max_pool2d(values: torch.Tensor, height: int, width: int) -> torch.Tensor:
    rows, columns = values.shape[2] - height + 1, values.shape[3] - width + 1
    found = _empty(values, (*values.shape[:2], rows, columns))
    # With channels last, what lies side by side in memory is a whole row of all channels.
    pixels = _bytes(values).permute(0, 2, 3, 1)
    pixels = functools.reduce(torch.maximum, [pixels[:, start : start + rows] for start in range(height)])
    *others, last = [pixels[:, :, start : start + columns] for start in range(width)]
    torch.maximum(functools.reduce(torch.maximum, others or [last]), last, out=_bytes(found).permute(0, 2, 3, 1))
    return found


def _pad(values: torch.Tensor, before: Sequence[int], after: Sequence[int]) -> torch.Tensor:
    around = list(zip(before, values.shape, after, strict=True))
    found = _empty(values, [sum(part) for part in around])
    codes = _bytes(found).fill_(values.q_zero_point())
    codes[tuple(slice(first, first + size) for first, size, _ in around)].copy_(_bytes(values))
    return found


def _keep_codes(node: fx.Node) -> None:
    """Takes out the ways to float before a node and back to codes behind it, where there are both."""
    source = node.args[0]
    back = [user for user in node.users if user.target is torch.quantize_per_tensor]
    if not isinstance(source, fx.Node) or source.target != "dequantize" or len(back) != len(node.users):
        return
    node.update_arg(0, source.args[0])
    for user in back:
        user.replace_all_uses_with(node)
        node.graph.erase_node(user)


def _has_codes(values: torch.Tensor) -> bool:
    # The public ones have no type, or make a list of all modes.
    if torch._C._is_tracing() or torch._C._len_torch_dispatch_stack():  # noqa: SLF001
        return False
    return values.is_quantized and values.dtype == torch.quint8 and values.dim() == _PICTURES


def _empty(values: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    return torch._empty_affine_quantized(  # noqa: SLF001 - the one way to a quantized tensor without a float one
        shape,
        scale=values.q_scale(),
        zero_point=values.q_zero_point(),
        dtype=values.dtype,
        memory_format=torch.channels_last,
    )


def _bytes(values: torch.Tensor) -> torch.Tensor:
    """Returns the codes themselves: `int_repr` would copy them, which takes as long as pooling does."""
    plain = torch.empty(0, dtype=torch.uint8)
    return plain.set_(values.untyped_storage(), values.storage_offset(), values.shape, values.stride())


def _pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else tuple(size)

"""Kronecker vectors of layers: what Eva keeps of a layer's inputs and of its outputs' gradients.

Source: Zhang et al., "Eva: Practical Second-order Optimization with Kronecker-vectorized Approximation" (ICLR 2023,
arXiv 2308.02123), section 3.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from lowbit.optimizers.graph_capture import held

LAYERS = (nn.Linear, nn.Conv2d)
# Elements of the table that takes a picture to its mean patch in one product: 1 MiB in fp32, as a second-level cache.
LARGEST_TABLE = 1 << 18


def vector_dtype(dtype: torch.dtype) -> torch.dtype:
    """Returns the dtype of the vectors of a layer that computes in a dtype: never narrower than fp32."""
    return torch.float32 if dtype.itemsize < torch.float32.itemsize else dtype


def input_vector(layer: nn.Linear | nn.Conv2d, inputs: torch.Tensor, samples: int) -> torch.Tensor:
    """Returns the mean input of a layer, one element for each column of its weight as a matrix.

    Linear: inputs [batch, ..., in] give [in]. Conv2d: inputs [batch, channels, height, width] give the mean patch,
    [channels * kernel height * kernel width]. Only the first `samples` of the batch count. Inside autocast it is of the
    precision of the inputs as well.
    """
    if torch.is_autocast_enabled(inputs.device.type):
        with torch.autocast(inputs.device.type, enabled=False):
            return input_vector(layer, inputs, samples)
    if isinstance(layer, nn.Linear):
        return _mean_over_rows(inputs, samples)
    mean = _first(inputs, samples).mean(0) if inputs.ndim == 4 and inputs.shape[0] > 1 else inputs
    mean = mean.reshape(mean.shape[-3:])
    left, right, top, bottom = padding(layer)
    if layer.padding_mode != "zeros":
        mean = F.pad(mean.unsqueeze(0), (left, right, top, bottom), mode=layer.padding_mode).squeeze(0)
        left = right = top = bottom = 0
    channels, high, wide = mean.shape
    around = (left, right, top, bottom)
    height, width = windows((high, wide), layer.kernel_size, layer.stride, layer.dilation, around)
    # The mean of an element of the patch over all positions is linear in the picture: the patches themselves, kernel
    # height * kernel width times the picture, need not exist.
    if high * wide * height.kernel * width.kernel <= LARGEST_TABLE:
        table = held(_patch_means(height, width, mean.dtype, mean.device))
        return (mean.reshape(channels, high * wide) @ table).view(-1)
    # It separates over the axes of the picture, for those whose table would be large.
    rows, columns = (held(window_means(window, mean.dtype, mean.device)) for window in (height, width))
    return (rows @ (mean @ columns.T)).reshape(-1)


def output_vector(layer: nn.Linear | nn.Conv2d, gradient: torch.Tensor, samples: int) -> torch.Tensor:
    """Returns the mean gradient of a layer's output, one element for each row of its weight as a matrix."""
    if isinstance(layer, nn.Linear):
        return _mean_over_rows(gradient, samples)
    return _first(gradient, samples).mean((0, 2, 3)) if gradient.ndim == 4 else gradient.mean((1, 2))


def _mean_over_rows(values: torch.Tensor, samples: int) -> torch.Tensor:
    if values.ndim == 1:
        return values.clone()
    return _first(values, samples).mean(tuple(range(values.ndim - 1)))


def _first(values: torch.Tensor, samples: int) -> torch.Tensor:
    return values if values.shape[0] <= samples else values[:samples]


def padding(layer: nn.Conv2d) -> tuple[int, int, int, int]:
    """Returns how many pixels a convolution adds to a picture: left, right, above and below."""
    if layer.padding == "valid":
        return 0, 0, 0, 0
    left, right, top, bottom = layer._reversed_padding_repeated_twice  # noqa: SLF001 - resolves padding="same"
    return left, right, top, bottom


class Window(NamedTuple):
    """How a kernel moves over one axis of a picture of some size, padded with zeros before and after."""

    size: int
    kernel: int
    stride: int
    dilation: int
    before: int
    after: int


def windows(
    picture: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
    around: tuple[int, int, int, int],
) -> tuple[Window, Window]:
    """Returns how a kernel moves over the height and over the width of a picture, padded as `padding` says."""
    left, right, top, bottom = around
    high, wide = zip(picture, kernel, stride, dilation, (top, left), (bottom, right), strict=True)
    return Window(*high), Window(*wide)


@functools.lru_cache(maxsize=1024)
def window_means(window: Window, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Returns R [kernel, size], where R @ x is the mean of x over the positions of each tap of the kernel."""
    size, kernel, stride, dilation, before, after = window
    positions = (size + before + after - dilation * (kernel - 1) - 1) // stride + 1
    taps = torch.arange(kernel).unsqueeze(1)
    seen = taps * dilation + torch.arange(positions) * stride - before
    inside = (seen >= 0) & (seen < size)
    means = torch.zeros(kernel, size, dtype=torch.float64)
    means[taps.expand_as(seen)[inside], seen[inside]] = 1 / positions
    return means.to(device, dtype)


@functools.lru_cache(maxsize=256)
def _patch_means(height: Window, width: Window, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Returns T [height * width, kernel height * kernel width], where x.view(1, -1) @ T is the mean patch of x."""
    rows, columns = (window_means(window, torch.float64, torch.device("cpu")) for window in (height, width))
    return torch.kron(rows, columns).T.contiguous().to(device, dtype)


def at_least_fp32(values: torch.Tensor) -> torch.Tensor:
    """Returns values without their graph, in fp32 where they are narrower."""
    if values.requires_grad:
        values = values.detach()
    return values.float() if values.dtype.itemsize < torch.float32.itemsize else values

"""Kronecker vectors of layers: what Eva keeps of a layer's inputs and of its outputs' gradients.

Source: Zhang et al., "Eva: Practical Second-order Optimization with Kronecker-vectorized Approximation" (ICLR 2023,
arXiv 2308.02123), section 3.
"""

from __future__ import annotations

import copy
import functools
import weakref
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.hooks import RemovableHandle

from lowbit.optimizers.ranks import Exchange

LAYERS = (nn.Linear, nn.Conv2d)
# Elements of the table that takes a picture to its mean patch in one product: 1 MiB in fp32, as a second-level cache.
LARGEST_TABLE = 1 << 18


def vector_dtype(dtype: torch.dtype) -> torch.dtype:
    """Returns the dtype of the vectors of a layer that computes in a dtype: never narrower than fp32."""
    return torch.float32 if dtype.itemsize < torch.float32.itemsize else dtype


def input_vector(layer: nn.Linear | nn.Conv2d, inputs: torch.Tensor, samples: int) -> torch.Tensor:
    """Returns the mean input of a layer, one element for each column of its weight as a matrix.

    Linear: inputs [batch, ..., in] give [in]. Conv2d: inputs [batch, channels, height, width] give the mean patch,
    [channels * kernel height * kernel width]. Only the first `samples` of the batch count.
    """
    if isinstance(layer, nn.Linear):
        return _mean_over_rows(inputs, samples)
    mean = _first(inputs, samples).mean(0) if inputs.ndim == 4 and len(inputs) > 1 else inputs
    mean = mean.reshape(mean.shape[-3:])
    left, right, top, bottom = _padding(layer)
    if layer.padding_mode != "zeros":
        mean = F.pad(mean.unsqueeze(0), (left, right, top, bottom), mode=layer.padding_mode).squeeze(0)
        left = right = top = bottom = 0
    channels, high, wide = mean.shape
    (kernel_high, kernel_wide), (stride_high, stride_wide) = layer.kernel_size, layer.stride
    dilation_high, dilation_wide = layer.dilation
    height = Window(high, kernel_high, stride_high, dilation_high, top, bottom)
    width = Window(wide, kernel_wide, stride_wide, dilation_wide, left, right)
    # The mean of an element of the patch over all positions is linear in the picture: the patches themselves, kernel
    # height * kernel width times the picture, need not exist.
    if high * wide * kernel_high * kernel_wide <= LARGEST_TABLE:
        return (mean.reshape(channels, high * wide) @ _patch_means(height, width, mean.dtype, mean.device)).view(-1)
    # It separates over the axes of the picture, for those whose table would be large.
    rows, columns = (_window_means(window, mean.dtype, mean.device) for window in (height, width))
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
    return values if len(values) <= samples else values[:samples]


def _padding(layer: nn.Conv2d) -> tuple[int, int, int, int]:
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


@functools.lru_cache(maxsize=1024)
def _window_means(window: Window, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
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
    rows, columns = (_window_means(window, torch.float64, torch.device("cpu")) for window in (height, width))
    return torch.kron(rows, columns).T.contiguous().to(device, dtype)


class _Sum(NamedTuple):
    """The vectors of one layer added up over several passes."""

    a: torch.Tensor
    g: torch.Tensor
    passes: int


class Capture:
    """Hooks a model's layers and collects their vectors between two steps of an optimizer.

    Vectors are collected where a forward pass with gradients is followed by its backward pass. A layer that runs
    several times between steps (used twice, or gradients accumulated) gives several pairs, whose mean is taken; only
    their sum is kept, however many there are. Only modules whose class is exactly Linear or Conv2d are hooked, as
    published. With an `exchange` the pairs are those of all ranks, sent as soon as no gradient is awaited.
    """

    def __init__(self, layers: Mapping[str, nn.Module], samples: int, exchange: Exchange | None = None) -> None:
        self.layers = dict(layers)
        self.exchange = exchange
        self.samples = samples if exchange is None else exchange.share(samples)
        self.awaited = 0
        self.active = True
        self.sums: dict[str, _Sum] = {}
        # The hooked tensor, not a backward hook of the module: full backward hooks forbid `x += shortcut` behind it.
        self._handles: list[RemovableHandle] = [
            module.register_forward_hook(_Hook(self, name, module), with_kwargs=True)
            for name, module in self.layers.items()
        ]

    def add(self, name: str, a: torch.Tensor, g: torch.Tensor) -> None:
        """Adds one pass of a layer."""
        found = self.sums.get(name)
        self.sums[name] = _Sum(a, g, 1) if found is None else _Sum(found.a + a, found.g + g, found.passes + 1)
        self.awaited -= 1
        if self.exchange is not None:
            self.exchange.drop()
            if self.awaited == 0 and self.exchange.due:
                self.exchange.begin(self._means(), self.layers)

    def take(self) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Returns the mean pair of each layer that gave one, and forgets it.

        What is returned must not be changed: a graph that was retained can bring an `a` again.
        """
        pairs = self._means()
        self.sums, self.awaited = {}, 0
        if self.exchange is not None and self.active:
            pairs = {name: (a, g) for name, (a, g) in self.exchange.finish(pairs, self.layers).items()}
        return pairs

    def drop(self) -> None:
        """Forgets what was collected."""
        self.sums, self.awaited = {}, 0
        if self.exchange is not None:
            self.exchange.drop()

    def _means(self) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        return {name: (a, g) if passes == 1 else (a / passes, g / passes) for name, (a, g, passes) in self.sums.items()}

    def close(self) -> None:
        """Removes the hooks and what they collected."""
        for handle in self._handles:
            handle.remove()
        self._handles, self.sums = [], {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Capture:
        """Hooks the copied layers; nothing collected is copied, as deepcopy drops gradients too."""
        twin = Capture(copy.deepcopy(self.layers, memo), self.samples)
        twin.exchange = copy.deepcopy(self.exchange, memo)
        twin.active = self.active
        if not self._handles:
            twin.close()
        return twin


class _Hook:
    """A forward hook that holds neither the optimizer nor the model, so that both can be freed.

    A copy of the model, by deepcopy or by pickle, carries hooks that do nothing: its layers are not this optimizer's.
    """

    def __init__(self, capture: Capture, name: str, module: nn.Module) -> None:
        self._capture = weakref.ref(capture)
        self._module = weakref.ref(module)
        self._name = name

    def __deepcopy__(self, memo: dict[int, Any]) -> _Inert:
        return _Inert()

    def __reduce__(self) -> tuple[Any, ...]:
        return _Inert, ()

    def __call__(
        self, module: nn.Module, inputs: tuple[torch.Tensor, ...], named: dict[str, torch.Tensor], output: torch.Tensor
    ) -> None:
        """Takes the input's vector and waits for the output's gradient."""
        # The wrapper that keeps a compiler out costs more than the vector of a small layer.
        if torch.compiler.is_compiling():
            self._outside(module, inputs, named, output)
        else:
            self._watch(module, inputs, named, output)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _outside(self, *called: Any) -> None:
        self._watch(*called)

    def _watch(
        self, module: nn.Module, inputs: tuple[torch.Tensor, ...], named: dict[str, torch.Tensor], output: torch.Tensor
    ) -> None:
        capture = self._capture()
        if capture is None or not capture.active or not output.requires_grad or module is not self._module():
            return
        assert isinstance(module, LAYERS)
        if not module.weight.requires_grad:
            return
        given = _at_least_fp32(inputs[0] if inputs else named["input"])
        samples = capture.samples
        if torch.is_autocast_enabled(given.device.type):
            # Averages of half-precision values are taken in fp32, also inside autocast.
            with torch.autocast(given.device.type, enabled=False):
                a = input_vector(module, given, samples)
        else:
            a = input_vector(module, given, samples)
        name, reference = self._name, self._capture
        capture.awaited += 1

        def receive(gradient: torch.Tensor) -> None:
            receiver = reference()
            if receiver is not None and receiver.active:
                receiver.add(name, a, output_vector(module, _at_least_fp32(gradient), samples))

        output.register_hook(receive)


class _Inert:
    """The hook of a copy."""

    def __call__(self, *_: object) -> None:
        """Does nothing."""


def _at_least_fp32(values: torch.Tensor) -> torch.Tensor:
    values = values.detach()
    return values if values.dtype.itemsize >= torch.float32.itemsize else values.float()

"""What hooks collect of a model's layers between two steps of an optimizer."""

from __future__ import annotations

import copy
import functools
import weakref
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from lowbit.optimizers.factors import Factors, worth_keeping
from lowbit.optimizers.kronecker import at_least_fp32, output_vector
from lowbit.optimizers.layer_hook import LayerHook, input_vector
from lowbit.optimizers.native.vectors import Vectors
from lowbit.optimizers.ranks import Exchange
from lowbit.optimizers.small_layers import Pass, vectors, waits


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
    published. With an `exchange` the pairs are those of all ranks, sent as soon as no gradient is awaited. With
    `compiled` those of small layers are taken in C++.
    """

    def __init__(
        self,
        layers: Mapping[str, nn.Module],
        samples: int,
        exchange: Exchange | None = None,
        *,
        compiled: bool = False,
    ) -> None:
        self.layers = dict(layers)
        self.exchange = exchange
        self.samples = samples if exchange is None else exchange.share(samples)
        self.compiled = compiled
        self._vectors = Vectors(self.samples) if compiled else functools.partial(vectors, samples=self.samples)
        self.awaited = 0
        self.active = True
        self.sums: dict[str, _Sum] = {}
        # What the weight gradient of a layer is the product of, and the gradient itself as autograd left it.
        self._factors: dict[str, Factors] = {}
        self._accumulated: dict[str, torch.Tensor] = {}
        self._versions: dict[str, tuple[int, int]] = {}
        self._watched: set[str] = set()
        self._held: list[Pass] = []
        # The hooked tensor, not a backward hook of the module: full backward hooks forbid `x += shortcut` behind it.
        self._handles: list[RemovableHandle] = [
            module.register_forward_hook(LayerHook(self, name, module, _watch), with_kwargs=True)
            for name, module in self.layers.items()
        ]

    def add(self, name: str, a: torch.Tensor, g: torch.Tensor) -> None:
        """Adds one pass of a layer."""
        self._sum(name, a, g)
        self._arrived()

    def hold(self, each: Pass) -> None:
        """Holds one pass of a small layer until no gradient is awaited, to take its vectors with those of others."""
        self._held.append(each)
        self._arrived()

    def _sum(self, name: str, a: torch.Tensor, g: torch.Tensor) -> None:
        found = self.sums.get(name)
        self.sums[name] = _Sum(a, g, 1) if found is None else _Sum(found.a + a, found.g + g, found.passes + 1)

    def _arrived(self) -> None:
        self.awaited -= 1
        if self.exchange is not None:
            self.exchange.drop()
        # Below nothing where gradients were dropped after forward; above it where a pass has no backward.
        if self.awaited <= 0 or len(self._held) >= 2 * len(self.layers):
            self._release()
        if self.awaited == 0 and self.exchange is not None and self.exchange.due:
            self.exchange.begin(self._means(), self.layers)

    def _release(self) -> None:
        """Takes the vectors of what is held: in backward, so that nobody can have written to it since."""
        held, self._held = self._held, []
        if not held:
            return
        for each, (a, g) in zip(held, self._vectors(held), strict=True):
            self._sum(each.name, a, g)

    def keep(self, name: str, factors: Factors) -> None:
        """Keeps the factors of a layer's weight gradient, if this is the first pass since the last step."""
        layer = self.layers[name]
        # What a hook of the weight returns is no product, and a weight that is computed has no gradient of its own.
        plain = layer.weight.is_leaf and not layer.weight._backward_hooks  # noqa: SLF001 - there is no public way
        if plain and name not in self.sums and name not in self._factors and self.exchange is None:
            self._factors[name] = factors
            self._versions[name] = factors.versions
            if name not in self._watched:
                self._watched.add(name)
                self._handles.append(layer.weight.register_post_accumulate_grad_hook(_Accumulated(self, name)))  # type: ignore[operator]  # torch types it as a tensor

    @property
    def factored(self) -> Collection[str]:
        """The layers whose factors are kept."""
        return self._factors.keys()

    def settle(self, name: str, grad: torch.Tensor | None) -> None:
        """Notes a gradient that autograd has just left."""
        if grad is not None and name in self._factors:
            self._accumulated[name] = grad

    def factors(self, name: str, grad: torch.Tensor) -> Factors | None:
        """Returns the factors whose product a gradient still is, or None where that is not sure.

        It is, if it is the tensor of one single backward pass and nothing has been written to it or to them since: not
        another pass, not clipping, not the next batch. What a penalty has added in the same pass nobody can tell from
        outside; who uses the factors compares some rows.
        """
        found = self.sums.get(name)
        # A gradient that autograd made and nobody has written to is at its version 0.
        untouched = grad is self._accumulated.get(name) and grad._version == 0  # noqa: SLF001 - torch's own counter has no other name
        known = self._factors.get(name) if untouched and found is not None and found.passes == 1 else None
        return known if known is None or known.versions == self._versions[name] else None

    def take(self) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Returns the mean pair of each layer that gave one, and forgets it.

        What is returned must not be changed: a graph that was retained can bring an `a` again.
        """
        self._release()
        pairs = self._means()
        self._forget()
        if self.exchange is not None and self.active:
            pairs = {name: (a, g) for name, (a, g) in self.exchange.finish(pairs, self.layers).items()}
        return pairs

    def drop(self) -> None:
        """Forgets what was collected."""
        self._forget()
        if self.exchange is not None:
            self.exchange.drop()

    def _forget(self) -> None:
        self.sums, self.awaited, self._held = {}, 0, []
        self._factors, self._accumulated, self._versions = {}, {}, {}

    def _means(self) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        return {name: (a, g) if passes == 1 else (a / passes, g / passes) for name, (a, g, passes) in self.sums.items()}

    def close(self) -> None:
        """Removes the hooks and what they collected."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._forget()

    def __deepcopy__(self, memo: dict[int, Any]) -> Capture:
        """Hooks the copied layers; nothing collected is copied, as deepcopy drops gradients too."""
        twin = Capture(copy.deepcopy(self.layers, memo), self.samples, compiled=self.compiled)
        twin.exchange = copy.deepcopy(self.exchange, memo)
        twin.active = self.active
        if not self._handles:
            twin.close()
        return twin


def _watch(
    capture: Capture, name: str, module: nn.Linear | nn.Conv2d, given: torch.Tensor, output: torch.Tensor
) -> None:
    """Takes the input's vector and waits for the output's gradient."""
    if not module.weight.requires_grad:
        return
    reference, samples = weakref.ref(capture), capture.samples
    # Only C++ makes use of them, and takes nothing but fp32.
    factored = capture.compiled and output.dtype == given.dtype == torch.float32 and worth_keeping(module, given)
    held = output.dtype == given.dtype and waits(module, given, output)
    a = None if held else input_vector(module, given, samples)
    # Not longer than it is needed: a checkpoint counts on its being gone.
    kept = given if held or factored else None
    capture.awaited += 1

    def receive(gradients: Sequence[torch.Tensor | None]) -> None:
        receiver, gradient = reference(), gradients[0]
        if receiver is None or not receiver.active or gradient is None:
            return
        gradient = at_least_fp32(gradient)
        if factored and kept is not None:
            receiver.keep(name, Factors(_matrix(kept), _matrix(gradient)))
        if a is None and kept is not None:
            receiver.hold(Pass(name, module, kept, gradient))
        elif a is not None:
            receiver.add(name, a, output_vector(module, gradient, samples))

    # It costs half of a hook of the tensor, and this is done for each layer in each step.
    made_by = output.grad_fn
    assert made_by is not None
    made_by.register_prehook(receive)


def _matrix(values: torch.Tensor) -> torch.Tensor:
    return values if values.ndim == 2 else values.reshape(-1, values.shape[-1])


class _Accumulated:
    """A hook on a weight that tells which gradient autograd has left; it does not hold the optimizer."""

    def __init__(self, capture: Capture, name: str) -> None:
        self._capture = weakref.ref(capture)
        self._name = name

    def __call__(self, parameter: torch.Tensor) -> None:
        """Notes the gradient."""
        capture = self._capture()
        if capture is not None:
            capture.settle(self._name, parameter.grad)

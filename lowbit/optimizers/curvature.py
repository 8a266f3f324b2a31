"""What hooks collect of a model's layers between two steps of an optimizer."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from lowbit.optimizers import small_layers
from lowbit.optimizers.bias_gradients import BiasGradients
from lowbit.optimizers.factors import Factors, version, worth_keeping
from lowbit.optimizers.known_gradients import LARGE, KnownGradients
from lowbit.optimizers.kronecker import at_least_fp32, input_vector, output_vector
from lowbit.optimizers.layer_hook import LayerHook
from lowbit.optimizers.native import vectors as native
from lowbit.optimizers.native.precondition import Rows
from lowbit.optimizers.passes import Passed
from lowbit.optimizers.ranks import Exchange
from lowbit.optimizers.small_layers import Layer

# What packs tensors that are saved for backward, None if nobody does.
_PACKED = torch._C._autograd._top_saved_tensors_default_hooks  # noqa: SLF001 - there is no public way

# Where all weights are smaller, so many elements of gradients are held all the same: fewer cost more calls.
HELD = 1 << 16


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
    `compiled` those of small layers are taken in C++. With `bias_gradients` gradients of biases serve where they
    can, on one rank.
    """

    def __init__(
        self,
        layers: Mapping[str, nn.Module],
        samples: int,
        exchange: Exchange | None = None,
        *,
        compiled: bool = False,
        bias_gradients: bool = False,
    ) -> None:
        self.layers = dict(layers)
        self.exchange = exchange
        self.samples = samples if exchange is None else exchange.share(samples)
        self.compiled = compiled
        # What takes the vectors of many layers at once, and the elements up to which a layer is one of them.
        self._vectors: Callable[..., list[torch.Tensor]] = functools.partial(small_layers.vectors, samples=self.samples)
        self.largest = small_layers.LARGEST
        if compiled:
            self._vectors, self.largest = native.Vectors(self.samples), native.LARGEST
        # Elements of gradients that are held at a time: memory that a step needs beside SGD's.
        self._most = max([HELD, *(p.numel() for m in layers.values() for p in m.parameters())])
        self.awaited = 0
        self.active = True
        self.sums: dict[str, _Sum] = {}
        # Gradients are not all here where ranks average them.
        self.foresees = compiled and exchange is None
        self.sums_rows = False
        self.gradients = KnownGradients(self.layers)
        self.biases = BiasGradients(self.samples) if bias_gradients and exchange is None else None
        # Passes whose inputs wait for backward, which keeps them, and such whose gradients are taken together.
        self._waiting: list[weakref.ref[Passed]] = []
        self._enough = 2 * len(self.layers)
        self._held: list[tuple[Passed, torch.Tensor]] = []
        self._held_elements = 0
        # The hooked tensor, not a backward hook of the module: full backward hooks forbid `x += shortcut` behind it.
        self._handles: list[RemovableHandle] = [
            module.register_forward_hook(LayerHook(self, name, module, _watch), with_kwargs=True)
            for name, module in self.layers.items()
        ]

    def wait(self, passed: Passed) -> None:
        """Leaves a pass's inputs where autograd has them until backward begins, to take them with those of others."""
        if len(self._waiting) >= self._enough:
            # Without the passes that nothing was computed back from.
            self._waiting = [each for each in self._waiting if each() is not None]
            self._enough = 2 * max(len(self.layers), len(self._waiting))
        self._waiting.append(weakref.ref(passed))

    def receive(self, passed: Passed, gradient: torch.Tensor) -> None:
        """Takes the gradient of a pass's output."""
        if passed.a is None:
            self._take_inputs(passed)
        assert passed.a is not None
        if passed.factored and passed.inputs is not None:
            self.gradients.comes(passed.name, Factors(_matrix(passed.inputs), _matrix(gradient)))
            passed.inputs = None
        elif passed.summed and self.sums_rows:
            self.gradients.comes(passed.name, passed.a)
        if passed.elements:
            self._held.append((passed, gradient))
            self._held_elements += passed.elements
        else:
            g = output_vector(passed.layer, at_least_fp32(gradient), self.samples)
            self._sum(passed.name, passed.a, g)
        self.awaited -= 1
        if self.exchange is not None:
            self.exchange.drop()
        # Below nothing where gradients were dropped after forward; above it where a pass has no backward.
        if self.awaited <= 0 or self._held_elements >= self._most or len(self._held) >= 2 * len(self.layers):
            self._release()
        if self.awaited == 0 and self.exchange is not None and self.exchange.due:
            self.exchange.begin(self._means(), self.layers)

    def _take_inputs(self, passed: Passed) -> None:
        """Takes the mean inputs of all passes that wait: all are still there when the first gradient is."""
        waiting = [found for each in self._waiting if (found := each()) is not None and found.a is None]
        self._waiting = []
        if passed not in waiting:
            waiting.append(passed)
        seen = [each.inputs for each in waiting if each.inputs is not None]
        for each, a in zip(waiting, self._vectors([each.layer for each in waiting], seen, inputs=True), strict=True):
            each.a = a
            if not each.factored:
                each.inputs = None

    def _release(self) -> None:
        """Takes the vectors of gradients that are held: in backward, so that nobody can have written to them since."""
        held, self._held, self._held_elements = self._held, [], 0
        if not held:
            return
        found = self._vectors([each.layer for each, _ in held], [at_least_fp32(g) for _, g in held], inputs=False)
        for (each, _), g in zip(held, found, strict=True):
            assert each.a is not None
            self._sum(each.name, each.a, g)

    def _complete(self) -> None:
        """Takes whatever is still to be taken of this step."""
        self._release()
        if self.biases is not None:
            self.settle(self.biases.passes())
            for name in self.biases.lost:
                self.sums.pop(name, None)

    def settle(self, passes: Sequence[Passed]) -> None:
        """Takes the vectors of passes whose biases have their gradients."""
        if not passes:
            return
        assert self.biases is not None
        # No hook may have begun backward; what holds the inputs now is not autograd, which would watch over them.
        changed = {each.name for each in passes if each.a is None and version(each.inputs) != each.version}
        for each, g in zip(passes, self.biases.vectors(passes), strict=True):
            if each.name in changed:
                self.biases.lose(each.name)
                continue
            if each.a is None:
                self._take_inputs(each)
            assert each.a is not None
            if g is not None:
                self._sum(each.name, each.a, g)

    def _sum(self, name: str, a: torch.Tensor, g: torch.Tensor) -> None:
        found = self.sums.get(name)
        self.sums[name] = _Sum(a, g, 1) if found is None else _Sum(found.a + a, found.g + g, found.passes + 1)

    def known(self) -> dict[str, Factors | Rows]:
        """Returns what is known of the weight gradients of layers that had one pass."""
        self._complete()
        once = (name for name in self.gradients.names if name in self.sums and self.sums[name].passes == 1)
        found = {name: self.gradients.of(name) for name in once}
        return {name: known for name, known in found.items() if known is not None}

    def seen(self) -> set[str]:
        """Returns the layers of which `take` would return something."""
        self._complete()
        return set(self.sums)

    def take(self) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Returns the mean pair of each layer that gave one, and forgets it.

        What is returned must not be changed: a graph that was retained can bring an `a` again.
        """
        self._complete()
        pairs = self._means()
        self._forget()
        if self.biases is not None:
            self.biases.end()
        if self.exchange is not None and self.active:
            pairs = {name: (a, g) for name, (a, g) in self.exchange.finish(pairs, self.layers).items()}
        return pairs

    def drop(self) -> None:
        """Forgets what was collected."""
        self._forget()
        if self.biases is not None:
            self.biases.drop()
        if self.exchange is not None:
            self.exchange.drop()

    def _forget(self) -> None:
        self.sums, self.awaited, self._held, self._held_elements = {}, 0, [], 0
        self.gradients.forget()

    def _means(self) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        return {name: (a, g) if passes == 1 else (a / passes, g / passes) for name, (a, g, passes) in self.sums.items()}

    def close(self) -> None:
        """Removes the hooks and what they collected."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self.gradients.close()
        self.drop()
        self.biases = None


def _watch(capture: Capture, name: str, module: Layer, given: torch.Tensor, output: torch.Tensor) -> None:
    """Takes the input's vector, now or later, and waits for the output's gradient."""
    # Past the module's own look-up, which goes through Python; a weight that is computed is no parameter of it.
    weight = module._parameters.get("weight")  # noqa: SLF001 - as state_dict and named_parameters read it
    if weight is not None and not weight.requires_grad:
        return
    biases = capture.biases
    if biases is not None:
        # Before this pass adds to the same gradients.
        capture.settle(biases.passes(name))
    if given.numel() == 0:
        # It has no mean.
        return
    passed = Passed(capture, name, module, output)
    # Autograd keeps these inputs too, and nobody writes to them, unless somebody packs them away, as a checkpoint does:
    # it counts on their being gone. Of more dimensions a linear layer keeps what it has laid out anew.
    kept = output.dtype is given.dtype and _PACKED(True) is None
    kept = kept and (given.ndim <= 2 or given.is_contiguous() or isinstance(module, nn.Conv2d))
    # Only C++ makes use of what is known of gradients, and takes nothing but fp32.
    if capture.foresees and given.dtype is output.dtype is torch.float32:
        passed.factored = kept and worth_keeping(module, given)
        passed.summed = weight is not None and weight.numel() >= LARGE
        if passed.factored or passed.summed:
            capture.gradients.outdated(name)
    waits = kept and given.numel() <= capture.largest and small_layers.batched(module, given)
    if waits or passed.factored:
        passed.inputs = given
    if waits:
        capture.wait(passed)
    else:
        passed.a = input_vector(module, given, capture.samples)
    if biases is not None and biases.takes(passed, given, output):
        return
    capture.awaited += 1
    # It costs half of a hook of the tensor, and this is done for each layer in each step.
    made_by = output.grad_fn
    assert made_by is not None
    made_by.register_prehook(passed)


def _matrix(values: torch.Tensor) -> torch.Tensor:
    return values if values.ndim == 2 else values.reshape(-1, values.shape[-1])

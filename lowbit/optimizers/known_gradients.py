"""What is known of weight gradients before a step reads them: their factors, or sums of their rows.

Both are for C++, which checks of either some rows. The sums are taken where autograd has just left the gradient: there
it is still in a cache, and a step that finds them need not take it from memory twice.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from lowbit.optimizers.factors import Factors
from lowbit.optimizers.native.precondition import Rows, rows_of

# Elements of a weight above which its gradient has left the caches before the step.
LARGE = 1 << 17


class _Left(NamedTuple):
    """A gradient as autograd left it, and what is known of it."""

    grad: torch.Tensor
    known: Factors | Rows
    # Of factors, how often each had been written to.
    versions: tuple[int, int] | None


class KnownGradients:
    """Collects what is known of the weight gradients of layers between two steps."""

    def __init__(self, layers: Mapping[str, nn.Module]) -> None:
        self._layers = layers
        # Returns the mean input that a step will use of a layer if this is that of the only pass, None where nobody
        # knows: a method of the optimizer, which must not be held.
        self.expected: weakref.WeakMethod[Callable[[str, torch.Tensor], torch.Tensor | None]] | None = None
        # Of passes whose weight gradient is to come: factors and how often they had been written to, or the mean input.
        self._coming: dict[str, tuple[Factors, tuple[int, int]] | torch.Tensor] = {}
        self._left: dict[str, _Left] = {}
        self._handles: dict[str, RemovableHandle] = {}

    def comes(self, name: str, of: Factors | torch.Tensor) -> None:
        """Announces the weight gradient of a layer's first pass: by its factors, or by the pass's mean input."""
        weight = self._weight(name)
        # What a hook of the weight returns is no product, and a weight that is computed has no gradient of its own.
        if not weight.is_leaf or weight._backward_hooks:  # noqa: SLF001 - there is no public way
            return
        self._coming[name] = (of, of.versions) if isinstance(of, Factors) else of
        if name not in self._handles:
            self._handles[name] = weight.register_post_accumulate_grad_hook(_Accumulated(self, name))

    def _weight(self, name: str) -> torch.Tensor:
        weight = self._layers[name].weight
        assert isinstance(weight, torch.Tensor)
        return weight

    def outdated(self, name: str) -> None:
        """Drops a gradient that its weight has no more: who gives it up may not have told the optimizer."""
        left = self._left.get(name)
        if left is not None and self._weight(name).grad is not left.grad:
            del self._left[name]

    def settle(self, name: str, grad: torch.Tensor | None) -> None:
        """Takes a gradient that autograd has just left."""
        of = self._coming.pop(name, None)
        if of is None or grad is None or grad._version != 0:  # noqa: SLF001 - torch's own counter has no other name
            return
        if isinstance(of, tuple):
            self._left[name] = _Left(grad, *of)
            return
        expected = None if self.expected is None else self.expected()
        a = None if expected is None else expected(name, of)
        found = None if a is None else rows_of(grad, a, len(grad))
        if found is not None:
            self._left[name] = _Left(grad, found, None)

    @property
    def names(self) -> list[str]:
        """The layers of whose weight gradients something is known."""
        return list(self._left)

    def of(self, name: str) -> Factors | Rows | None:
        """Returns what is known of the gradient that a layer's weight has, or None where that is not sure.

        It is, if it is the tensor of one single backward pass and if version counters say that nothing has been written
        to it since, nor to its factors: not another pass, not clipping, not the next batch. What a penalty has added in
        the same pass they do not tell, nor what is written through `.data`; who uses what is known compares some rows.
        """
        grad, known, versions = self._left[name]
        # A gradient that autograd made and nobody has written to is at its version 0.
        if self._weight(name).grad is not grad or grad._version != 0:  # noqa: SLF001 - torch's own counter has no other name
            return None
        return None if isinstance(known, Factors) and known.versions != versions else known

    def forget(self) -> None:
        """Forgets all gradients."""
        self._coming, self._left = {}, {}

    def close(self) -> None:
        """Removes the hooks."""
        for handle in self._handles.values():
            handle.remove()
        self._handles = {}
        self.forget()


class _Accumulated:
    """A hook on a weight that tells which gradient autograd has left; it does not hold the optimizer."""

    def __init__(self, known: KnownGradients, name: str) -> None:
        self._known = weakref.ref(known)
        self._name = name

    def __call__(self, parameter: torch.Tensor) -> None:
        """Notes the gradient."""
        known = self._known()
        if known is not None:
            known.settle(self._name, parameter.grad)

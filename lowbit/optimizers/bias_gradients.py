"""Mean output gradients from gradients of biases, which are their sums: no hook in backward is needed for them.

That holds for one pass of a layer whose whole batch counts, and if the loss has no term of the bias itself: autograd
adds a penalty's gradient in the same pass, and nothing tells the two apart. So it is done only for who says so. What
can be seen is seen: layers that run twice, gradients that were there before or were changed since, hooks of the bias.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lowbit.optimizers import small_layers
from lowbit.optimizers.kronecker import at_least_fp32
from lowbit.optimizers.passes import Passed


class BiasGradients:
    """Keeps passes whose bias is to have the gradient that is asked for, between two steps.

    Until the first step nothing is known of a model, and all layers have hooks. The layer that was the last in forward
    keeps its hook, with which backward begins. A layer whose bias once had another gradient has hooks from then on, and
    keeps its averages as they are in that step.
    """

    def __init__(self, samples: int) -> None:
        self._samples = samples
        # Passes without a hook, and how many positions of each its bias's gradient is the sum of.
        self._awaited: dict[str, tuple[Passed, int]] = {}
        self._fit: set[str] = set()
        # How often each layer has run, the last one last, until the first step; None afterwards.
        self._ran: dict[str, int] | None = {}
        # Layers of which this step can say nothing.
        self.lost: set[str] = set()

    def takes(self, passed: Passed, given: torch.Tensor, output: torch.Tensor) -> bool:
        """Says whether a pass, which may not have a gradient yet, needs no hook of its output, and keeps it then."""
        name, layer = passed.name, passed.layer
        bias = layer._parameters.get("bias")  # noqa: SLF001 - as state_dict and named_parameters read it
        if self._ran is not None:
            # A pass with a gradient already there is of another backward, which is told apart.
            if layer.weight.grad is None:
                self._ran[name] = self._ran.pop(name, 0) + 1
            return False
        if name in self._awaited:
            # The gradient will be that of both passes, of which the first has no hook.
            del self._awaited[name]
            self._lose(name)
            return False
        whole = not small_layers.batched(layer, given) or len(given) <= self._samples
        if name not in self._fit or passed.factored or passed.summed or not whole:
            return False
        if bias is None or bias.dtype != output.dtype or not _untouched(bias):
            return False
        self._awaited[name] = passed, output.numel() // bias.numel()
        return True

    def passes(self, name: str | None = None) -> list[Passed]:
        """Returns the passes whose gradient is there, of one layer or of all."""
        names = list(self._awaited) if name is None else [name] * (name in self._awaited)
        found = [self._awaited[each][0] for each in names]
        return [each for each in found if each.layer.bias is not None and each.layer.bias.grad is not None]

    def vectors(self, passes: Sequence[Passed]) -> list[torch.Tensor | None]:
        """Returns the mean output gradients of passes, None of those whose bias has been given another gradient."""
        found: dict[str, torch.Tensor] = {}
        for each in passes:
            bias = each.layer.bias
            grad = None if bias is None else bias.grad
            # A gradient that autograd made and nobody has written to is at its version 0.
            if grad is None or grad._version != 0 or grad.layout is not torch.strided:  # noqa: SLF001 - no public way
                self._lose(each.name)
            else:
                found[each.name] = grad
        positions = [float(self._awaited[name][1]) for name in found]
        grads = [at_least_fp32(grad) for grad in found.values()]
        means = torch._foreach_div(grads, positions) if found else []  # noqa: SLF001 - torch's own optimizers use it
        by_name = dict(zip(found, means, strict=True))
        for each in passes:
            del self._awaited[each.name]
        return [by_name.get(each.name) for each in passes]

    def end(self) -> None:
        """Ends a step: what was awaited is so no more, and the first one tells which layers may go without hooks."""
        if self._ran:
            leader = next(reversed(self._ran))
            self._fit = {name for name, times in self._ran.items() if times == 1 and name != leader}
            self._ran = None
        self._awaited, self.lost = {}, set()

    def drop(self) -> None:
        """Forgets what was awaited; steps that learn begin anew."""
        self._awaited, self.lost = {}, set()
        if self._ran is not None:
            self._ran = {}

    def _lose(self, name: str) -> None:
        self._fit.discard(name)
        self.lost.add(name)


def _untouched(bias: torch.Tensor) -> bool:
    """Says whether what backward will leave in a bias is its gradient and nothing else, as far as can be seen now."""
    hooked = bias._backward_hooks or bias._post_accumulate_grad_hooks  # noqa: SLF001 - there is no public way
    return bias.is_leaf and bias.requires_grad and bias.grad is None and not hooked

"""Mean output gradients from gradients of biases, which are their sums: no hook in backward is needed for them.

That holds for one pass of a layer whose whole batch counts, if the loss has no term of the bias itself (autograd adds
a penalty's gradient in the same pass, and nothing tells the two apart), if nothing but the module's call uses the bias,
and if its gradient is read as backward left it. So it is done only for who says so. What can be seen is seen: layers
that run twice, gradients that were there before, or changed in a way that version counters tell, hooks of the bias. On
accelerators clipping is not: it writes to many gradients at once, which their counters are not told.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lowbit.optimizers import small_layers
from lowbit.optimizers.factors import version
from lowbit.optimizers.kronecker import at_least_fp32
from lowbit.optimizers.passes import Passed


class BiasGradients:
    """Keeps passes whose bias is to have the gradient that is asked for, between two steps.

    A layer goes without a hook if it ran once in the step before and was not the last in forward: with the hook of that
    one backward begins. A layer whose bias turns out to have another gradient keeps its averages as they are in that
    step, and has hooks from then on.
    """

    def __init__(self, samples: int) -> None:
        self._samples = samples
        # Passes without a hook, and how many positions of each its bias's gradient is the sum of.
        self._awaited: dict[str, tuple[Passed, int]] = {}
        # How often each layer has run in this step, the last one last, and which may go without hooks.
        self._ran: dict[str, int] = {}
        self._fit: set[str] = set()
        # Layers of which this step can say nothing, and those that have hooks for good.
        self.lost: set[str] = set()
        self._hooked: set[str] = set()

    def takes(self, passed: Passed, given: torch.Tensor, output: torch.Tensor) -> bool:
        """Says whether a pass needs no hook of its output, and keeps it then; earlier ones of its layer are settled."""
        name, layer = passed.name, passed.layer
        own = layer._parameters  # noqa: SLF001 - as state_dict reads them
        weight, bias = own.get("weight"), own.get("bias")
        # A pass with a gradient already there is of another backward, which is told apart.
        if weight is None or weight.grad is None:
            self._ran[name] = self._ran.pop(name, 0) + 1
        if name in self._awaited:
            # The gradient will be that of both passes, of which the first has no hook.
            del self._awaited[name]
            self.lose(name)
            return False
        if not output.is_cpu:
            return False
        whole = not small_layers.batched(layer, given) or len(given) <= self._samples
        if name not in self._fit or passed.factored or passed.summed or not whole:
            return False
        if bias is None or bias.dtype != output.dtype or bias.grad is not None or not _its_own(bias):
            return False
        passed.version = version(passed.inputs)
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
            assert bias is not None
            assert bias.grad is not None
            if _its_own(bias) and _as_left(bias.grad):
                found[each.name] = bias.grad
            else:
                self.lose(each.name)
        positions = [float(self._awaited[name][1]) for name in found]
        grads = [at_least_fp32(grad) for grad in found.values()]
        means = torch._foreach_div(grads, positions) if found else []  # noqa: SLF001 - torch's own optimizers use it
        by_name = dict(zip(found, means, strict=True))
        for each in passes:
            del self._awaited[each.name]
        return [by_name.get(each.name) for each in passes]

    def end(self) -> None:
        """Ends a step, which tells which layers may go without hooks in the next."""
        for name, (passed, _) in self._awaited.items():
            weight = passed.layer._parameters.get("weight")  # noqa: SLF001 - as above
            if weight is not None and weight.grad is not None:
                # Backward was asked for gradients of weights alone.
                self._hooked.add(name)
        leader = next(reversed(self._ran), None)
        once = {name for name, times in self._ran.items() if times == 1 and name != leader}
        self._fit = once - self._hooked
        self._awaited, self._ran, self.lost = {}, {}, set()

    def drop(self) -> None:
        """Forgets passes whose gradients are given up; those of others may be to come."""
        for passed in self.passes():
            del self._awaited[passed.name]

    def lose(self, name: str) -> None:
        """Gives up a layer in this step, and has it hooked in those that follow."""
        self._fit.discard(name)
        self._hooked.add(name)
        self.lost.add(name)


def _its_own(bias: torch.Tensor) -> bool:
    """Says whether what backward leaves in a bias is its gradient and nothing else, as far as can be seen."""
    hooked = bias._backward_hooks or bias._post_accumulate_grad_hooks  # noqa: SLF001 - there is no public way
    return bias.is_leaf and bias.requires_grad and not hooked


def _as_left(grad: torch.Tensor) -> bool:
    """Says whether a gradient is that of one backward pass: autograd made it, and nobody has written to it since."""
    return grad._version == 0 and grad.layout is torch.strided and not grad.requires_grad  # noqa: SLF001 - as above

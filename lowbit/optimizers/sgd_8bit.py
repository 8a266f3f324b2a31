"""SGD with its momentum kept in 8 bits between steps.

Source of the scheme: Dettmers et al., "8-bit Optimizers via Block-wise Quantization" (arXiv 2110.02861), section 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch
from torch.optim import sgd

from lowbit.optimizers import momentum_8bit
from lowbit.optimizers.descent import fused_is_right
from lowbit.optimizers.hyperparameters import Rates, rates_of, require
from lowbit.optimizers.mixed_state import MixedStateOptimizer
from lowbit.optimizers.native import descent as native
from lowbit.optimizers.native.choice import MayCompile


class SGD8bit(MayCompile, MixedStateOptimizer):
    """torch.optim.SGD whose momentum is stored as block-wise 8-bit codes with fp32 scales.

    A step decodes momentum, updates as torch does, and encodes it again. Momentum of tensors below 4,096 elements
    stays as it is. The momentum of fp64 parameters is encoded from fp32 as well.

    Args:
        params: parameters or groups, as torch's.
        lr: learning rate, read from the parameter group at each step.
        momentum: factor of the momentum buffer, in (0, 1): without momentum there is nothing to keep.
        weight_decay: added to the gradient, as in torch.optim.SGD.
        compiled: fp32 parameters on the CPU are updated by C++ of this package; see Eva.

    Raises ValueError for an argument outside its range, RuntimeError for a sparse gradient.
    """

    STATE_KEYS: ClassVar[frozenset[str]] = momentum_8bit.KEYS

    def __init__(
        self,
        params: Iterable[torch.Tensor] | Iterable[dict[str, Any]],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        *,
        compiled: bool | None = None,
    ) -> None:
        require(lr=lr, weight_decay=weight_decay)
        if not 0 < momentum < 1:
            raise ValueError(f"momentum={momentum!r}: must be in (0, 1); without momentum take torch.optim.SGD")
        self.choose(compiled=compiled)
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Loads a state; see MixedStateOptimizer. Raises ValueError for codes of an earlier version."""
        momentum_8bit.check(state_dict)
        super().load_state_dict(state_dict)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Updates every parameter that has a gradient; a closure is evaluated first and its loss returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for number, group in enumerate(self.param_groups):
            found = [p for p in group["params"] if p.grad is not None]
            pieces = [momentum_8bit.Piece(p, p.grad, self.state[p]) for p in found]
            compiled = self.descent(number)
            if compiled is not None and native.takes(rates_of(group), None):
                pieces = momentum_8bit.compiled_first(pieces, compiled, None, rates_of(group))
            for portion in momentum_8bit.portions(pieces):
                states, parameters = [piece.state for piece in portion], [piece.parameter for piece in portion]
                work = momentum_8bit.load(states, parameters)
                descend(parameters, [piece.grad for piece in portion], work.buffers, rates_of(group))
                momentum_8bit.store(states, work)
                # Before the next portion is in full precision too.
                del work
        return loss


def descend(
    parameters: list[torch.Tensor],
    grads: list[torch.Tensor],
    buffers: list[torch.Tensor],
    rates: Rates,
) -> None:
    """Updates momentum buffers and parameters in place by torch's SGD, in one pass over memory where it can.

    Buffers lie contiguously; torch's fused kernel takes three tensors of one layout, which it does not check.
    """
    if any(grad.is_sparse for grad in grads):
        raise RuntimeError("SGD8bit takes no sparse gradients; take torch.optim.SGD for such a parameter")
    lie_alike = all(p.is_contiguous() and grad.is_contiguous() for p, grad in zip(parameters, grads, strict=True))
    fused = lie_alike and all(map(fused_is_right, parameters))
    sgd.sgd(
        parameters, grads, [*buffers], fused=fused, foreach=not fused,
        **rates._asdict(), dampening=0.0, nesterov=False, maximize=False,
    )  # fmt: skip

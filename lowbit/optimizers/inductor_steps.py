"""Steps of Eva's layers by torch.compile: one function for all of them, compiled when it is first needed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import torch

from lowbit.optimizers.eva_layers import Layer
from lowbit.optimizers.factors import Factors
from lowbit.optimizers.hyperparameters import group_numbers, rates_of
from lowbit.optimizers.native.descent import Momentum
from lowbit.optimizers.native.library import CannotCompile
from lowbit.optimizers.native.precondition import Rows
from lowbit.optimizers.whole_update import LayerTensors, Moved, update_

# Sets of layers that one process may compile for: torch's own limit is 8, which a table of rows would soon reach.
MOST = 256
# Torch's name for the whole of it.
_METRIC = "_compile.compile_inner"
# How long compiling took for each set of layers: optimizers of one process share compiled code.
_took: dict[Hashable, float] = {}
# For which there was no room any more.
_refused: set[Hashable] = set()


class InductorSteps:
    """Preconditions layers and descends along them in compiled code; called as LayerSteps is."""

    def __init__(self) -> None:
        # What was compiled for.
        self._used: set[Hashable] = set()
        self._gave_up = False

    @property
    def seconds(self) -> float:
        """How long it took to compile what was needed so far."""
        return sum(_took[of] for of in self._used)

    @property
    def remarks(self) -> dict[str, str]:
        """What stands below rows of such steps, by a word for it."""
        if self._used and not self._gave_up:
            return {
                "torch-compile": f"torch.compile took {self.seconds:.0f} s to make the step; counters are without it"
            }
        why = f"more than {MOST} sets of layers" if self._gave_up else "a scaler, half precision, or no layers"
        return {"not-compiled": f"the step is made of torch's operations, as torch.compile is not for {why}"}

    def __call__(
        self,
        layers: list[Layer],
        grads: Mapping[int, torch.Tensor],
        a: list[torch.Tensor],
        g: list[torch.Tensor],
        *,
        known: Mapping[str, Factors | Rows],  # noqa: ARG002 - as LayerSteps is called
        momenta: Callable[[list[torch.Tensor]], list[Momentum]],
        param_groups: Sequence[dict[str, Any]],
        damping: float,
        kl_clip: float | None,
    ) -> frozenset[int]:
        """Updates the layers' parameters and momentum, and returns the `id` of each, or of none where it cannot.

        Raises CannotCompile where torch.compile has no compiler to call.
        """
        # Whoever looks at each operation would have torch leave the function uncompiled for good.
        if torch._C._len_torch_dispatch_stack():  # noqa: SLF001 - the public one makes a list of all modes
            return frozenset()
        biases = [x.bias if x.bias is not None and id(x.bias) in grads else None for x in layers]
        parameters = [x.weight for x in layers] + [bias for bias in biases if bias is not None]
        own = [grads[id(p)] for p in parameters]
        every = [*parameters, *own, *a, *g]
        if len({(x.dtype, x.device, x.layout) for x in every}) > 1 or own[0].layout is not torch.strided:
            return frozenset()
        rates = [[_tensor(rate, own[0].dtype) for rate in rates_of(group)] for group in param_groups]
        keeps = [bool(group["momentum"]) for group in param_groups]
        numbers = group_numbers(parameters, param_groups)
        moved: dict[int, Moved] = {}
        for p, grad, kept, number in zip(parameters, own, momenta(parameters), numbers, strict=True):
            (buffer,) = kept  # type: ignore[misc]  # Eva8bit asks for this with momentum in full precision only
            lr, momentum, weight_decay = rates[number]
            moved[id(p)] = Moved(p.detach(), grad, buffer, lr, momentum, weight_decay, keeps[number])
        tensors = [
            LayerTensors(moved[id(x.weight)], None if bias is None else moved[id(bias)], row, column, x.groups)
            for x, bias, row, column in zip(layers, biases, a, g, strict=True)
        ]
        # What code is compiled for, or nearly: of the rest torch itself is aware.
        of = (
            damping, kl_clip, own[0].dtype, own[0].device, *keeps, *numbers, *(x.groups for x in layers),
            *(x.shape for x in every),
        )  # fmt: skip
        self._gave_up = not _stepped(of, tensors, damping, kl_clip)
        if self._gave_up:
            return frozenset()
        self._used.add(of)
        return frozenset(moved)


@functools.cache
def _compiled() -> Callable[..., None]:
    return torch.compile(update_, dynamic=False, fullgraph=True)


def _stepped(of: Hashable, *given: Any) -> bool:
    """Takes a step and notes what compiling for it took, as torch says; returns whether there was room for it."""
    if of in _took:
        try:
            _compiled()(*given)
        except Exception as error:
            # The limit is torch's own here, for what differs in more than the shapes.
            if not _is_limit(error):
                raise
        else:
            return True
    if of in _refused:
        return False
    seconds = _first(*given)
    if seconds is None:
        _refused.add(of)
        return False
    _took[of] = _took.get(of, 0.0) + seconds
    return True


def _first(*given: Any) -> float | None:
    """Takes a step for which code may have to be compiled; returns the seconds that took, None beyond the limit."""
    from torch._dynamo import config
    from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException
    from torch._dynamo.utils import compilation_time_metrics

    if config.disable:
        raise CannotCompile('compiled="inductor", but TORCH_COMPILE_DISABLE is set; unset it, or leave compiled away')
    before = sum(compilation_time_metrics.get(_METRIC, ()))
    try:
        with config.patch(recompile_limit=MOST):
            _compiled()(*given)
    except FailOnRecompileLimitHit:
        return None
    except TorchDynamoException as error:
        raise CannotCompile(
            f'compiled="inductor": torch.compile failed: {str(error).splitlines()[0]}; leave compiled away'
        ) from error
    return sum(compilation_time_metrics.get(_METRIC, ())) - before


def _is_limit(error: Exception) -> bool:
    from torch._dynamo.exc import FailOnRecompileLimitHit

    return isinstance(error, FailOnRecompileLimitHit)


def _tensor(rate: float | torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Returns a rate as a tensor of no dimensions, which a schedule may change without compiling anew."""
    return rate.view(()) if isinstance(rate, torch.Tensor) else torch.tensor(rate, dtype=dtype)

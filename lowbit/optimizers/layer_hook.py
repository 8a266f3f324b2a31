"""The forward hook of a layer, with which both kinds of statistics begin."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import nn

from lowbit.optimizers import kronecker

# The innermost transformation of torch.func, None outside of all.
_TRANSFORMED = torch._C._functorch.peek_interpreter_stack  # noqa: SLF001 - there is no public way


class Capturing(Protocol):
    """What collects the vectors of layers."""

    active: bool


C = TypeVar("C", bound=Capturing)
Watch = Callable[[C, str, nn.Linear | nn.Conv2d, torch.Tensor, torch.Tensor], None]


class LayerHook(Generic[C]):
    """A forward hook that holds neither the optimizer nor the model, so that both can be freed.

    Each pass of the layer with gradients, while the capture is active, is given to `watch`: the capture, the layer's
    name, the layer, its input (at least fp32, without a graph), and its output. A copy of the model, by deepcopy or by
    pickle, carries hooks that do nothing: its layers are not this optimizer's.
    """

    def __init__(self, capture: C, name: str, module: nn.Module, watch: Watch[C]) -> None:
        self._capture = weakref.ref(capture)
        self._module = weakref.ref(module)
        self._name = name
        self._watch = watch

    def __reduce__(self) -> tuple[Any, ...]:
        return _Inert, ()

    def __call__(
        self, module: nn.Module, inputs: tuple[torch.Tensor, ...], named: dict[str, torch.Tensor], output: torch.Tensor
    ) -> None:
        """Gives a pass of the layer on."""
        # The wrapper that keeps a compiler out costs more than the vector of a small layer.
        if torch.compiler.is_compiling():
            self._outside(module, inputs, named, output)
        else:
            self._passed(module, inputs, named, output)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _outside(self, *called: Any) -> None:
        self._passed(*called)

    def _passed(
        self, module: nn.Module, inputs: tuple[torch.Tensor, ...], named: dict[str, torch.Tensor], output: torch.Tensor
    ) -> None:
        capture = self._capture()
        if capture is None or not capture.active or not output.requires_grad or module is not self._module():
            return
        if _TRANSFORMED() is not None:
            # What torch.func differentiates gives no parameter a gradient, and its tensors have no memory of their own.
            return
        assert isinstance(module, kronecker.LAYERS)
        given = kronecker.at_least_fp32(inputs[0] if inputs else named["input"])
        self._watch(capture, self._name, module, given, output)


class _Inert:
    """The hook of a copy."""

    def __call__(self, *_: object) -> None:
        """Does nothing."""

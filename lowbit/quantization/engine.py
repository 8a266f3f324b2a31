"""Engines: whose kernels compute quantized convolutions and linear layers.

torch has one global engine, `torch.backends.quantized.engine`, and looks at it in two places. Where weights are
packed, by `convert`, by a copy or by loading a state, it decides whose kernel the layer has from then on; what is
global later makes no difference to it. And where other operations run (addition, pooling), `qnnpack` has them computed
by QNNPACK, which rounds otherwise (by one step at most on MobileNetV2) and refuses pooling over single values, which
ResNet-20 has; among the other engines there is no difference. So a converted model packs under its own engine and
runs under any but `qnnpack`.

`x86` is no engine of its own: it takes oneDNN's kernel or FBGEMM's, layer by layer, and by torch's rule FBGEMM's for
more than 100 groups and oneDNN's for all else. `choose` has a rule that was measured.
"""

from __future__ import annotations

import contextlib
import copy
import difflib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from lowbit.quantization.flow import QuantizationError
from lowbit.quantization.flows import ENGINES
from lowbit.quantization.torch_ao import layers, quiet

# Channels of a 1x1 convolution from which FBGEMM's kernel is the faster one. Measured on MobileNetV2 at batch 32
# and 256, VNNI without AMX: 1.1 to 1.5 times with 64 to 576 channels, 2 to 3.7 times with more; with 32 on one side
# oneDNN's is, and so it is for 3x3 (1.5 to 6 times) and for a filter a channel, however many (1.2 to 2.2 times).
_FBGEMM_FROM = 64
# The number under which torch knows it: asking for the name builds a table at each call.
_QNNPACK = 2


def check(engine: str) -> None:
    """Raises QuantizationError for an engine that is none, or that this torch does not have."""
    if engine not in ENGINES:
        nearest = difflib.get_close_matches(engine, ENGINES, n=2)
        hint = f"did you mean {' or '.join(map(repr, nearest))}? " if nearest else ""
        raise QuantizationError(f"unknown engine {engine!r}: {hint}(known: {', '.join(ENGINES)})")
    supported = torch.backends.quantized.supported_engines
    if engine not in supported:
        here = ", ".join(name for name in ENGINES if name in supported) or "none"
        raise QuantizationError(f"engine {engine!r}: this torch ({torch.__version__}) does not have it; it has {here}")


@contextlib.contextmanager
def using(engine: str) -> Iterator[None]:
    """Makes an engine the global one for a while."""
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = engine
    try:
        yield
    finally:
        torch.backends.quantized.engine = before


def chooses() -> bool:
    """Says whether x86 takes the kernels that `choose` takes.

    Not where torch has one of the two libraries only, on a processor without VNNI, for which torch takes FBGEMM alone,
    and with AMX, on which nobody has measured.
    """
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    known = {"fbgemm", "onednn"} <= set(torch.backends.quantized.supported_engines)
    return known and bool(capabilities.get("avx512_vnni")) and not capabilities.get("amx_int8")


def stands_for(engine: str) -> str:
    """Returns the engine whose ranges a model for `engine` has, and whose kernels alone can take its place.

    torch gives x86 ranges of 7 bits, since without VNNI products are added in 16; so are those of FBGEMM's kernels with
    a filter a channel, on any processor. Where x86 has neither, its ranges are those of oneDNN, of 8 bits.
    """
    return "onednn" if engine == "x86" and chooses() else engine


def choose(module: nn.Module) -> None:
    """Packs every convolution of a converted model for the faster of FBGEMM and oneDNN, in place, where x86 chooses.

    What it computes stays the same but for the last bit of a rounding.
    """
    if not chooses():
        return
    for child in module.modules():
        if isinstance(child, layers().Conv2d):
            pointwise = child.kernel_size == (1, 1) and child.groups == 1
            wide = min(child.in_channels, child.out_channels) >= _FBGEMM_FROM
            with quiet(), using("fbgemm" if pointwise and wide else "onednn"):
                child.set_weight_bias(child.weight(), child.bias())


class OnEngine(nn.Module):
    """A converted model that keeps its engine: when it runs, when it is copied, and when a state is loaded.

    Takes and gives what the model does. Beside a call it costs one look at a number. `left_in_float` says which layers
    its flow does not take, and what to do about it.
    """

    def __init__(self, module: nn.Module, engine: str, left_in_float: str = "") -> None:
        super().__init__()
        self.module, self.engine, self.left_in_float = module, engine, left_in_float
        others = [name for name in ENGINES if name != "qnnpack" and name in torch.backends.quantized.supported_engines]
        self._beside = others[0] if others else engine
        self._choose()

    def forward(self, *inputs: torch.Tensor) -> Any:
        """Runs the model."""
        if torch._C._get_qengine() != _QNNPACK:  # noqa: SLF001 - the public property takes thirty times as long
            return self.module(*inputs)
        with using(self._beside):
            return self.module(*inputs)

    def load_state_dict(self, *state: Any, **options: Any) -> Any:
        """Loads a state, whose weights are packed for the model's engine."""
        with using(self.engine):
            found = super().load_state_dict(*state, **options)
        self._choose()
        return found

    def __deepcopy__(self, memo: dict[int, Any]) -> OnEngine:
        with using(self.engine):
            return OnEngine(copy.deepcopy(self.module, memo), self.engine, self.left_in_float)

    def _choose(self) -> None:
        if self.engine == "x86":
            choose(self.module)

"""What one run of the pipeline does; a checkpoint that was made by another plan is another run's."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from lowbit.quantization.flow import QuantizationError

Algorithm = Literal["adam", "sgd"]
# Learning rates of float training at batch 32; QAT starts from a trained model and takes a tenth.
LR: dict[str, float] = {"adam": 1e-3, "sgd": 0.05}
QAT_PART = 0.1
# Counts and seeds beyond this are more than torch's generators and sizes take.
MOST = 2**31 - 1


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The model and the flow by name, and all that decides what becomes of them beside the data.

    `modules` are pairs of a glob and a setting, and `wide_output` a layer's name, as `lowbit.quantization.flows.flow`
    takes them. `calibration` counts examples, `input_scale` is that of an input stub, None for none. `threads` is
    part of the plan because sums of floats depend on it.

    Raises QuantizationError for what cannot be.
    """

    model: str
    flow: str
    modules: tuple[tuple[str, str], ...] = ()
    wide_output: str | None = None
    epochs: int = 10
    qat_epochs: int = 3
    calibration: int = 256
    optimizer: Algorithm = "adam"
    lr: float = LR["adam"]
    qat_lr: float = QAT_PART * LR["adam"]
    batch: int = 32
    seed: int = 0
    input_scale: float | None = None
    yuv: bool = False
    threads: int = 1

    def __post_init__(self) -> None:
        for name, least in (("epochs", 0), ("qat_epochs", 0), ("batch", 2), ("seed", 0), ("threads", 1)):
            value = getattr(self, name)
            if not least <= value <= MOST:
                bound = f"{least} or more" if value < least else f"{MOST} or less"
                raise QuantizationError(f"{name}={value}: must be {bound}")
        if self.calibration < 1:
            raise QuantizationError(
                f"calibration={self.calibration}: calibration has no batch; give one example at least, some hundred do"
            )
        if self.optimizer not in get_args(Algorithm):
            known = ", ".join(get_args(Algorithm))
            raise QuantizationError(f"unknown optimizer {self.optimizer!r}; must be one of {known}")
        for name in ("lr", "qat_lr"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise QuantizationError(f"{name}={value:g}: must be a positive number, such as {LR[self.optimizer]:g}")

    def to_plain(self) -> dict[str, Any]:
        """Returns numbers, texts and lists only, as files hold them."""
        return dataclasses.asdict(self) | {"modules": [list(pair) for pair in self.modules]}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Plan:
        """Makes a plan of what `to_plain` gave."""
        return cls(**plain | {"modules": tuple((glob, setting) for glob, setting in plain["modules"])})

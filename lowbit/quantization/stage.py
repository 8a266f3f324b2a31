"""What a model that learns its ranges is doing: calibrating, training, or being validated."""

from __future__ import annotations

import enum

from torch import nn


class Stage(enum.Enum):
    """The three states of a quantizer; `eval()` is none of them, because it does not stop observers.

    CALIBRATION observes and rounds nothing; QAT observes and rounds; VALIDATION rounds by what was observed before.
    """

    CALIBRATION = "calibration"
    QAT = "qat"
    VALIDATION = "validation"

    @property
    def observes(self) -> bool:
        """Says whether ranges move."""
        return self is not Stage.VALIDATION

    @property
    def rounds(self) -> bool:
        """Says whether values are rounded."""
        return self is not Stage.CALIBRATION


class Staged(nn.Module):
    """A module that behaves by stage; see `enter`."""

    stage = Stage.CALIBRATION


def enter(module: nn.Module, stage: Stage) -> None:
    """Puts every quantizer of a model into a stage, and the model into the mode that goes with it."""
    module.train(stage is Stage.QAT)
    for child in module.modules():
        if isinstance(child, Staged):
            child.stage = stage

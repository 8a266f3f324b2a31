"""The accuracy trail: what a model could do at every stage of a run, and the runs of several seeds together."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lowbit.pipeline.plan import Plan
from lowbit.pipeline.statistics import Interval, mean, mean_difference
from lowbit.quantization.diagnosis import Finding

# History of the layout in which trails are stored. 1: plan, data, entries and findings of each seed; `calibrated` came
# later, and who does not know it misses nothing that it had.
SCHEMA = 1
StageName = Literal["float", "calibration", "qat", "deployed"]
FLOAT: StageName = "float"
CALIBRATION: StageName = "calibration"
QAT: StageName = "qat"
DEPLOYED: StageName = "deployed"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What was counted on the test part, at one stage and epoch.

    Epoch 0 is a model that was not trained in this stage. `correct5` counts a true class among the five likeliest.
    `gained` examples the model got right and its float model did not, `lost` the other way round. `training_loss` and
    `lr` are those of the epoch before, where there was one.
    """

    stage: StageName
    epoch: int
    examples: int
    correct: int
    correct5: int
    loss: float
    gained: int
    lost: int
    training_loss: float | None = None
    lr: float | None = None

    @property
    def accuracy(self) -> float:
        """Share of examples whose likeliest class is the true one."""
        return self.correct / self.examples


@dataclass(frozen=True, kw_only=True)
class Trail:
    """One run: what it was to do, on what, what it found stage by stage, and what was noticed.

    `quantized` of `eligible` layers are quantized in the model that is deployed; None as long as there is none.
    `calibrated` is how many of the calibration examples that the plan asks for there were; None in trails that do not
    say.
    """

    plan: Plan
    data: str
    entries: tuple[Entry, ...]
    findings: tuple[Finding, ...] = ()
    quantized: int | None = None
    eligible: int | None = None
    calibrated: int | None = None

    @property
    def reference(self) -> Entry | None:
        """The float model that the others are measured against: the last before anything was quantized."""
        return next((entry for entry in reversed(self.entries) if entry.stage == FLOAT), None)

    @property
    def shown(self) -> tuple[Entry, ...]:
        """The entries without float epochs before the last."""
        return tuple(entry for entry in self.entries if entry.stage != FLOAT or entry is self.reference)

    def to_plain(self) -> dict[str, Any]:
        """Returns numbers, texts, lists and dictionaries only, as files hold them."""
        return {
            "plan": self.plan.to_plain(),
            "data": self.data,
            "entries": [dataclasses.asdict(entry) for entry in self.entries],
            "findings": [dataclasses.asdict(finding) for finding in self.findings],
            "quantized": self.quantized,
            "eligible": self.eligible,
            "calibrated": self.calibrated,
        }

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Trail:
        """Makes a trail of what `to_plain` gave."""
        return cls(
            plan=Plan.from_plain(plain["plan"]),
            data=plain["data"],
            entries=tuple(Entry(**entry) for entry in plain["entries"]),
            findings=tuple(Finding(**finding) for finding in plain["findings"]),
            quantized=plain["quantized"],
            eligible=plain["eligible"],
            calibrated=plain.get("calibrated"),
        )


@dataclass(frozen=True, kw_only=True)
class Row:
    """One stage of several runs: means over their seeds, and the difference to float, paired by seed."""

    stage: StageName
    epoch: int
    accuracy: Interval
    accuracy5: float
    loss: float
    difference: Interval


def document(trails: Sequence[Trail], versions: dict[str, str]) -> dict[str, Any]:
    """Returns what is stored of some runs: the schema, the versions they were made with, and each run."""
    return {
        "kind": "trail",
        "schema": SCHEMA,
        "versions": versions,
        "runs": [trail.to_plain() for trail in trails],
    }


def rows(trails: Sequence[Trail]) -> list[Row]:
    """Returns the rows of runs of one plan with different seeds, as far as all of them have come."""
    found = []
    for entries in zip(*(trail.shown for trail in trails), strict=False):
        references = [trail.reference.accuracy for trail in trails if trail.reference is not None]
        accuracies = [entry.accuracy for entry in entries]
        found.append(
            Row(
                stage=entries[0].stage,
                epoch=entries[0].epoch,
                accuracy=mean(accuracies),
                accuracy5=mean([entry.correct5 / entry.examples for entry in entries]).center,
                loss=mean([entry.loss for entry in entries]).center,
                difference=mean_difference(accuracies, references),
            )
        )
    return found

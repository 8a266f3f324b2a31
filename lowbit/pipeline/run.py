"""One run: float training, calibration, quantization-aware training, and the model that is deployed.

After every epoch, and after calibration, a checkpoint is written. A run that was ended goes on from the last one, and
gives bit for bit what it would have given: batches are mixed by seed and epoch, and the state of torch's random numbers
is saved with the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from lowbit.pipeline import checkpoint, training
from lowbit.pipeline.evaluation import evaluate
from lowbit.pipeline.job import Job, Outcome, behind_stub, check, covered, data_identity, rehearse
from lowbit.pipeline.statistics import mcnemar
from lowbit.pipeline.trail import CALIBRATION, DEPLOYED, FLOAT, QAT, Entry, StageName, Trail
from lowbit.quantization import departure, diagnosis
from lowbit.quantization.coverage import Coverage
from lowbit.quantization.flow import QuantizationError, calibrate, deployed
from lowbit.quantization.input_stub import InputStub
from lowbit.quantization.stage import Stage

CHECKPOINT, FLOAT_FILE, DEPLOYED_FILE = "checkpoint.pt", "float.pt", "deployed.pt"
Note = Callable[[Trail], None]


class Show(Protocol):
    """Is told what a run does, and how many of its batches are done."""

    def __call__(self, text: str, done: float, total: float) -> None:
        """Shows it, or does nothing."""
        ...


def run(
    job: Job, folder: Path | None = None, *, fresh: bool = False, show: Show | None = None, note: Note | None = None
) -> Outcome:
    """Runs a job from where the checkpoint in its folder stands, or from the start; without a folder nothing is kept.

    A `fresh` run takes no notice of a checkpoint that is there, which stands until the run has one of its own. `note`
    is given the trail each time that it has changed. The caller's random numbers are left alone. Raises
    QuantizationError for what a user can mend; what was finished before stays.
    """
    with torch.random.fork_rng(devices=[]):
        return _Run(job, folder, show or (lambda *_: None), note or (lambda _: None), fresh=fresh).outcome()


class _Run:
    """A run under way: the trail so far, and what the checkpoint held when it began."""

    def __init__(self, job: Job, folder: Path | None, show: Show, note: Note, *, fresh: bool) -> None:
        self.job, self.plan, self.flow, self.folder, self.show, self.note = job, job.plan, job.flow, folder, show, note
        if self.plan.qat_epochs and not self.flow.trains:
            raise QuantizationError(
                f"flow {self.plan.flow} cannot be trained: set its QAT epochs to 0, or choose a flow that trains"
            )
        scale = self.plan.input_scale
        self.data = job.data if scale is None else behind_stub(job.data, scale)
        self.identity = {} if folder is None else job.identity()
        saved = None
        if folder is not None and not fresh:
            saved = checkpoint.load(folder / CHECKPOINT, checkpoint.RUN, self.identity)
        self.saved: Mapping[str, Any] = saved or {
            "stage": None, "entries": [], "moved": [], "right": None, "float": None,
        }  # fmt: skip
        self.entries = [Entry(**entry) for entry in self.saved["entries"]]
        self.moved: list[str] = self.saved["moved"]
        self.right: torch.Tensor | None = self.saved["right"]
        self.float_state: Mapping[str, Any] | None = self.saved["float"]
        self.findings: list[diagnosis.Finding] = []
        self.coverage: Coverage | None = None
        self.per_epoch = len(training.batches_of(len(self.data.train.labels), self.plan.batch, 0, 0))

    def outcome(self) -> Outcome:
        """Goes through the stages that are left."""
        if self.entries:
            self.note(self.trail())
        module = self._float()
        layers, size = departure.layers_of(module), diagnosis.stored(module)
        prepared = self._calibrated(module)
        if self.flow.trains:
            self._train(prepared, QAT, self.plan.qat_epochs, self.plan.qat_lr)
        final = self._deployed(prepared, layers, size)
        assert self.float_state is not None
        return Outcome(trail=self.trail(), float_state=self.float_state, module=final)

    def trail(self) -> Trail:
        """Returns what was found so far."""
        return Trail(
            plan=self.plan,
            data=self.job.data.description,
            entries=tuple(self.entries),
            findings=tuple(self.findings),
            quantized=self.coverage.quantized if self.coverage else None,
            eligible=self.coverage.eligible if self.coverage else None,
            calibrated=min(self.plan.calibration, len(self.data.train.labels)),
        )

    def _float(self) -> nn.Module:
        """Returns the float model, trained, in eval mode."""
        module = self.job.make(self.plan.seed)
        check(self.plan.model, module, self.data.test.images[:2])
        if self.job.start is not None:
            checkpoint.load_into(module, self.job.start, "the float checkpoint")
        if self.float_state is not None:
            checkpoint.load_into(module, self.float_state, str(self.folder))
            return module.eval()
        if self.saved["stage"] is None:
            rehearse(self.job, self._examples()[:1])
        self._train(module, FLOAT, self.plan.epochs, self.plan.lr)
        if not self.plan.epochs:
            self._record(module.eval(), FLOAT, 0)
        self.float_state = checkpoint.copied(module.state_dict())
        if self.folder is not None:
            identity = {"model": self.plan.model} | data_identity(self.job.data)
            checkpoint.save(self.folder / FLOAT_FILE, checkpoint.FLOAT, identity, {"module": self.float_state})
        return module.eval()

    def _calibrated(self, module: nn.Module) -> nn.Module:
        """Returns the prepared model, which has seen the calibration examples, or is what the checkpoint holds."""
        inputs = self._examples()
        torch.manual_seed(self.plan.seed)
        self.show("calibrating", self.per_epoch * self.plan.epochs, self._total())
        prepared = self.flow.prepare(module, inputs)
        # A state is loaded on top of a calibrated model: some observers have their shape from what they see.
        calibrate(self.flow, prepared, inputs)
        if self.saved["stage"] == CALIBRATION:
            checkpoint.load_into(prepared, self.saved["module"], str(self.folder))
        elif self.saved["stage"] != QAT:
            # What does not train is deployed as it is now, and rounds nothing before it is converted.
            if self.flow.trains:
                self._record(prepared, CALIBRATION, 0)
            self._save(CALIBRATION, 0, {"module": prepared.state_dict()})
        return prepared

    def _examples(self) -> list[torch.Tensor]:
        """Returns the calibration examples in batches, drawn from the training part by the seed."""
        images = self.data.train.images
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(self.plan.seed))
        return list(images[order[: self.plan.calibration]].split(self.plan.batch))

    def _train(self, module: nn.Module, stage: StageName, epochs: int, lr: float) -> None:
        """Trains a model for the epochs that are left of a stage."""
        optimizer = training.optimizer_of(module, self.plan.optimizer, lr)
        scheduler = training.scheduler_of(optimizer)
        torch.manual_seed(self.plan.seed)
        done = 0
        if self.saved["stage"] == stage:
            checkpoint.load_into(module, self.saved["module"], str(self.folder))
            optimizer.load_state_dict(self.saved["optimizer"])
            scheduler.load_state_dict(self.saved["scheduler"])
            torch.set_rng_state(self.saved["random"])
            done = self.saved["epoch"]
        before = self.plan.epochs if stage == QAT else 0
        for epoch in range(done + 1, epochs + 1):
            batches = training.batches_of(len(self.data.train.labels), self.plan.batch, self.plan.seed, before + epoch)

            def advance(
                number: int, at: int = before + epoch - 1, text: str = f"{stage} epoch {epoch}/{epochs}"
            ) -> None:
                self.show(text, at * self.per_epoch + number, self._total())

            if stage == QAT:
                self.flow.enter(module, Stage.QAT)
            else:
                module.train()
            used = float(optimizer.param_groups[0]["lr"])
            loss = training.train_epoch(module, optimizer, self.job.loss, self.data.train, batches, advance)
            scheduler.step(loss)
            self._record(module, stage, epoch, training_loss=loss, lr=used)
            states = {"module": module.state_dict(), "optimizer": optimizer.state_dict()}
            self._save(stage, epoch, states | {"scheduler": scheduler.state_dict(), "random": torch.get_rng_state()})

    def _deployed(self, prepared: nn.Module, layers: list[str], size: diagnosis.Stored) -> nn.Module:
        """Returns the model that is deployed, and looks for what may be wrong with it."""
        self.show("converting", self._total(), self._total())
        self.flow.enter(prepared, Stage.VALIDATION)
        inputs = self.data.test.images[: self.plan.batch]
        before = departure.outputs(prepared, inputs, layers) if self.flow.trains else {}
        ratios = diagnosis.scale_ratios(prepared)
        module = deployed(self.flow, prepared)
        self.coverage = covered(self.job, module)
        after = departure.outputs(module, inputs, layers)
        found = (
            diagnosis.observers_live(self.moved),
            diagnosis.scales_differ(ratios),
            diagnosis.departs(departure.differences(before, after)),
            diagnosis.not_smaller(size, diagnosis.stored(module)),
        )
        self._record(module, DEPLOYED, 0)
        last = self.entries[-1]
        gain, likelihood = 100 * (last.gained - last.lost) / last.examples, mcnemar(last.gained, last.lost)
        unfinished = diagnosis.float_unfinished(gain, likelihood) if self.plan.qat_epochs else None
        self.findings = [finding for finding in (*found, unfinished) if finding is not None]
        self.note(self.trail())
        if self.plan.input_scale is not None:
            module = nn.Sequential(InputStub(self.plan.input_scale), module).eval()
        if self.folder is not None:
            checkpoint.save(self.folder / DEPLOYED_FILE, DEPLOYED, self.identity, {"module": module.state_dict()})
        return module

    def _record(self, module: nn.Module, stage: StageName, epoch: int, **more: float) -> None:
        """Evaluates a model and makes the trail longer."""
        if stage == FLOAT:
            module.eval()
        elif stage != DEPLOYED:
            self.flow.enter(module, Stage.VALIDATION)
        found = evaluate(module, self.data.test, self.plan.batch)
        self.moved = [*self.moved, *(name for name in found.moved if name not in self.moved)]
        if stage == FLOAT:
            self.right = found.right
        assert self.right is not None
        self.entries.append(
            Entry(
                stage=stage,
                epoch=epoch,
                examples=found.examples,
                correct=found.correct,
                correct5=found.right5,
                loss=found.loss,
                gained=int((found.right & ~self.right).sum()),
                lost=int((self.right & ~found.right).sum()),
                **more,
            )
        )
        self.note(self.trail())

    def _save(self, stage: StageName, epoch: int, states: Mapping[str, Any]) -> None:
        if self.folder is None:
            return
        content = {
            "stage": stage,
            "epoch": epoch,
            "entries": self.trail().to_plain()["entries"],
            "moved": self.moved,
            "right": self.right,
            "float": self.float_state,
            "torch": str(torch.__version__),
            **states,
        }
        checkpoint.save(self.folder / CHECKPOINT, checkpoint.RUN, self.identity, content)

    def _total(self) -> int:
        return max(1, self.per_epoch * (self.plan.epochs + self.plan.qat_epochs))

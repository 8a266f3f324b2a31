"""From a variant to a step: the built, runnable training step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from bench.data.metric import COMMUNICATE, PHASES, PHASES_OF_RANKS
from bench.data.variant import NONE, Variant
from bench.errors import InvalidData, InvalidVariant, PluginFailed, UnknownName
from bench.plugin import Coverage, HeldOut, Part, Registry, Sampler, Workload
from bench.run import compiled, ranks
from bench.run.quantization import quantize

if TYPE_CHECKING:
    from bench.run.clock import Clock

_MEMORY_FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
# Batches are drawn once and cycled through, so that drawing them is no part of any phase; 16 are enough that a step
# does not train on one picture, and few enough to stay in memory at large batch sizes.
BATCHES = 16


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """One training step, ready to run: its phases are methods, its batches lie on the device.

    `zero_grad` stands outside the three phases and inside the whole step. A step without an optimizer is inference:
    it has the forward phase only and runs in eval mode without gradients.
    """

    variant: Variant
    phases: tuple[str, ...]
    module: torch.nn.Module
    workload: Workload
    optimizer: torch.optim.Optimizer | None
    batches: tuple[tuple[Any, Any], ...]
    sample: Sampler
    coverage: Coverage | None = None
    handover: ranks.Handover | None = None

    @property
    def trains(self) -> bool:
        """Says whether the step has a backward phase."""
        return "backward" in self.phases

    def zero_grad(self) -> None:
        """Drops the gradients of the step before."""
        if self.optimizer is not None:
            self.optimizer.zero_grad(set_to_none=True)

    def forward(self, index: int) -> torch.Tensor:
        """Runs the model and the loss on a batch."""
        inputs, targets = self.batches[index % len(self.batches)]
        with torch.set_grad_enabled(self.trains):
            return self.workload.loss(self.module(inputs), targets)

    def backward(self, loss: torch.Tensor) -> None:
        """Runs the backward pass of a loss."""
        loss.backward()

    def backward_noted(self, loss: torch.Tensor, clock: Clock) -> Any:
        """Runs the backward pass and waits for all that other ranks send; returns when this rank's part was done."""
        assert self.handover is not None
        self.handover.arm(clock)
        loss.backward()
        wait = getattr(self.optimizer, "wait_for_ranks", None)
        if callable(wait):
            wait()
        return self.handover.take()

    def optimize(self) -> None:
        """Updates the parameters."""
        assert self.optimizer is not None
        self.optimizer.step()

    def run(self, index: int) -> torch.Tensor:
        """Runs the whole step without any synchronisation inside and returns the loss."""
        self.zero_grad()
        loss = self.forward(index)
        if self.trains:
            self.backward(loss)
            self.optimize()
        return loss

    def draw(self, batch: int, seed: int) -> tuple[Any, Any]:
        """Draws one more batch of any size, on the step's device and dtype."""
        generator = torch.Generator().manual_seed(seed)
        inputs, targets = self.sample(batch, generator)
        return place(inputs, self.variant), place(targets, self.variant)


def check_device(name: str) -> torch.device:
    """Returns a device; raises InvalidVariant where this torch does not see it."""
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InvalidVariant(
            f"device={name}: this torch ({torch.__version__}) sees {torch.cuda.device_count()} CUDA devices; use cpu, "
            "or install a torch that is built for your GPU"
        )
    return device


def build(registry: Registry, variant: Variant, *, data: Sampler, seed: int) -> Step:
    """Builds a fresh step of a variant; a model without batches of its own takes them from `data`.

    The quantization sees the module in the mode, and the inputs, that it will have.

    Raises UnknownName for a part that nobody registered, InvalidVariant for parts that do not go together, and
    whatever the factories raise.
    """
    dtype = getattr(torch, variant.dtype)
    device = check_device(variant.device)
    ranks.join(variant)
    torch.manual_seed(seed)
    workload = registry.get("model", variant.model).factory(device, dtype, seed)
    if not isinstance(workload, Workload):
        origin = registry.get("model", variant.model).origin
        raise PluginFailed(
            f"model {variant.model!r} ({origin}) returned {type(workload).__name__}; return a bench.Workload"
        )
    if variant.optimizer != NONE and variant.batch < workload.smallest_batch:
        least = workload.smallest_batch
        raise InvalidVariant(f"batch={variant.batch}: {variant.model} trains from {least} on; give --batch {least}")
    sample = workload.sample or data
    generator = torch.Generator().manual_seed(seed)
    batches = tuple(
        (place(ranks.share(inputs, variant.ranks), variant), place(ranks.share(targets, variant.ranks), variant))
        for inputs, targets in (sample(variant.batch * variant.ranks, generator) for _ in range(BATCHES))
    )
    inputs = tuple(inputs for inputs, _ in batches)
    module, coverage = quantize(registry, variant, _laid_out(workload.module, variant), inputs)
    module.train(variant.optimizer != NONE)
    if variant.optimizer == NONE:
        phases: tuple[str, ...] = ("forward",)
        optimizer = None
    else:
        phases = PHASES
        if variant.ranks > 1:
            module, phases = ranks.parallel(module), PHASES_OF_RANKS
        part = registry.get("optimizer", variant.optimizer)
        optimizer = part.factory(module)
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise PluginFailed(
                f"optimizer {variant.optimizer!r} ({part.origin}) returned {type(optimizer).__name__}; return a "
                "torch.optim.Optimizer"
            )
    if variant.compiled:
        module = compiled.compile_(module, batches[0][0], trains=variant.optimizer != NONE)
    return Step(
        variant=variant,
        phases=phases,
        module=module,
        workload=workload,
        optimizer=optimizer,
        batches=batches,
        sample=sample,
        coverage=coverage,
        handover=ranks.Handover() if COMMUNICATE in phases else None,
    )


def open_data(registry: Registry, data: str) -> Sampler:
    """Returns the sampler of a data source, given by name or by path.

    Raises UnknownName for a name that nobody registered, InvalidData for a path that is no image set.
    """
    part, arguments = _source(registry, data)
    return cast("Sampler", part.factory(*arguments))


def open_held_out(registry: Registry, data: str, seed: int) -> HeldOut:
    """Returns the two parts of a data source, split by a seed; raises as `open_data`, and where it holds out none."""
    part, arguments = _source(registry, data)
    split = part.options["held_out"]
    if split is None:
        able = [other.name for other in registry.parts("data") if other.options["held_out"] is not None]
        raise InvalidData(
            f"--data {data}: holds out nothing to count accuracy on; choose one of {', '.join(able) or 'none'}, or "
            "register it with held_out=..."
        )
    return cast("HeldOut", split(*arguments, seed))


def _source(registry: Registry, data: str) -> tuple[Part, tuple[str, ...]]:
    """Returns the part that a data source is read by, and its arguments."""
    if data in registry.names("data") and not registry.get("data", data).options["paths"]:
        return registry.get("data", data), ()
    named = [part.name for part in registry.parts("data") if not part.options["paths"]]
    readers = [part for part in registry.parts("data") if part.options["paths"]]
    if data in [part.name for part in readers]:
        raise InvalidData(f"--data {data}: needs a path; give --data path/to/{data}")
    if not Path(data).exists() and "/" not in data and "." not in data:
        raise UnknownName("data source", data, [*named, "a path"])
    if not readers:
        raise InvalidData(f"--data {data}: no plug-in reads image sets from a path; choose one of {', '.join(named)}")
    return readers[0], (data,)


def close(step: Step) -> None:
    """Lets go of what a step's optimizer holds beside memory (hooks, threads), where it says how."""
    end = getattr(step.optimizer, "close", None)
    if callable(end):
        end()


def place(values: Any, variant: Variant) -> Any:
    """Returns values where and as a variant takes them: on its device, in its dtype and memory format."""
    if not isinstance(values, torch.Tensor):
        return values
    dtype = getattr(torch, variant.dtype) if values.is_floating_point() else values.dtype
    placed = values.to(variant.device, dtype)
    return placed.to(memory_format=_MEMORY_FORMATS[variant.memory_format]) if placed.dim() == 4 else placed


def _laid_out(module: torch.nn.Module, variant: Variant) -> torch.nn.Module:
    return module.to(memory_format=_MEMORY_FORMATS[variant.memory_format])  # type: ignore[call-overload, no-any-return]

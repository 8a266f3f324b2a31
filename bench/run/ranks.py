"""Ranks: processes that train copies of one model together, seen from one of them.

A team of workers (bench.run.team) sets in their environment which rank each is. Rank 0 leads: it alone times steps
and answers with what it saw, the others take a step whenever it does.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from bench.data.variant import Variant
from bench.errors import InvalidVariant, StepbenchError
from bench.run.process import PATIENCE_S

if TYPE_CHECKING:
    from bench.run.build import Step
    from bench.run.clock import Clock

# The first two are torchrun's, so that a plug-in that reads them sees what it is used to.
RANK, RANKS, STORE = "RANK", "WORLD_SIZE", "STEPBENCH_RANKS_STORE"


class RanksDiffer(StepbenchError):
    """Ranks that ended with different parameters: what was timed is no data-parallel training."""


def join(variant: Variant) -> None:
    """Joins the other ranks of this process's team, once; raises InvalidVariant where there is no such team.

    CPU tensors go through gloo and CUDA tensors through nccl; each rank has its own GPU.
    """
    given = int(os.environ.get(RANKS, "1")) if STORE in os.environ else 1
    if variant.ranks != given:
        raise InvalidVariant(
            f"ranks={variant.ranks}: this is a process of {given} rank(s); only `stepbench measure` starts others, and "
            "not with --until"
        )
    if given == 1 or dist.is_initialized():
        return
    rank, cuda = int(os.environ[RANK]), variant.device == "cuda"
    if cuda:
        if torch.cuda.device_count() < given:
            raise InvalidVariant(
                f"ranks={given} on cuda: each rank has its own device, and this machine has {torch.cuda.device_count()}"
            )
        torch.cuda.set_device(rank)
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if cuda else "gloo",
        init_method=f"file://{os.environ[STORE]}",
        rank=rank,
        world_size=given,
        timeout=dt.timedelta(seconds=PATIENCE_S),
    )


def leads() -> bool:
    """Says whether this process is rank 0, or alone."""
    return not dist.is_initialized() or dist.get_rank() == 0


def parallel(module: torch.nn.Module) -> torch.nn.Module:
    """Returns a module whose gradients are averaged over the ranks."""
    try:
        return DistributedDataParallel(module)
    except RuntimeError as error:
        raise InvalidVariant(f"ranks={dist.get_world_size()}: {str(error).splitlines()[0]}") from error


def share(values: Any, ranks: int) -> Any:
    """Returns this rank's part of a batch that all of them draw: sample R i + r is sample i of rank r.

    Torch's DistributedSampler deals them so too, and a variant of one rank with the whole batch trains on the same.
    """
    if ranks == 1:
        return values
    if not isinstance(values, torch.Tensor):
        raise InvalidVariant(
            f"ranks={ranks}: a batch of {type(values).__name__} cannot be dealt to ranks; give tensors whose first "
            "dimension is the batch"
        )
    return values[dist.get_rank() :: ranks]


def say(go_on: bool) -> None:  # noqa: FBT001 - the one thing that rank 0 says
    """Tells the other ranks, as rank 0, to take one more step or to stop; they wait for it."""
    dist.broadcast(torch.tensor([go_on], dtype=torch.uint8), src=0)


def told() -> Iterator[int]:
    """Yields the number of a step, as another rank, whenever rank 0 takes one."""
    word = torch.zeros(1, dtype=torch.uint8)
    index = 0
    while True:
        dist.broadcast(word, src=0)
        if not word.item():
            return
        yield index
        index += 1


def check_identical(module: torch.nn.Module) -> None:
    """Raises RanksDiffer, on all ranks, unless the parameters of all ranks are identical bit for bit."""
    digests = {name: _digest(parameter) for name, parameter in module.named_parameters()}
    gathered: list[dict[str, str]] = [{} for _ in range(dist.get_world_size())]
    dist.all_gather_object(gathered, digests)
    for rank, other in enumerate(gathered):
        unlike = [name.removeprefix("module.") for name, digest in gathered[0].items() if other.get(name) != digest]
        if unlike:
            raise RanksDiffer(
                f"rank {rank} ended with other parameters than rank 0: {len(unlike)} of {len(gathered[0])} differ, the "
                f"first is {unlike[0]!r}; an optimizer must average over the ranks whatever it takes from its batch "
                "beside the gradients"
            )


def _digest(parameter: torch.Tensor) -> str:
    values = parameter.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return hashlib.sha256(values.numpy().tobytes()).hexdigest()


def of_others(value: float) -> float:
    """Returns the sum of what the other ranks say, which each of them has to call with its own value."""
    total = torch.tensor(value, dtype=torch.float64)
    dist.all_reduce(total)
    return float(total) - value


class Handover:
    """Notes when the last gradient of a backward pass is there: what follows in it is waiting for other ranks."""

    def __init__(self) -> None:
        self._clock: Clock | None = None
        self._noted: Any = None

    def learn(self, step: Step) -> None:
        """Runs one step to see which parameter's gradient is the last, which no step changes, and watches it."""
        order: list[torch.Tensor] = []
        hooks = [
            parameter.register_post_accumulate_grad_hook(order.append)
            for parameter in step.module.parameters()
            if parameter.requires_grad
        ]
        step.run(0)
        for hook in hooks:
            hook.remove()
        # Accumulated gradients have a hook that runs before DistributedDataParallel is told of the gradient.
        order[-1].register_post_accumulate_grad_hook(self._note)

    def _note(self, _: torch.Tensor) -> None:
        if self._clock is not None:
            self._noted = self._clock.note()

    def arm(self, clock: Clock) -> None:
        """Has the next backward pass noted by a clock."""
        self._clock, self._noted = clock, None

    def take(self) -> Any:
        """Returns the mark that was noted, or one of now; later passes are not noted."""
        assert self._clock is not None
        mark = self._noted if self._noted is not None else self._clock.mark()
        self._clock, self._noted = None, None
        return mark

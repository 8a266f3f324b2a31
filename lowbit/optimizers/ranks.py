"""Statistics over the ranks of data-parallel training: one flat message a step, sent while backward still runs."""

from __future__ import annotations

import math
import weakref
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

# What a rank knows of a layer: its mean input a, and its mean output gradient g for an optimizer that uses it.
Vectors = tuple[torch.Tensor, ...]


# Messages for statistics and DDP's own would have to leave in one order on every rank; over a group of their own they
# need not. It lives as long as the group that it doubles: one that is closed while a peer still reads resets the peer.
_doubles: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()


def unwrap(model: nn.Module, vectors: int = 2) -> tuple[nn.Module, Exchange | None]:
    """Returns the module that a model computes with, and the exchange with its other ranks where it has any.

    `vectors` is how many each layer has: 2 for a and g, 1 for a alone.
    """
    if not isinstance(model, DistributedDataParallel):
        return model, None
    alone = dist.get_world_size(model.process_group) == 1
    return model.module, None if alone else Exchange(model, vectors)


class Exchange:
    """Averages Kronecker vectors over the ranks of a model in DistributedDataParallel.

    Each of R ranks takes the vectors of the first ceil(samples / R) samples of its own batch. With batches of one size
    they become those of one rank on the batch whose sample R i + r is sample i of rank r (as torch's
    DistributedSampler deals them): a is the mean of the ranks' vectors. So is g, times 1/R: the loss of the whole batch
    is the mean of the ranks' losses, so each output's gradient is 1/R of what its rank sees.

    All ranks make one all-reduce a step, of one flat tensor in the order of the layers. It starts in the backward pass
    in which DDP exchanges gradients (the one that is not under `no_sync`), as soon as no layer's vector is
    awaited. With `find_unused_parameters` a rank may lack a layer: then the message has a place for every layer and
    says which are filled, and it starts in the optimizer's step, where the host reads that.
    """

    def __init__(self, model: DistributedDataParallel, vectors: int = 2) -> None:
        self._model = model
        self._vectors = vectors
        self._group = _double(model.process_group)
        self.ranks = dist.get_world_size(self._group)
        self.may_lack = bool(model.find_unused_parameters)
        self._sent: tuple[tuple[str, ...], torch.Tensor, list[int], dist.Work] | None = None

    def share(self, samples: int) -> int:
        """Returns how many samples of its own batch each rank takes."""
        return math.ceil(samples / self.ranks)

    @property
    def due(self) -> bool:
        """Says whether vectors that are complete in this backward pass may be sent at once."""
        return self._model.require_backward_grad_sync and not self.may_lack

    def begin(self, found: Mapping[str, Vectors], layers: Mapping[str, nn.Module]) -> None:
        """Sends the vectors of this rank; `layers` gives the order, and the place of what this rank lacks."""
        names = tuple(layers) if self.may_lack else tuple(name for name in layers if name in found)
        filled = [found.get(name) or _zeros(layers[name], self._vectors) for name in names]
        parts = [of_layer[part] for part in range(self._vectors) for of_layer in filled]
        if self.may_lack:
            here = torch.tensor([float(name in found) for name in names])
            parts.append(here.to(parts[0].device, parts[0].dtype))
        flat = torch.cat(parts)
        work = dist.all_reduce(flat, group=self._group, async_op=True)
        assert work is not None
        self._sent = names, flat, [len(part) for part in parts], work

    def wait(self) -> None:
        """Waits for what is on its way; on an accelerator its stream waits, and not the host."""
        if self._sent is not None:
            self._sent[-1].wait()

    def drop(self) -> None:
        """Gives up what is on its way: the other ranks have begun it too, so that it has to arrive."""
        self.wait()
        self._sent = None

    def finish(self, found: Mapping[str, Vectors], layers: Mapping[str, nn.Module]) -> dict[str, Vectors]:
        """Returns the vectors of the whole batch; those of this rank are sent now unless they are on their way."""
        if not found and not self.may_lack:
            return {}
        if self._sent is None:
            self.begin(found, layers)
        self.wait()
        assert self._sent is not None
        names, flat, sizes, _ = self._sent
        self._sent = None
        count = len(names)
        filled = [float(self.ranks)] * count
        if self.may_lack:
            filled = flat[-count:].tolist()
            factors = [1 / (max(ranks, 1) * self.ranks**part) for part in range(self._vectors) for ranks in filled]
            means = torch._foreach_mul(torch.split(flat, sizes)[: len(factors)], factors)
        else:
            lengths = [sum(sizes[part * count : (part + 1) * count]) for part in range(self._vectors)]
            torch._foreach_mul_(
                torch.split(flat, lengths), [self.ranks ** -(part + 1) for part in range(self._vectors)]
            )
            means = torch.split(flat, sizes)
        return {
            name: tuple(means[index::count][: self._vectors])
            for index, (name, ranks) in enumerate(zip(names, filled, strict=True))
            if ranks
        }


def _double(group: Any) -> Any:
    if group not in _doubles:
        # Only the members of the group train this model, so that no other process can be asked to take part.
        _doubles[group] = dist.new_group(dist.get_process_group_ranks(group), use_local_synchronization=True)
    return _doubles[group]


def _zeros(layer: Any, vectors: int) -> Vectors:
    """Stands for the vectors of a layer that did not run on this rank."""
    weight, groups = layer.weight, getattr(layer, "groups", 1)
    dtype = torch.promote_types(weight.dtype, torch.float32)
    lengths = (weight[0].numel() * groups, weight.shape[0])
    return tuple(torch.zeros(length, dtype=dtype, device=weight.device) for length in lengths[:vectors])

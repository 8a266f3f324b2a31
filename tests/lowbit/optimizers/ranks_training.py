"""One rank of a few small trainings in DistributedDataParallel; prints what it saw as one line of JSON.

Started as `python -m tests.lowbit.optimizers.ranks_training RANK RANKS STORE` by test_ranks.
"""

from __future__ import annotations

import contextlib
import json
import sys

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode

from lowbit.optimizers.eva import Eva
from lowbit.optimizers.eva_8bit import Eva8bit
from lowbit.optimizers.eva_8bit_cpu import Eva8bitCPU
from lowbit.optimizers.eva_f import EvaF
from tests.lowbit.optimizers.reference import ReferenceEva

BATCH = 10  # of a rank: the batch of both is larger than the samples that statistics are taken from
STEPS = 6
OPTIONS = {"lr": 0.05, "stat_samples": 16}


class Net(nn.Module):
    """A convolution with stride, linear layers with and without bias, one of them used twice where asked to."""

    def __init__(self, twice=False):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.inner = nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.Linear(16, 16, bias=False)
        self.spare, self.head = nn.Linear(16, 16), nn.Linear(16, 3)
        self.twice, self.use_spare = twice, True
        self.double()

    def forward(self, x):
        x = torch.tanh(self.conv(x)).flatten(1)
        for _ in range(1 + self.twice):
            x = torch.tanh(self.inner(x))
        if self.use_spare:
            x = torch.tanh(self.spare(x))
        return self.head(x)


def whole_batch(index):
    generator = torch.Generator().manual_seed(index)
    count = BATCH * dist.get_world_size()
    pictures = torch.randn(count, 2, 4, 4, generator=generator, dtype=torch.float64)
    return pictures, torch.randint(3, (count,), generator=generator)


def share(index):
    """This rank's part of a batch, dealt as torch's DistributedSampler deals it."""
    return tuple(values[dist.get_rank() :: dist.get_world_size()] for values in whole_batch(index))


def train(model, optimizer, batch, *, steps=STEPS, passes=1, wait=False):
    for index in range(steps):
        model.zero_grad()
        for turn in range(passes):
            last = turn == passes - 1
            waits = contextlib.nullcontext() if last or not hasattr(model, "no_sync") else model.no_sync()
            with waits:
                inputs, targets = batch(index * passes + turn)
                (F.cross_entropy(model(inputs), targets) / passes).backward()
        if wait:
            optimizer.wait_for_ranks()
        optimizer.step()


def in_ranks(form=Eva, *, twice=False, **more):
    model = DistributedDataParallel(Net(twice), **more)
    return model, form(model, **OPTIONS)


def values(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def same(model):
    """Says whether the parameters of all ranks are identical, bit for bit."""
    gathered = [torch.empty_like(values(model)) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, values(model))
    return all(torch.equal(gathered[0].view(torch.int64), other.view(torch.int64)) for other in gathered)


def distance(model, other):
    return float((values(model) - values(other)).abs().max())


class Messages(TorchDispatchMode):
    """Counts the collectives of this rank and the elements they carry."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "c10d":
            self.sizes.append(sum(tensor.numel() for tensor in args[0]))
        return func(*args, **(kwargs or {}))


def parity(form, *, steps=STEPS, wait=False, **more):
    one = Net(more.get("twice", False))
    train(one, form(one, **OPTIONS), whole_batch, steps=steps)
    model, optimizer = in_ranks(form, **more)
    train(model, optimizer, share, steps=steps, wait=wait)
    return {"same": same(model), "distance": distance(model, one)}


def against_reference():
    one = Net()
    train(one, ReferenceEva(one, **OPTIONS), whole_batch)
    model, optimizer = in_ranks()
    train(model, optimizer, share)
    return {"same": same(model), "distance": distance(model, one)}


def accumulated():
    one = Net()
    train(one, Eva(one, **OPTIONS), whole_batch, passes=3)
    model, optimizer = in_ranks()
    train(model, optimizer, share, passes=3)
    return {"same": same(model), "distance": distance(model, one)}


def sent():
    """What a step sends: DDP's two buckets, then one message for the statistics of all layers, before backward ends."""
    model, optimizer = in_ranks()
    train(model, optimizer, share, steps=2)
    counter, order = Messages(), []
    with counter:
        model.zero_grad()
        loss = F.cross_entropy(model(share(0)[0]), share(0)[1])
        order.append(len(counter.sizes))
        loss.backward()
        order.append(len(counter.sizes))
        optimizer.step()
        order.append(len(counter.sizes))
    vectors = sum(layer.weight[0].numel() + len(layer.weight) for layer in optimizer.layers.values())
    return {"sizes": sorted(counter.sizes), "order": order, "vectors": vectors, "gradients": values(model).numel()}


def given_up():
    """A batch that is given up after its backward pass, and a forward pass of one rank that has no backward."""
    one, (model, optimizer) = Net(), in_ranks()
    train(one, Eva(one, **OPTIONS), whole_batch, steps=3)
    F.cross_entropy(model(share(7)[0]), share(7)[1]).backward()
    optimizer.zero_grad()
    if dist.get_rank() == 0:
        model.module(share(7)[0])
    train(model, optimizer, share, steps=3)
    return {"same": same(model), "distance": distance(model, one)}


def one_lacks_a_layer():
    model, optimizer = in_ranks(find_unused_parameters=True)
    train(model, optimizer, share, steps=2)
    model.module.use_spare = dist.get_rank() == 0
    train(model, optimizer, share, steps=2)
    statistics = optimizer.state[model.module.spare.weight]["a"]
    gathered = [torch.empty_like(statistics) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, statistics)
    return {"same": same(model), "statistics": all(torch.equal(gathered[0], other) for other in gathered)}


def unused_allowed():
    return parity(Eva, find_unused_parameters=True)


CASES = {
    "eva": lambda: parity(Eva, steps=30),
    "eva-f": lambda: parity(EvaF),
    "eva-f waits": lambda: parity(EvaF, wait=True),
    "used twice": lambda: parity(Eva, twice=True),
    "eva-8bit": lambda: parity(Eva8bit),
    "eva-8bit-cpu": lambda: parity(Eva8bitCPU),
    "reference": against_reference,
    "accumulated": accumulated,
    "sent": sent,
    "given up": given_up,
    "one lacks a layer": one_lacks_a_layer,
    "unused allowed": unused_allowed,
}


def main():
    rank, ranks, store = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=ranks)
    sys.stdout.write(json.dumps({name: case() for name, case in CASES.items()}) + "\n")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()

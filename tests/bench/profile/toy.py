"""A small step whose lines, hooks and operations are known."""

from __future__ import annotations

import torch

from bench.plugin import Registry, Workload
from bench.profile import lines


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(8, 16)
        self.second = torch.nn.Linear(16, 4)

    def forward(self, x):
        x = self.first(x)
        x = torch.tanh(x)
        for _ in range(3):
            x = x + 1
        return self.second(x)


class Opaque(torch.nn.Module):
    """Its forward is a function of C."""

    forward = staticmethod(torch.tanh)


class Descent(torch.optim.SGD):
    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                halve(parameter)
                parameter.sub_(parameter.grad, alpha=group["lr"])


@lines
def halve(parameter):
    return parameter.view(-1)


def looks(module, inputs, output):
    output.detach().mul(2).add(1)


def waits(module, inputs, output):
    def receive(gradient):
        gradient.sum()

    if output.requires_grad:
        output.register_hook(receive)


def sample(batch, generator):
    return torch.randn(batch, 8, generator=generator), torch.randint(4, (batch,), generator=generator)


def register(registry: Registry) -> None:
    @registry.model("opaque")
    def opaque(device, dtype, seed):
        return Workload(
            module=Opaque(), loss=lambda outputs, targets: outputs.sum(),
            sample=lambda batch, generator: (torch.randn(batch, 8, generator=generator), torch.zeros(batch)),
        )  # fmt: skip

    @registry.model("hooked")
    def hooked(device, dtype, seed):
        module = Net().to(device, dtype)
        module.first.register_forward_hook(waits)

        return Workload(module=module, loss=torch.nn.functional.cross_entropy, sample=sample)

    @registry.model("net")
    def net(device, dtype, seed):
        torch.manual_seed(seed)
        module = Net().to(device, dtype)
        module.first.register_forward_hook(looks)

        return Workload(module=module, loss=torch.nn.functional.cross_entropy, sample=sample)

    @registry.optimizer("descent")
    def descent(module):
        return Descent(module.parameters(), lr=0.01)

    @registry.optimizer("broken")
    def broken(module):
        raise RuntimeError("no optimizer today")

    @registry.data("none")
    def nothing():
        return lambda batch, generator: None

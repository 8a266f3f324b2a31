"""A small repository to compare versions of: a net, and an optimizer whose work is a number."""

from __future__ import annotations

PYPROJECT = """
[project]
name = "toys"
version = "1"
[project.entry-points."stepbench.plugins"]
toys = "toys.plugin"
"""
PLUGIN = """
import torch
from bench import Workload
from toys.optimizer import Descent

def sample(batch, generator):
    return torch.randn(batch, 64, generator=generator), torch.randint(4, (batch,), generator=generator)

def register(registry):
    @registry.model("net")
    def net(device, dtype, seed):
        torch.manual_seed(seed)
        module = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Tanh(), torch.nn.Linear(64, 4))
        return Workload(module=module, loss=torch.nn.functional.cross_entropy, sample=sample)

    @registry.optimizer("{name}")
    def descent(module):
        return Descent(module.parameters(), lr=0.01)

    @registry.optimizer("plain")
    def plain(module):
        return torch.optim.SGD(module.parameters(), lr=0.01)
"""
OPTIMIZER = """
import torch

class Descent(torch.optim.SGD):
    @torch.no_grad()
    def step(self, closure=None):
        {setup}
        for _ in range({rounds}):
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter.sub_(parameter.grad, alpha=group["lr"] / {rounds})
"""
# A second import of it raises.
OPERATOR = """
import torch

LIBRARY = torch.library.Library("toys", "DEF")
LIBRARY.define("same(Tensor x) -> Tensor")
LIBRARY.impl("same", lambda x: x.clone(), "CPU")
same = torch.ops.toys.same
"""
QUICK = ("--budget", "60", "--workers", "2")


def toys(rounds=1, name="descent", setup="pass", folder=""):
    return {
        "pyproject.toml": PYPROJECT,
        f"{folder}toys/__init__.py": "",
        f"{folder}toys/plugin.py": PLUGIN.replace("{name}", name),
        f"{folder}toys/optimizer.py": OPTIMIZER.format(rounds=rounds, setup=setup),
    }


def rows(document):
    (variant,) = document["variants"]
    return {row["metric"]: row["verdict"] for row in variant["rows"]}

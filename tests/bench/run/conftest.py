from __future__ import annotations

import pytest
import torch

from bench.plugin import Registry, Workload


@pytest.fixture
def registry() -> Registry:
    """A registry with one small model, two optimizers, two quantizations and a data source."""
    registry = Registry()

    @registry.model("line")
    def line(device, dtype, seed):
        """A linear layer."""
        torch.manual_seed(seed)
        module = torch.nn.Linear(8, 4).to(device, dtype)
        return Workload(module=module, loss=torch.nn.functional.cross_entropy, sample=sample)

    @registry.model("picture")
    def picture(device, dtype, seed):
        torch.manual_seed(seed)
        module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 4)).to(device, dtype)
        return Workload(module=module, loss=torch.nn.functional.cross_entropy)

    def sample(batch, generator):
        return torch.randn(batch, 8, generator=generator), torch.randint(4, (batch,), generator=generator)

    @registry.optimizer("descent")
    def descent(module):
        return torch.optim.SGD(module.parameters(), lr=0.01, momentum=0.9, foreach=True)

    @registry.optimizer("rocket")
    def rocket(module):
        return torch.optim.SGD(module.parameters(), lr=1e6)

    @registry.quantization("same")
    def same(module):
        return module

    @registry.quantization("frozen", phases=("forward",))
    def frozen(module):
        return module

    @registry.data("noise")
    def noise():
        return lambda batch, generator: (
            torch.randn(batch, 3, 32, 32, generator=generator),
            torch.randint(4, (batch,), generator=generator),
        )

    return registry

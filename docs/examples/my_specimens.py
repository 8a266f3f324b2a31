"""A plug-in of one file: a model and an optimizer of one's own."""

import torch

from bench import Workload


def register(registry):
    @registry.model("mlp")  # (device, dtype, seed) -> Workload
    def mlp(device, dtype, seed):
        """A linear classifier of random pictures."""
        torch.manual_seed(seed)
        module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 10)).to(device, dtype)

        def sample(batch, generator):  # inputs and targets of one step
            return torch.randn(batch, 3, 32, 32, generator=generator), torch.randint(10, (batch,), generator=generator)

        return Workload(module=module, loss=torch.nn.functional.cross_entropy, sample=sample)

    @registry.optimizer("my-sgd")  # (module) -> torch.optim.Optimizer
    def my_sgd(module):
        """Plain gradient descent."""
        return torch.optim.SGD(module.parameters(), lr=0.001)

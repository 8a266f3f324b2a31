"""Models that are trained in a blink, and what runs `stepbench quantize` on them."""

from __future__ import annotations

import torch

PLUGIN = """
import torch
from bench import Workload

class Tiny(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 8, 3, stride=4)
        self.middle = torch.nn.Conv2d(8, 16, 3, stride=2)
        self.hidden, self.classifier = torch.nn.Linear(16, 16), torch.nn.Linear(16, 10)

    def forward(self, pictures):
        x = torch.relu(self.middle(torch.relu(self.stem(pictures)))).mean((2, 3))
        return self.classifier(torch.relu(self.hidden(x)))

class Branchy(Tiny):
    def forward(self, pictures):
        return super().forward(pictures if pictures.sum() > 0 else -pictures)

def register(registry):
    @registry.model("branchy")
    def branchy(device, dtype, seed):
        return Workload(module=Branchy(), loss=torch.nn.functional.cross_entropy)

    @registry.model("tiny")
    def tiny(device, dtype, seed):
        torch.manual_seed(seed)
        return Workload(module=Tiny(), loss=torch.nn.functional.cross_entropy)

    @registry.model("flat")
    def flat(device, dtype, seed):
        return Workload(module=torch.nn.Linear(5, 10), loss=torch.nn.functional.cross_entropy)

    @registry.model("broken")
    def broken(device, dtype, seed):
        return None
"""
QUICK = ("--epochs", "1", "--qat-epochs", "1", "--batch", "128", "--lr", "0.01", "--calibration", "64")


def quantizing(stepbench, tmp_path, monkeypatch):
    """Returns what runs the command on the tiny model in an empty folder, and undoes what it sets in this process."""
    (tmp_path / "tiny.py").write_text(PLUGIN)
    # The command sets these for its own process, which is over then.
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")

    def run(*arguments, model="tiny", flow="kbit-4", quick=QUICK):
        return stepbench("quantize", model, "--flow", flow, "--plugin", "tiny.py", *quick, *arguments)

    threads = torch.get_num_threads()
    yield run
    torch.set_num_threads(threads)

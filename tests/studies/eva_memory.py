"""What Eva needs beside its state and the gradients while a step runs, in its largest parameters. A markdown table.

Two numbers of each: the most that `optimize` allocates at once, and by how much the peak of the whole step is above
that under SGD, where what hooks hold for `optimize` counts too. Both are exact and need no repetition.
"""

from __future__ import annotations

from bench.data.variant import Variant
from bench.plugin import Registry
from bench.run.build import Step, build, close
from bench.run.load import load
from bench.run.memory import host_peak, peak_bytes

AIM = 1.1
MODELS = ("resnet20", "autoencoder", "vit")
OPTIMIZERS = (
    "sgd", "eva", "eva-8bit", "eva-8bit-cpu", "eva-bias-gradients", "eva-inductor", "eva-eager", "eva-8bit-eager",
)  # fmt: skip
# First steps make state, tables and compiled code.
SETTLED = 4


def optimize_peak(step: Step) -> int:
    """Returns the bytes that the optimizer allocates and holds at once in a step."""
    step.zero_grad()
    step.backward(step.forward(SETTLED))
    return host_peak(step.optimize)


def peaks(known: Registry, model: str, optimizer: str) -> tuple[int, int, int]:
    """Returns the peak of `optimize`, that of the whole step, and the largest parameter, in bytes."""
    synthetic = known.get("data", "synthetic").factory()
    step = build(known, Variant.parse(f"{model}/{optimizer}/none"), data=synthetic, seed=0)
    for index in range(SETTLED):
        step.run(index)
    largest = max(parameter.numel() * parameter.element_size() for parameter in step.module.parameters())
    found = optimize_peak(step), peak_bytes(step, SETTLED + 1), largest
    close(step)
    return found


def share(size: int, largest: int) -> str:
    """Renders a size in largest parameters; what is over the aim stands out."""
    shown = f"{size / largest:.2f}"
    return f"**{shown}**" if size > AIM * largest else shown


def table(known: Registry) -> str:
    lines = [
        "| model, largest parameter | optimizer | `optimize` | of the largest | step above SGD's | of the largest |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for model in MODELS:
        found = {optimizer: peaks(known, model, optimizer) for optimizer in OPTIMIZERS}
        _, plain, largest = found["sgd"]
        for optimizer, (own, whole, _) in found.items():
            above = whole - plain
            cells = (f"{own:,} B", share(own, largest), f"{above:,} B", share(above, largest))
            lines.append(f"| {model}, {largest:,} B | {optimizer} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(load()))

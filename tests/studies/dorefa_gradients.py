"""Do gradients of few bits train a network, and do they need one without shortcuts?

A pre-activation ResNet-14 of 44,130 parameters learns the 8x8 digits with DoReFa-Net, with and without its shortcuts,
with gradients of 8, 6, 4 and 2 bits rounded on the branches or also on the sums. A seed is one split of the data, one
start and one order of batches, the same for all settings, so that differences from float are taken within seeds.

Every run is a line of `results/quantization/dorefa_gradients.jsonl`; runs that are there are not repeated. The table
is written to `dorefa_gradients.md` beside it, which keeps what stands below its last marker.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import itertools
import json
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from scipy import stats
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

from lowbit.quantization.dorefa_model import Place, flow
from lowbit.quantization.stage import Stage

RESULTS = Path(__file__).parents[2] / "results" / "quantization"
RAW, PAGE = RESULTS / "dorefa_gradients.jsonl", RESULTS / "dorefa_gradients.md"
KEPT = "<!-- what stands below is kept -->"
WIDTHS = (8, 16, 32)
TRAINING, BATCH, LR, MOMENTUM, WEIGHT_DECAY = 1347, 128, 0.1, 0.9, 5e-4
FULL = 32


class Block(nn.Module):
    """Batch norm, ReLU and a convolution, twice (He et al., arXiv 1603.05027), with its shortcut or without."""

    def __init__(self, inputs: int, outputs: int, *, shortcuts: bool) -> None:
        super().__init__()
        stride = 1 if inputs == outputs else 2
        self.norm_one, self.one = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm_two, self.two = nn.BatchNorm2d(outputs), nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.shortcuts = shortcuts
        self.project = nn.Conv2d(inputs, outputs, 1, 2, bias=False) if shortcuts and stride == 2 else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        active = functional.relu(self.norm_one(x))
        branch = self.two(functional.relu(self.norm_two(self.one(active))))
        if not self.shortcuts:
            return branch
        return branch + (x if self.project is None else self.project(active))


class PreActivationResNet14(nn.Module):
    """A stem, six blocks and a classifier for [batch, 1, 8, 8]; 44,130 parameters, 43,490 without shortcuts."""

    def __init__(self, *, shortcuts: bool) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, WIDTHS[0], 3, padding=1, bias=False)
        ends = [WIDTHS[0], *(width for width in WIDTHS for _ in range(2))]
        self.blocks = nn.Sequential(*(Block(*pair, shortcuts=shortcuts) for pair in itertools.pairwise(ends)))
        self.norm, self.classifier = nn.BatchNorm2d(WIDTHS[-1]), nn.Linear(WIDTHS[-1], 10)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.classifier(functional.relu(self.norm(self.blocks(self.stem(pictures)))).mean((2, 3)))


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One cell of the study: bits of weights, activations and gradients, and where gradients are rounded."""

    weight: int = FULL
    activation: int = FULL
    gradient: int = FULL
    shortcuts: bool = True
    place: Place = "branch"

    @property
    def is_float(self) -> bool:
        return self.weight == self.activation == self.gradient == FULL

    @property
    def bits(self) -> str:
        return "float" if self.is_float else f"{self.weight}-{self.activation}-{self.gradient}"


def settings() -> Iterator[Setting]:
    """Yields the settings: float first, then gradients alone, then all three, and their like without gradients."""
    for shortcuts in (True, False):
        yield Setting(shortcuts=shortcuts)
        places: Sequence[Place] = ("branch", "sum") if shortcuts else ("branch",)
        for place in places:
            for gradient in (8, 6, 4, 2):
                yield Setting(gradient=gradient, shortcuts=shortcuts, place=place)
        for weight, activation, gradient in ((4, 4, 4), (1, 2, 6)):
            yield Setting(weight=weight, activation=activation, shortcuts=shortcuts)
            for place in places:
                yield Setting(weight=weight, activation=activation, gradient=gradient, shortcuts=shortcuts, place=place)


def digits(seed: int) -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    """Returns pictures and labels to train with, and to test with."""
    bunch = load_digits()
    pictures = torch.from_numpy(bunch.images).to(torch.float32).unsqueeze(1)
    pictures = (pictures - pictures.mean()) / pictures.std()
    labels = torch.from_numpy(bunch.target).to(torch.int64)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    training, test = order[:TRAINING], order[TRAINING:]
    return (pictures[training], labels[training]), (pictures[test], labels[test])


def run(setting: Setting, seed: int, epochs: int) -> dict[str, object]:
    """Trains once, and returns how many of the test pictures are classified right and the loss on them."""
    (pictures, labels), (test, truth) = digits(seed)
    torch.manual_seed(seed)
    model: nn.Module = PreActivationResNet14(shortcuts=setting.shortcuts)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    if not setting.is_float:
        # Seeds of noise lie far apart, since every quantizer of a model takes the next one.
        chosen = flow(setting.weight, setting.activation, setting.gradient, place=setting.place, seed=1000 * seed)
        model = chosen.prepare(model, [pictures[:BATCH]])
        chosen.enter(model, Stage.QAT)
    order = torch.Generator().manual_seed(seed)
    steps = len(labels) // BATCH
    optimizer = torch.optim.SGD(model.parameters(), LR, MOMENTUM, weight_decay=WEIGHT_DECAY, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=epochs * steps)
    for _ in range(epochs):
        for batch in torch.randperm(len(labels), generator=order)[: steps * BATCH].view(steps, BATCH):
            optimizer.zero_grad()
            functional.cross_entropy(model(pictures[batch]), labels[batch]).backward()
            optimizer.step()
            schedule.step()
    model.eval() if setting.is_float else chosen.enter(model, Stage.VALIDATION)
    with torch.no_grad():
        logits = model(test)
    return {
        **asdict(setting),
        "seed": seed,
        "epochs": epochs,
        "correct": int((logits.argmax(1) == truth).sum()),
        "of": len(truth),
        "loss": float(functional.cross_entropy(logits, truth)),
        "parameters": parameters,
        "torch": torch.__version__,
    }


def read() -> dict[tuple[Setting, int, int], dict]:
    """Returns the runs of the file, by setting, seed and number of epochs."""
    found = {}
    for line in RAW.read_text().splitlines() if RAW.exists() else []:
        entry = json.loads(line)
        setting = Setting(**{name: entry[name] for name in asdict(Setting())})
        found[setting, entry["seed"], entry["epochs"]] = entry
    return found


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Returns the mean and the half width of its 95 % interval by Student's t."""
    quantile = float(stats.t.ppf(0.975, len(values) - 1))
    return statistics.fmean(values), quantile * statistics.stdev(values) / math.sqrt(len(values))


def accuracies(seeds: int, epochs: int) -> dict[tuple[Setting, int], float]:
    """Returns the accuracy, in percent, of each setting and of the first seeds, after this many epochs."""
    return {
        (setting, seed): 100 * entry["correct"] / entry["of"]
        for (setting, seed, length), entry in read().items()
        if length == epochs and seed < seeds
    }


def difference(percent: dict[tuple[Setting, int], float], setting: Setting, other: Setting) -> str:
    """Returns the difference of two settings within seeds, with its interval."""
    mean, half = interval([percent[setting, seed] - percent[other, seed] for each, seed in percent if each == setting])
    return f"{mean:+.2f} ± {half:.2f}"


def table(percent: dict[tuple[Setting, int], float]) -> str:
    """Returns a row for each setting: its accuracy, and what it gains or loses."""
    lines = [
        "| W-A-G bits | shortcuts | gradients rounded on | accuracy % | worst seed | less float | less G float |",
        "|---|---|---|---|---|---|---|",
    ]
    for setting in settings():
        values = [value for (each, _), value in percent.items() if each == setting]
        mean, half = interval(values)
        base = Setting(shortcuts=setting.shortcuts)
        same = replace(setting, gradient=FULL, place="branch")
        rounds = setting.gradient != FULL
        lines.append(
            f"| {setting.bits} | {'with' if setting.shortcuts else 'without'} "
            f"| {('branches and sums' if setting.place == 'sum' else 'branches') if rounds else ''} "
            f"| {mean:.2f} ± {half:.2f} | {min(values):.2f} "
            f"| {'' if setting.is_float else difference(percent, setting, base)} "
            f"| {difference(percent, setting, same) if rounds and same != base else ''} |"
        )
    return "\n".join(lines)


def comparisons(percent: dict[tuple[Setting, int], float]) -> str:
    """Returns what shortcuts are worth at each number of bits, and what rounding on their sums costs."""
    lines = ["| W-A-G bits | with shortcuts less without | sums less branches |", "|---|---|---|"]
    for setting in settings():
        if setting.shortcuts and setting.place == "branch":
            on_sums = replace(setting, place="sum")
            lines.append(
                f"| {setting.bits} | {difference(percent, setting, replace(setting, shortcuts=False))} "
                f"| {'' if setting.gradient == FULL else difference(percent, on_sums, setting)} |"
            )
    return "\n".join(lines)


def write(seeds: int, epochs: int) -> None:
    """Writes the page anew down to the marker, and keeps what stands below it."""
    percent = accuracies(seeds, epochs)
    kept = PAGE.read_text().partition(KEPT)[2] if PAGE.exists() else "\n"
    PAGE.write_text(
        "# Gradients of few bits, with shortcuts and without\n\n"
        "A pre-activation ResNet-14 (44,130 parameters; 43,490 without shortcuts) learns the 8x8 digits: 1,347 to\n"
        f"train, 450 to test; {epochs} epochs of SGD with Nesterov momentum, batch {BATCH}; DoReFa-Net is that of\n"
        f"`lowbit/quantization/dorefa_model.py`. {seeds} seeds, each with a split, a start and an order of its own.\n"
        "Shown are means over seeds with 95 % intervals by Student's t; differences are within seeds, from float\n"
        "and from the same weights and activations with gradients in float. The first and the last layer stay in\n"
        "float. Written by `tests/studies/dorefa_gradients.py` from `dorefa_gradients.jsonl`.\n\n"
        f"{table(percent)}\n\nThe same runs, compared within seeds:\n\n{comparisons(percent)}\n\n{KEPT}{kept}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=6, help="runs of each setting (default 6, about 13 CPU-minutes)")
    parser.add_argument("--epochs", type=int, default=10)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    RESULTS.mkdir(parents=True, exist_ok=True)
    done = read()
    for seed in range(arguments.seeds):
        for setting in settings():
            if (setting, seed, arguments.epochs) in done:
                continue
            entry = run(setting, seed, arguments.epochs)
            with RAW.open("a") as stream:
                stream.write(json.dumps(entry) + "\n")
            print(f"seed {seed}  {setting.bits:10} shortcuts={setting.shortcuts!s:5} {setting.place:6}", end="  ")
            print(f"{100 * entry['correct'] / entry['of']:.2f} %", flush=True)
    write(arguments.seeds, arguments.epochs)
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()

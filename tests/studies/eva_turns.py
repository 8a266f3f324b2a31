"""How long steps of Eva's forms take beside SGD, each other and the published algorithm, step by step in turn."""

from __future__ import annotations

from pathlib import Path

from bench.data.metric import STEP
from tests.studies import turns

STORE = Path(__file__).parents[2] / "results/eva/turns.json"
REFERENCE = str(Path(__file__).with_name("eva_reference.py"))
MODELS, BATCHES = ("resnet20", "autoencoder", "vit"), (1, 32)
OPTIMIZERS = (
    "sgd", "eva", "eva-8bit", "eva-8bit-cpu", "eva-bias-gradients", "eva-inductor", "eva-eager", "eva-8bit-eager",
    "eva-reference",
)  # fmt: skip
# (heading, optimizer, what it is compared with, phase or the whole step)
COLUMNS = (
    ("eva / sgd", "eva", "sgd", STEP),
    ("eva-8bit / eva", "eva-8bit", "eva", STEP),
    ("eva-8bit-cpu / eva", "eva-8bit-cpu", "eva", STEP),
    ("reference / eva, optimize", "eva-reference", "eva", "optimize"),
    ("eva-bias-gradients / eva", "eva-bias-gradients", "eva", STEP),
    ("eva-inductor / sgd", "eva-inductor", "sgd", STEP),
    ("eva-eager / sgd", "eva-eager", "sgd", STEP),
    ("eva-8bit-eager / eva-eager", "eva-8bit-eager", "eva-eager", STEP),
)


def name(model: str, optimizer: str, batch: int) -> str:
    return f"{model}/{optimizer}/none@batch={batch}"


def table(runs: list[turns.Run]) -> str:
    lines = ["| model, batch | " + " | ".join(title for title, *_ in COLUMNS) + " |", "|---|" + "---:|" * len(COLUMNS)]
    for model in MODELS:
        for batch in BATCHES:
            cells = [
                turns.ratio(runs, name(model, ours, batch), name(model, theirs, batch), phase)
                for _, ours, theirs, phase in COLUMNS
            ]
            lines.append(f"| {model}, {batch} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    options = turns.options(str(__doc__), workers=5, seconds=8)
    if not options.summary:
        runs = []
        for model in MODELS:
            for batch in BATCHES:
                variants = [name(model, optimizer, batch) for optimizer in OPTIMIZERS]
                runs += turns.processes(variants, [REFERENCE], options.seconds, options.workers)
        turns.write(STORE, runs)
    print(table(turns.read(STORE)))


if __name__ == "__main__":
    main()

"""How many times faster int8 is than float, eager and compiled, at batch 32 and one thread, step by step in turn."""

from __future__ import annotations

from pathlib import Path

from tests.studies import turns

STORE = Path(__file__).parents[2] / "results/quantization/turns.json"
AT, COMPILED = "@batch=32", "@batch=32,compiled=true"
# What is compared with which float.
PAIRS = (
    *((f"none/fx-static-{engine}{AT}", f"none/none{AT}") for engine in ("x86", "onednn", "fbgemm")),
    (f"none/pt2e-static{COMPILED}", f"none/none{COMPILED}"),
)
MODELS = ("resnet20", "mobilenetv2")


def table(runs: list[turns.Run]) -> str:
    lines = ["| | float / int8 |", "|---|---:|"]
    for model in MODELS:
        for ours, theirs in PAIRS:
            found = turns.ratio(runs, f"{model}/{theirs}", f"{model}/{ours}")
            lines.append(f"| {model}/{ours} | {found} |")
    return "\n".join(lines)


def main() -> None:
    options = turns.options(str(__doc__), workers=5, seconds=12)
    if not options.summary:
        runs = []
        for model in MODELS:
            variants = dict.fromkeys(f"{model}/{each}" for pair in PAIRS for each in pair)
            runs += turns.processes(list(variants), (), options.seconds, options.workers)
        turns.write(STORE, runs)
    print(table(turns.read(STORE)))


if __name__ == "__main__":
    main()

"""How many times faster than float the quantized flows are, by engine, batch and threads, as stored.

Records are given as files or folders. Each cell is float's time over the quantized one, paired by worker and round: of
a flow of torch's beside the plain float model, of PT2E compiled beside the compiled one. The last column has the
fastest quantized row beside the fastest float one, whatever either is. Written as a markdown table.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from bench.analyze.ratio import ratio
from bench.analyze.sample import summarize
from bench.data.measurement import Measurement
from bench.data.metric import STEP
from bench.data.variant import FLAVOR, NONE, Variant
from bench.store.jsonl import scan

STORE = Path(__file__).parents[2] / "results/quantization/records"
ENGINES = ("x86", "onednn", "fbgemm", "qnnpack")
PT2E = "pt2e-static"
Group = dict[Variant, Measurement]


def newest(paths: list[Path]) -> dict[tuple[str, int, int], Group]:
    """Returns measurements by model, batch and threads."""
    records, _ = scan(paths)
    found: dict[tuple[str, int, int], Group] = {}
    for record in sorted(records, key=lambda record: record.created):
        variant = record.measurement.variant
        if not record.measurement.failure and variant.optimizer == NONE:
            group = found.setdefault((variant.model, variant.batch, variant.threads), {})
            group[variant] = record.measurement
    return found


def times(of: Measurement | None, beside: Measurement | None) -> str:
    """Renders how many times faster the first is, with its interval."""
    found = None if of is None or beside is None else ratio(beside, of, STEP)
    if found is None:
        return "—"
    return f"{found.center:.2f}" + ("" if found.low is None else f" ({found.low:.2f} to {found.high:.2f})")


def step_s(measurement: Measurement) -> float:
    summary = summarize(measurement.replicates, STEP)
    assert summary is not None
    return summary.center


def named(variant: Variant) -> str:
    """Returns what is special about a variant beside its model, batch and threads."""
    axes = [variant.quantization] * (variant.quantization != NONE)
    axes += [
        str(getattr(variant, axis)) for axis in ("dtype", "memory_format") if getattr(variant, axis) != FLAVOR[axis]
    ]
    return " ".join([*axes, *["compiled"] * variant.compiled]) or "plain"


def row(key: tuple[str, int, int], group: Group) -> str:
    model, batch, threads = key
    plain = replace(next(iter(group)), quantization=NONE, **FLAVOR)
    compiled = replace(plain, compiled=True)
    cells = [
        times(group.get(replace(plain, quantization=f"fx-static-{engine}")), group.get(plain)) for engine in ENGINES
    ]
    cells.append(times(group.get(replace(compiled, quantization=PT2E)), group.get(compiled)))
    fastest = [
        min((one for one in group if (one.quantization == NONE) is is_float), key=lambda one: step_s(group[one]))
        for is_float in (False, True)
    ]
    best = f"{named(fastest[0])} / {named(fastest[1])}: {times(*(group[one] for one in fastest))}"
    return " | ".join([f"| {model}, {batch}, {threads}", f"{1e3 * step_s(group[plain]):.3g} ms", *cells, best]) + " |"


def table(found: dict[tuple[str, int, int], Group]) -> str:
    heads = ["model, batch, threads", "float", *ENGINES, "PT2E compiled / float compiled", "best / best float"]
    lines = ["| " + " | ".join(heads) + " |", "|---|" + "---:|" * (len(heads) - 1)]
    return "\n".join(lines + [row(key, group) for key, group in sorted(found.items())])


if __name__ == "__main__":
    print(table(newest([Path(argument) for argument in sys.argv[1:]] or [STORE])))

"""The operations of a traced step as a table and as a document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from rich import box
from rich.table import Table
from rich.text import Text

from bench.data.metric import PHASES
from bench.data.profile import TracedOperation
from bench.report import units
from bench.report.layout import to_string
from bench.report.markdown import escape
from bench.report.plain import one_line

# History (raise the number when a field changes its name or meaning):
#   1  first schema
SCHEMA = 1
HEADS = ("operation", "calls a step", "itself", "with what it calls", "on the device")
MOST_ROWS = 50
_MARKS = ("zero_grad", *PHASES)


@dataclass(frozen=True, kw_only=True)
class Traced:
    """What torch's profiler saw of some steps of a variant."""

    variant: str
    steps: int
    operations: tuple[TracedOperation, ...]


def ordered(found: Traced) -> list[TracedOperation]:
    """Returns the operations, the dearest by itself first; phases are none."""
    own = [one for one in found.operations if one.name not in _MARKS]
    return sorted(own, key=lambda one: -(one.self_seconds + one.device_seconds))


def phases(found: Traced) -> str:
    """Returns how long each phase took under the profiler."""
    total = {one.name: one.total_seconds for one in found.operations if one.name in _MARKS}
    return ", ".join(f"{name} {units.seconds(total[name])}" for name in _MARKS if name in total)


def terminal(found: Traced, *, top: int, width: int, color: bool) -> str:
    """Returns the dearest operations as a person at a terminal looks at them."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    heads = _heads(found)
    table.add_column(heads[0], overflow="fold")
    for head in heads[1:]:
        table.add_column(head, justify="right")
    for one in ordered(found)[:top]:
        name, *figures = _cells(one, heads)
        table.add_row(Text(name), *figures)
    counted = f"{len(ordered(found))} operations, times are a step's, mean of {found.steps}; {phases(found)}"
    title = f"{one_line(found.variant)}: {counted}"
    return to_string([Text(title), table], color=color, width=width, fold=True)


def markdown(found: Traced) -> str:
    """Returns the dearest operations for a pull request."""
    heads = _heads(found)
    lines = [f"| {' | '.join(heads)} |", f"|---|{'---:|' * (len(heads) - 1)}"]
    for one in ordered(found)[:MOST_ROWS]:
        name, *figures = _cells(one, heads)
        lines.append(f"| {' | '.join([escape(name), *figures])} |")
    return "\n".join(lines)


def document(found: Traced) -> str:
    """Returns `{"schema", "kind": "operations", ...}` as indented JSON; times in seconds a step."""
    content = {"schema": SCHEMA, "kind": "operations", "variant": found.variant, "steps": found.steps}
    rows = {"operations": sorted(found.operations, key=lambda one: -one.self_seconds)}
    return msgspec.json.format(msgspec.json.encode(content | rows), indent=2).decode()


def _heads(found: Traced) -> Sequence[str]:
    return HEADS if any(one.device_seconds for one in found.operations) else HEADS[:-1]


def _cells(one: TracedOperation, heads: Sequence[str]) -> list[str]:
    figures = (one.self_seconds, one.total_seconds, one.device_seconds)
    return [one_line(one.name), units.significant(one.calls), *map(units.seconds, figures)][: len(heads)]

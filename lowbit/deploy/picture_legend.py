"""The heading of a picture: the model's name, what colours mean, and what time is in no box."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

from lowbit.deploy.picture_nodes import Graph
from lowbit.deploy.picture_style import MARGIN, NAMES, color_class
from lowbit.deploy.words import number

_LINE = 20.0
_LETTER = 6.0


@dataclass(frozen=True, kw_only=True)
class Legend:
    """An SVG fragment from the upper left corner, and its size."""

    svg: str
    width: float
    height: float


def legend(found: Graph, times: Mapping[str, float], shares: Mapping[int, float], name: str) -> Legend:
    """Returns the heading of a picture; `shares` are those of boxes, of all times."""
    layers = sum(node.role == "layer" for node in found.nodes)
    entries = [(f'class="fill {kind}"', NAMES[kind]) for kind in _kinds(found)]
    if times:
        most = max(shares.values(), default=0.0)
        entries = [(f'class="edge-{kind}"', NAMES[kind]) for kind in _kinds(found)]
        entries.append(('class="fill hot" style="fill-opacity:.56"', f"share of time, up to {100 * most:.1f} %"))
    if any(node.is_quantized for node in found.nodes):
        entries.append(('style="fill:var(--region);stroke:var(--rim);stroke-width:1.5"', "quantized region"))
    lines = [f"{layers} layers; {_whole(found)}"]
    if times:
        left = 1 - sum(shares.values())
        lines.append(
            f"{number(1e3 * sum(times.values()))} ms in all layers"
            + (f"; {100 * left:.1f} % of it in places that stand in several boxes" if left > 0.0005 else "")
        )
    parts = [f'<text class="heading" x="{MARGIN}" y="{MARGIN + 8}">{escape(name)}</text>']
    y = MARGIN + 8
    for line in lines:
        y += _LINE - 3
        parts.append(f'<text class="small" x="{MARGIN}" y="{y}">{escape(line)}</text>')
    for attributes, text in entries:
        y += _LINE
        parts.append(f'<rect x="{MARGIN}" y="{y - 10}" width="20" height="12" rx="3" {attributes}/>')
        parts.append(f'<text class="small" x="{MARGIN + 28}" y="{y}">{escape(text)}</text>')
    longest = max(len(text) for text in (name + "    ", *lines, *("     " + text for _, text in entries)))
    return Legend(svg="\n".join(parts), width=2 * MARGIN + _LETTER * longest, height=y)


def _kinds(found: Graph) -> list[str]:
    there = {color_class(node.precision) for node in found.nodes if node.role in {"layer", "between"}}
    return [name for name in NAMES if name in there]


def _whole(found: Graph) -> str:
    operations = sum(node.operations for node in found.nodes)
    weights = sum(size for node in found.nodes for _, size in node.weights)
    return f"{number(operations / 1e6)} Mop a run, weights of {number(weights / 1e3)} kB"

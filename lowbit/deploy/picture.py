"""A model's graph as an SVG: one box for each layer, coloured by its share of the time, or by its numbers' dtype."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from lowbit.deploy import picture_legend
from lowbit.deploy.layout import Layout, Point, Spacing, layout
from lowbit.deploy.picture_nodes import Graph, Node, graph
from lowbit.deploy.picture_style import MARGIN, STYLE, color_class
from lowbit.deploy.picture_words import clipped, details, shape_text, title
from lowbit.deploy.trace import Trace

_ROLES = {"input": 24.0, "output": 24.0, "between": 24.0, "layer": 40.0}
# Of text: the mean width of a letter of each size, of which a box must hold the longest line.
_LETTER, _SMALL_LETTER, _PADDING = 6.9, 5.9, 16.0
_NARROWEST, _WIDEST = 150.0, 300.0
# How far the outline of a quantized region stands from its boxes, so far that boxes below each other share one, and how
# thick it is.
_REGION, _OUTLINE = 13.2, 1.5
# Points of an edge between neighbouring ranks.
_SHORT = 3


def graph_svg(trace: Trace, times: Mapping[str, float] | None = None, *, name: str = "model") -> str:
    """Returns the SVG of a traced model, which needs no script and no other file, and is read on light and on dark.

    `times` are seconds by place of the trace. A place whose operations stand in several boxes is given to none of them;
    the legend says how much that is.
    """
    found = graph(trace)
    shares = _shares(found, times or {})
    texts = [_texts(node, shares.get(index)) for index, node in enumerate(found.nodes)]
    placed = layout(_sizes(found.nodes, texts), found.edges, Spacing())
    most, whole = max(shares.values(), default=0.0), sum((times or {}).values())
    legend = picture_legend.legend(found, times or {}, shares, name)
    width = max(placed.width + 2 * MARGIN, legend.width)
    left, top = (width - placed.width) / 2, legend.height + MARGIN
    height = top + placed.height + MARGIN
    boxes = (
        _box(node, index, placed, text, shares.get(index), most, whole)
        for index, (node, text) in enumerate(zip(found.nodes, texts, strict=True))
    )
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="model-graph" width="{width:.0f}" height="{height:.0f}" '
            f'viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(name)}: graph of its layers">'
        ),
        f"<style>{STYLE}</style>",
        f'<rect class="paper" width="{width:.0f}" height="{height:.0f}"/>',
        legend.svg,
        f'<g transform="translate({left:.1f} {top:.1f})">',
        *_regions(found, placed),
        *(f'<path class="edge" d="{_path(route)}"/>' for route in placed.routes),
        *(_head(route[-1]) for route in placed.routes),
        *boxes,
        "</g></svg>",
    ]
    return "\n".join(parts)


def _shares(found: Graph, times: Mapping[str, float]) -> dict[int, float]:
    """Returns the part of all times that each box has, of places that stand in no other."""
    whole = sum(times.values())
    if not whole:
        return {}
    counts: dict[str, int] = {}
    for node in found.nodes:
        for place in node.places:
            counts[place] = counts.get(place, 0) + 1
    own = {
        index: [times[place] for place in node.places if place in times and counts[place] == 1]
        for index, node in enumerate(found.nodes)
    }
    return {index: sum(given) / whole for index, given in own.items() if given}


def _texts(node: Node, share: float | None) -> tuple[str, str, str]:
    """Returns the two lines of a box, and what stands at its right."""
    if node.role in {"input", "output"}:
        return f"{node.label} {shape_text(node.shape)} {node.dtype}", "", ""
    right = "" if share is None else f"{100 * share:.1f} %"
    return clipped(node.label, keeps_end=node.role == "layer"), details(node), right


def _sizes(nodes: Sequence[Node], texts: Sequence[tuple[str, str, str]]) -> list[Point]:
    """Returns the sizes of boxes: those of layers are all as wide as the widest."""
    widths = [
        max(_LETTER * len(first + "  " + right if right else first), _SMALL_LETTER * len(second)) + _PADDING
        for first, second, right in texts
    ]
    layers = [width for node, width in zip(nodes, widths, strict=True) if node.role == "layer"]
    widest = min(max(layers, default=_NARROWEST), _WIDEST)
    return [
        (max(widest, _NARROWEST) if node.role == "layer" else width, _ROLES[node.role])
        for node, width in zip(nodes, widths, strict=True)
    ]


def _box(
    node: Node,
    index: int,
    placed: Layout,
    texts: tuple[str, str, str],
    share: float | None,
    most: float,
    whole: float,
) -> str:
    (x, y), (first, second, right) = placed.corners[index], texts
    width, height = placed.sizes[index]
    role = "pill" if node.role in {"input", "output"} else node.role
    kind = "hot" if whole and role != "pill" else color_class(node.precision)
    strength = f' style="fill-opacity:{0.06 + 0.5 * (share or 0) / most:.3f}"' if kind == "hot" and most else ""
    middle = width / 2
    lines = [f'<text class="name" x="{middle:.1f}" y="16" text-anchor="middle">{escape(first)}</text>']
    if role == "layer":
        lines = [
            f'<text class="name" x="8" y="17">{escape(first)}</text>',
            f'<text class="small" x="8" y="31.5">{escape(second)}</text>',
        ]
    if right:
        anchor = f'x="{width - 7:.1f}" y="{17 if role == "layer" else 16}" text-anchor="end"'
        lines.append(f'<text class="share" {anchor}>{right}</text>')
        if role != "layer":
            lines[0] = f'<text class="name" x="8" y="16">{escape(first)}</text>'
    round_ = 12 if role != "layer" else 5
    return "".join(
        [
            f'<g class="node {role}" transform="translate({x:.1f} {y:.1f})"><title>',
            escape(title(node, share, whole)),
            f'</title><rect class="base" width="{width:.1f}" height="{height:.1f}" rx="{round_}"/>',
            f'<rect class="fill {kind}" width="{width:.1f}" height="{height:.1f}" rx="{round_}"{strength}/>',
            *([f'<rect class="edge-{color_class(node.precision)}" width="4" height="{height:.1f}" rx="2"/>']
              if role == "layer" else []),
            *lines,
            "</g>",
        ]
    )  # fmt: skip


def _regions(found: Graph, placed: Layout) -> Iterable[str]:
    """Draws each region of quantized boxes: boxes and short edges thickly, and again less so; the rim is left."""
    inside = [index for index, node in enumerate(found.nodes) if node.is_quantized]
    if not inside:
        return
    edges = [
        _path(route)
        for (start, end), route in zip(found.edges, placed.routes, strict=True)
        if len(route) <= _SHORT and found.nodes[start].is_quantized and found.nodes[end].is_quantized
    ]
    for kind, out in (("rim", _REGION + _OUTLINE), ("region", _REGION)):
        yield f'<g class="{kind}">'
        for index in inside:
            (x, y), (width, height) = placed.corners[index], placed.sizes[index]
            yield (
                f'<rect x="{x - out:.1f}" y="{y - out:.1f}" width="{width + 2 * out:.1f}" '
                f'height="{height + 2 * out:.1f}" rx="5"/>'
            )
        yield from (f'<path d="{path}" stroke-width="{2 * out:.1f}"/>' for path in edges)
        yield "</g>"


def _path(route: Sequence[Point]) -> str:
    """Returns a curve through the points of an edge, straight down at each of them."""
    (x, y), *rest = route
    words = [f"M{x:.1f} {y:.1f}"]
    for other_x, other_y in rest:
        middle = (y + other_y) / 2
        words.append(
            f"V{other_y:.1f}" if abs(other_x - x) < 0.05
            else f"C{x:.1f} {middle:.1f} {other_x:.1f} {middle:.1f} {other_x:.1f} {other_y:.1f}"
        )  # fmt: skip
        x, y = other_x, other_y
    return " ".join(words)


def _head(point: Point) -> str:
    x, y = point
    return f'<path class="head" d="M{x:.1f} {y:.1f}l-3.5 -6h7z"/>'

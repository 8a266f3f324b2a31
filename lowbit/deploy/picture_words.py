"""What stands in the boxes of a picture, and what is shown when a pointer rests on one."""

from __future__ import annotations

from lowbit.deploy.picture_nodes import Node
from lowbit.deploy.words import number

# As many letters fit into the widest box.
LONGEST = 44
_STEPS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def details(node: Node) -> str:
    """Returns the second line of a layer's box: its kinds, and the shape of its output."""
    shape = f" → {shape_text(node.shape)}"
    return clipped(" · ".join(node.kinds), LONGEST - len(shape)) + shape


def title(node: Node, share: float | None, whole: float) -> str:
    """Returns what is shown of a box: layers, shape, dtype, operations, bytes, and its share of the whole time."""
    if node.role in {"input", "output"}:
        return f"{node.label}: {node.dtype} {shape_text(node.shape)}"
    lines = [", ".join(place or "(model)" for place in node.places), ", ".join(node.kinds)]
    lines.append(f"gives {node.dtype} {shape_text(node.shape)}, computes in {node.precision}")
    if node.operations:
        lines.append(f"{_scaled(node.operations)}op")
    weights = ", ".join(f"{_scaled(size)}B {dtype}" for dtype, size in node.weights)
    lines.append(f"loads {_scaled(node.loaded)}B, stores {_scaled(node.stored)}B")
    lines += [f"weights: {weights}"] if weights else []
    lines.append(", ".join(name if count == 1 else f"{count} x {name}" for name, count in node.calls))
    if share is not None:
        lines.append(f"{number(1e3 * share * whole)} ms, {100 * share:.1f} % of all layers")
    elif whole:
        lines.append("its time is not known apart from that of others")
    return "\n".join(lines)


def shape_text(shape: tuple[int, ...]) -> str:
    """Returns a shape as in 32x3x224x224; a scalar has none."""
    return "x".join(map(str, shape)) or "scalar"


def clipped(text: str, longest: int = LONGEST, *, keeps_end: bool = False) -> str:
    """Returns a text that fits into a box; of a path the end tells most."""
    if len(text) <= longest:
        return text
    return f"…{text[1 - longest :]}" if keeps_end else f"{text[: longest - 1]}…"


def _scaled(value: float) -> str:
    unit, name = next(((unit, name) for unit, name in _STEPS if value >= unit), (1.0, ""))
    return f"{number(value / unit) if name else value} {name}"

"""The roofline of a machine as a picture, with each layer as a dot under it."""

from __future__ import annotations

import math
from html import escape

from lowbit.deploy.performance import Performance, Row
from lowbit.deploy.words import number

WIDTH, HEIGHT = 720, 360
LEFT, RIGHT, TOP, BOTTOM = 60, 120, 28, 40
# Layers of a thousandth of the time are dots of this radius; one that takes all of it has the largest.
SMALLEST, LARGEST = 2.5, 14.0


def svg(found: Performance) -> str:
    """Returns an SVG: operations by byte to the right, operations a second upwards, both logarithmic.

    Layers without operations, and those without a time, have no place in it. Hovering over a dot tells the layer.
    """
    dots = [(row, intensity, rate) for row in found.rows for intensity, rate in [_point(row)] if intensity and rate]
    peaks = list(found.machine.peak.values())
    ridges = [peak / found.machine.bandwidth for peak in peaks]
    axes = _Axes([intensity for _, intensity, _ in dots] + ridges, [rate for *_, rate in dots] + peaks)
    parts = [*_grid(axes), *_roofs(found, axes)]
    parts += [_dot(row, axes.x(intensity), axes.y(rate)) for row, intensity, rate in dots]
    label = f"roofline of {escape(found.name)}"
    return (
        f'<svg class="roofline" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" aria-label="{label}">'
        f"{''.join(parts)}</svg>"
    )


class _Axes:
    def __init__(self, intensities: list[float], rates: list[float]) -> None:
        self.decades = [(math.floor(math.log10(min(each))), math.ceil(math.log10(max(each)) + 0.1))
                        for each in (intensities or [1.0], rates or [1.0])]  # fmt: skip

    def x(self, intensity: float) -> float:
        return LEFT + self._part(intensity, 0) * (WIDTH - LEFT - RIGHT)

    def y(self, rate: float) -> float:
        return HEIGHT - BOTTOM - self._part(rate, 1) * (HEIGHT - TOP - BOTTOM)

    def _part(self, value: float, axis: int) -> float:
        low, high = self.decades[axis]
        return (math.log10(value) - low) / (high - low)


def _point(row: Row) -> tuple[float | None, float | None]:
    if row.time is None or not row.time.center:
        return None, None
    return row.cost.intensity, row.cost.operations / row.time.center


def _grid(axes: _Axes) -> list[str]:
    made = []
    for power in range(axes.decades[0][0], axes.decades[0][1] + 1):
        x = axes.x(10.0**power)
        made.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        made.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{10.0**power:g}</text>')
    for power in range(axes.decades[1][0], axes.decades[1][1] + 1):
        y = axes.y(10.0**power)
        made.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        made.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{10.0 ** (power - 9):g}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    made.append(f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">operations by byte</text>')
    made.append(f'<text x="{LEFT - 6}" y="{TOP - 14}" text-anchor="end">Gop/s</text>')
    return made


def _roofs(found: Performance, axes: _Axes) -> list[str]:
    made = []
    left, right = (10.0**power for power in axes.decades[0])
    for dtype, peak in sorted(found.machine.peak.items(), key=lambda item: -item[1]):
        ridge = min(max(peak / found.machine.bandwidth, left), right)
        # Below the lowest decade the slope is not drawn.
        start = max(left, 10.0 ** axes.decades[1][0] / found.machine.bandwidth)
        points = [
            (start, min(peak, start * found.machine.bandwidth)),
            (ridge, min(peak, ridge * found.machine.bandwidth)),
        ]
        points.append((right, min(peak, right * found.machine.bandwidth)))
        path = " ".join(f"{axes.x(x):.1f},{axes.y(y):.1f}" for x, y in points)
        made.append(f'<polyline class="roof" points="{path}"/>')
        height = axes.y(points[-1][1]) + 4
        made.append(f'<text x="{WIDTH - RIGHT + 5}" y="{height:.1f}">{escape(dtype)} {number(peak / 1e9)}</text>')
    return made


def _dot(row: Row, x: float, y: float) -> str:
    share = min(1.0, row.share or 0.0)
    radius = SMALLEST + (LARGEST - SMALLEST) * math.sqrt(share)
    by = row.bound.by if row.bound else "memory"
    reached = "" if row.reached is None else f", {100 * row.reached:.0f} % of the bound ({by})"
    seconds = 0.0 if row.time is None else row.time.center
    title = escape(f"{row.cost.name}: {1e3 * seconds:.3f} ms, {100 * share:.1f} % of the whole{reached}")
    return f'<circle class="{by}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"><title>{title}</title></circle>'

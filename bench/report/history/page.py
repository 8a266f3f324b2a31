"""A history as a page: a plot for each series, its levels and the commits between which it changed."""

from __future__ import annotations

import math
from typing import Any

import jinja2
from markupsafe import Markup, escape

from bench.analyze.series import History, Point, Series
from bench.report.history import words
from bench.report.plain import one_line, plural

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 720, 170, 110, 10, 20


def render(history: History) -> str:
    """Returns one self-contained page: nothing is fetched, and names of others are escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("bench.report"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    number = {id(series): place for place, series in enumerate(history.series)}
    return environment.get_template("history.html").render(
        title=words.title(history),
        changes=[
            {
                "target": number[id(series)],
                "kind": words.kind(series, change),
                "text": words.sentence(series, change),
                "command": command if change is changes[-1][1] else "",
            }
            for command, changes in words.by_command(history).items()
            for series, change in changes
        ],
        groups=[
            {
                "heading": words.heading(group),
                "series": [_series(one, number[id(one)]) for one in group.series if words.shown(one)],
            }
            for group in history.groups
        ],
        notes=words.notes(history),
    )


def _series(series: Series, number: int) -> dict[str, Any]:
    return {
        "number": number,
        "name": words.name(series),
        "metric": series.metric,
        "figures": _figures(series),
        "kind": words.kind(series, *series.changes),
        "picture": picture(series),
    }


def _figures(series: Series) -> str:
    """Returns the figures of a series as a sentence."""
    now, since, noise = words.figures(series)
    first = f"the first of {plural(len(series.points), 'commit')}"
    if series.levels is None:
        return f"{now} now, {f'{since} at' if since else 'as at'} {first}{'; exact' if noise == 'exact' else ''}"
    return f"{now} now, {since or 'unchanged'} since {first}; noise {noise}"


def picture(series: Series) -> Markup:
    """Returns an SVG: a dot a commit with its interval, a line a level, a band where a change lies."""
    points, levels = series.points, series.levels
    bounds = [bound for point in points for bound in (point.low, point.high) if bound is not None]
    # One wild interval must not press everything else onto a line.
    values = sorted([point.value for point in points])
    middle = values[len(values) // 2]
    inside = [bound for bound in bounds if middle / 1.5 < bound < middle * 1.5]
    low, high = min(values + inside), max(values + inside)
    margin = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
    low, high = low - margin, high + margin

    def x(place: float) -> float:
        return round(LEFT + (place + 0.5) / len(points) * (WIDTH - LEFT - 10), 1)

    def y(value: float) -> float:
        clipped = max(low, min(high, value))
        return round(HEIGHT - BOTTOM - (clipped - low) / (high - low) * (HEIGHT - BOTTOM - TOP), 1)

    place = {point.commit: index for index, point in enumerate(points)}
    parts = []
    for change in series.changes:
        start, end = x(place.get(change.before.commit, 0)), x(place[change.after.commit])
        parts.append(
            f'<rect class="{words.kind(series, change)} change" x="{start}" y="{TOP}" width="{round(end - start, 1)}" '
            f'height="{HEIGHT - BOTTOM - TOP}"><title>{escape(words.sentence(series, change))}</title></rect>'
        )
    parts += [
        f'<line class="axis" x1="{LEFT}" x2="{WIDTH - 10}" y1="{y(value)}" y2="{y(value)}"/>'
        f'<text x="{LEFT - 6}" y="{y(value) + 4}" text-anchor="end">{escape(words.value(series, value))}</text>'
        for value in (low + margin, high - margin)
    ]
    if levels is not None:
        edges = [0, *(step.index for step in levels.steps), len(points)]
        parts += [
            f'<line class="level" x1="{x(start - 0.5)}" x2="{x(end - 0.5)}" y1="{y(level)}" y2="{y(level)}"/>'
            for start, end, level in zip(edges, edges[1:], levels.levels, strict=False)
        ]
    for index, point in enumerate(points):
        if point.low is not None and point.high is not None:
            parts.append(
                f'<line class="interval" x1="{x(index)}" x2="{x(index)}" y1="{y(point.low)}" y2="{y(point.high)}"/>'
            )
        parts.append(
            f'<circle cx="{x(index)}" cy="{y(point.value)}" r="3" tabindex="0" data-commit="{escape(point.commit)}">'
            f"<title>{escape(_told(series, point))}</title></circle>"
        )
    for index, anchor in ((0, "start"), (len(points) - 1, "end")):
        parts.append(
            f'<text x="{x(index)}" y="{HEIGHT - 5}" text-anchor="{anchor}">{escape(points[index].commit[:10])}</text>'
        )
    label = escape(one_line(f"{words.name(series)} {series.metric} over {len(points)} commits"))
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    return Markup(f'<svg {size} role="img" aria-label="{label}">{"".join(parts)}</svg>')  # noqa: S704 - all texts above are escaped


def _told(series: Series, point: Point) -> str:
    interval = ""
    if point.low is not None and point.high is not None and math.isfinite(point.high):
        interval = f" ({words.value(series, point.low)} to {words.value(series, point.high)})"
    runs = f", {point.records} runs" if point.records > 1 else ""
    return one_line(f"{point.commit[:10]}, {point.moment[:10]}: {words.value(series, point.value)}{interval}{runs}")

"""A comparison as a page: for each variant and phase the replicates' ratios, as dots, and their interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jinja2
from markupsafe import Markup

from bench.analyze.comparison import ComparedVariant, Judged, Report, log_ratios
from bench.report.comparison import words
from bench.report.plain import one_line

WIDTH, HEIGHT, EDGE = 460, 44, 8


def render(report: Report) -> str:
    """Returns one self-contained page: nothing is fetched, and names and messages of others are escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("bench.report"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template("comparison.html").render(
        headline=words.headline(report),
        base=words.version(report.run.base),
        head=words.version(report.run.head),
        heading=words.heading(report),
        legend=words.legend(report),
        reproduce=words.reproduce(report),
        items=[_item(item, report.rule.margin) for item in words.ordered(report)],
    )


def _item(item: ComparedVariant, margin: float) -> dict[str, Any]:
    ratios = {row.metric: log_ratios(item.duet.replicates, row.metric) for row in item.rows}
    # One scale for all rows of a variant, so that a noisy phase looks noisy; a wild replicate is drawn at the edge.
    reach = max((_reach(ratios[row.metric], row, margin) for row in item.rows), default=margin)
    caveats = [one_line(caveat.message) for caveat in item.caveats]
    return {
        "name": str(item.duet.variant),
        "status": words.status(item),
        "details": [*words.facts(item), *words.notes(item), *caveats],
        "rows": [
            {
                "metric": row.metric,
                "word": row.verdict.word,
                "change": words.change(row.verdict),
                "interval": words.interval(row.verdict),
                "sees": words.detectable(row.verdict),
                "picture": picture(ratios[row.metric], row, margin, reach),
            }
            for row in item.rows
        ],
    }


def _reach(ratios: Sequence[float], row: Judged, margin: float) -> float:
    sizes = sorted(map(abs, ratios))
    bounds = [abs(math.log(bound)) for bound in (row.verdict.low, row.verdict.high) if bound is not None]
    return 1.1 * max([2 * margin, sizes[int(0.9 * (len(sizes) - 1))], *bounds])


def picture(ratios: Sequence[float], row: Judged, margin: float, reach: float) -> Markup:
    """Returns an SVG: replicates as dots around no change, the interval as a bar, the margin as a band."""

    def x(value: float) -> float:
        clipped = max(-reach, min(reach, value))
        return round(EDGE + (clipped + reach) / (2 * reach) * (WIDTH - 2 * EDGE), 1)

    verdict = row.verdict
    low, high = (math.log(bound) if bound else sign * reach for bound, sign in ((verdict.low, -1), (verdict.high, 1)))
    # Rows of dots by turn, so that equal replicates do not hide each other.
    dots = "".join(
        f'<circle cx="{x(value)}" cy="{8 + 3 * (index % 4)}" r="1.8"/>' for index, value in enumerate(ratios)
    )
    label = f"{row.metric}: {words.change(verdict)}, {words.interval(verdict)}"
    return Markup(  # noqa: S704 - numbers and fixed names only
        f'<svg width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{label}"><title>{label}</title>'
        f'<rect x="{x(-margin)}" y="0" width="{round(x(margin) - x(-margin), 1)}" height="30" fill="currentColor" '
        f'opacity=".1"/><line x1="{x(0)}" x2="{x(0)}" y1="0" y2="30" stroke="currentColor" stroke-width=".7"/>'
        f'<g fill="currentColor" opacity=".55">{dots}</g>'
        f'<rect class="bar" x="{x(low)}" y="23" width="{max(1.0, round(x(high) - x(low), 1))}" height="4" '
        f'fill="var(--{verdict.word})"/><circle cx="{x(math.log(verdict.ratio))}" cy="25" r="3.5" '
        f'fill="var(--{verdict.word})"/>'
        f'<text x="{EDGE}" y="42">{words.percent(math.expm1(-reach))}</text>'
        f'<text x="{x(0)}" y="42" text-anchor="middle">no change</text>'
        f'<text x="{WIDTH - EDGE}" y="42" text-anchor="end">{words.percent(math.expm1(reach))}</text></svg>'
    )

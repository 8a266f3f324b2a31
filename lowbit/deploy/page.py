"""The performance of models as a page: sortable tables, the roofline, and the graph of each model."""

from __future__ import annotations

from collections.abc import Sequence

import jinja2
from markupsafe import Markup

from lowbit.deploy import beside, cells, roofline_picture
from lowbit.deploy.performance import Performance
from lowbit.deploy.words import heading, notes, summary


def render(found: Sequence[Performance], graphs: Sequence[str] = (), about: str = "") -> str:
    """Returns one self-contained page of one model, or of two: nothing is fetched, and names of others are escaped.

    `graphs` has an SVG for each model, or is empty; `about` says where the figures were taken.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lowbit.deploy"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    both = None
    if len(found) == 2:
        both = {"columns": beside.COLUMNS, "rows": beside.rows(beside.pairs(*found)), "legend": beside.legend(*found)}
    pictures: Sequence[str | None] = list(graphs) or [None] * len(found)
    return environment.get_template("performance.html").render(
        title=" and ".join(each.name for each in found),
        heading=[*filter(None, [about]), heading(found[0])],
        both=both,
        models=[_model(each, graph) for each, graph in zip(found, pictures, strict=True)],
    )


def _model(found: Performance, graph: str | None) -> dict[str, object]:
    return {
        "name": found.name,
        "summary": summary(found),
        "columns": cells.columns(found),
        "rows": cells.rows(found),
        "notes": notes(found),
        # Both are made here, of numbers and of names that were escaped.
        "roofline": Markup(roofline_picture.svg(found)) if found.marked is not None else None,  # noqa: S704 - see above
        "graph": None if graph is None else Markup(graph),  # noqa: S704 - see above
    }

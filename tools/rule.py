"""The rule by which comparisons are judged, as options of a command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import click

from bench.analyze.verdict import Rule

_HELP = {
    "threshold": "Smallest change worth a verdict.",
    "margin": "Largest change that counts as none.",
    "alpha": "Risk that any verdict is wrong.",
}


def options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds an option for each part of a rule, with the default that the rule has."""
    for field in reversed(fields(Rule)):
        add = click.option(
            f"--{field.name}", type=float, default=field.default, show_default=True, help=_HELP[field.name]
        )
        function = add(function)
    return function


def chosen(given: dict[str, Any]) -> Rule:
    """Returns the rule that was given; raises InvalidOption for a value out of range."""
    return Rule(**{field.name: given[field.name] for field in fields(Rule)})

"""A check's report in words and as plain data."""

from __future__ import annotations

import dataclasses
from typing import Any

from lowbit.deploy.check import PASS, CheckReport

SCHEMA = 1


def text(report: CheckReport) -> str:
    """Returns the report for people: a line for each thing that was tried, then PASS or the causes with remedies."""
    width = max(len(ability.name) for ability in report.abilities)
    lines = [f"{report.model}, torch {report.torch}"]
    lines += [
        f"  {ability.name:<{width}}  {'yes' if ability.able else 'no '}  {ability.note}".rstrip()
        for ability in report.abilities
    ]
    if report.passes:
        return "\n".join([*lines, PASS])
    failed = sum(not ability.able for ability in report.abilities)
    lines.append(f"{failed} of {len(report.abilities)} cannot be done:")
    for cause, names in report.causes().items():
        lines.append(f"  {'; '.join(names)}: {cause.message}")
        lines += [f"    at {cause.place}"] if cause.place else []
        lines.append(f"    remedy: {cause.remedy}")
    return "\n".join(lines)


def document(report: CheckReport) -> dict[str, Any]:
    """Returns the report as plain data with a schema version."""
    plain = dataclasses.asdict(report)
    return {"kind": "check", "schema": SCHEMA, "verdict": PASS if report.passes else "FAIL", **plain}

"""Profiles for a pull request: the dearest lines open, whole functions folded."""

from __future__ import annotations

from collections.abc import Sequence

from bench.analyze.lines import FunctionCost, costs
from bench.data.profile import Profile
from bench.report import units
from bench.report.markdown import escape
from bench.report.profile import words
from bench.report.profile.text import table

HEADS = ("line", "source", "a step", "of its function", "why")


def render(profiles: Sequence[Profile]) -> str:
    """Returns GitHub's markdown; nothing in it is active: source and names of others show as they are."""
    return "\n\n".join(_profile(profile) for profile in profiles)


def _profile(profile: Profile) -> str:
    lines = [f"### `{profile.variant}`" + (f" at {escape(profile.version)}" if profile.version else ""), ""]
    lines += [f"{escape(line)}  " for line in words.heading(profile)]
    if profile.failure:
        lines += ["", f"failed: {escape(profile.failure)}"]
    for cost in costs(profile):
        if cost.ran:
            lines += ["", *_function(cost)]
    return "\n".join([*lines, "", *(f"{escape(note)}  " for note in words.notes(profile))])


def _function(cost: FunctionCost) -> list[str]:
    lines = [
        f"**{escape(cost.function.name)}** ({escape(cost.function.file)})",
        "",
        f"| {' | '.join(HEADS)} |",
        "|---:|---|---:|---:|---|",
    ]
    for line in words.dearest(cost):
        cells = (
            str(line.line.number),
            escape(words.shortened(line.line.text)),
            units.seconds(line.step_seconds),
            f"{100 * line.share:.1f} %",
            escape(words.why(line)),
        )
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "<details><summary>Every line</summary>", "", *fenced(table(cost)), "", "</details>"]
    return lines


def fenced(lines: Sequence[str]) -> list[str]:
    """Returns lines as a block of code that none of them can end."""
    longest = max((len(line) - len(line.lstrip("`")) for line in (one.strip() for one in lines)), default=0)
    fence = "`" * max(3, longest + 1)
    return [fence, *lines, fence]

"""The command that measures a comparison again, as far as a stranger may write it: somebody will paste and run it."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, fields, replace

from bench.analyze.comparison import Report
from bench.analyze.verdict import Rule
from bench.report.comparison import words
from bench.report.plain import plural

# Options of `stepbench compare` that load no file and write none, and the values that they may have here.
HARMLESS: dict[str, re.Pattern[str]] = {
    option: re.compile(values)
    for option, values in {
        "--threads": r"[1-9][0-9]{0,2}",
        "--device": r"cpu|cuda(:[0-9]{1,2})?",
        "--data": r"[a-z0-9][a-z0-9-]{0,39}",
        "--seed": r"[0-9]{1,10}",
        "--budget": r"[0-9]{1,4}(\.[0-9]{1,6})?",
        "--workers": r"[1-9][0-9]?",
        "--isolation": r"auto|module|process",
    }.items()
}
# Options that a comparison often needs, and that name a file or a folder: whoever runs it gives these himself.
NAMES_FILES = ("--repo", "--plugin", "--path")
# What says how a comparison is judged; this is the report's own affair.
_RULE = tuple(f"--{field.name}" for field in fields(Rule))


@dataclass(frozen=True, kw_only=True)
class Again:
    """A command without what is not known to be harmless, and what was left out of it; no value of that is shown."""

    command: str
    left_out: tuple[str, ...]
    others: int


def again(report: Report) -> Again:
    """Returns the command that measures a report's variants again and judges them by the report's rule.

    Of the options that the comparison was called with, only those are taken that load no file, with a value of their
    own kind. They come in pairs, as every option that is stored has a value.
    """
    kept: list[str] = []
    left_out: list[str] = []
    for option, value in itertools.zip_longest(*[iter(report.run.options)] * 2, fillvalue=""):
        if option in HARMLESS and HARMLESS[option].fullmatch(value):
            kept += [option, value]
        elif option not in _RULE:
            left_out.append(option)
    for field in fields(Rule):
        value = getattr(report.rule, field.name)
        kept += [f"--{field.name}", f"{value:g}"] if value != field.default else []
    known = tuple(option for option in (*HARMLESS, *NAMES_FILES) if option in left_out)
    others = sum(option not in known for option in left_out)
    return Again(
        command=words.reproduce(replace(report, run=replace(report.run, options=tuple(kept)))),
        left_out=known,
        others=others,
    )


def missing(found: Again) -> str:
    """Returns what a reader must know of the command, nothing where it is whole."""
    named = [*found.left_out, *([plural(found.others, "unknown option")] if found.others else [])]
    return f"left out of this command, since a stranger may have written it: {', '.join(named)}" if named else ""

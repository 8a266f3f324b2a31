"""Comparisons as `stepbench compare --json` writes them, read back with care: who wrote one may be anybody.

What is read are the raw samples and what was compared; verdicts are formed anew from these, so that a document cannot
claim what its samples do not show.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from bench.data.duet import SIDES, Duet, DuetReplicate, DuetRun, Isolation, SideName, Status
from bench.data.measurement import Caveat, Counters
from bench.data.metric import METRICS, PHASES, STEP
from bench.data.variant import Variant
from bench.errors import InvalidRecord, StepbenchError

# History (raise the number when a field changes its name or meaning):
#   1  first schema
COMPARISON_SCHEMA = 1
KIND = "comparison"
# The main job has 5 MB, a comparison of the full set ten times that.
MOST_BYTES = 1 << 26
LONGEST_TEXT = 20_000
LONGEST_ID = 200
# Beyond these a report would take minutes: estimates look at all pairs of replicates.
MOST_VARIANTS, MOST_REPLICATES, MOST_FACTS = 1_000, 2_000, 500
LONGEST_S = 3.2e7
# As git names a commit, in full. It becomes a word of a command, where anything else could be an option.
COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


class StoredRule(msgspec.Struct, frozen=True, kw_only=True):
    """What counted as a change; see bench.analyze.verdict.Rule, which checks it."""

    threshold: float
    margin: float
    alpha: float


class _Variant(msgspec.Struct, frozen=True, kw_only=True):
    variant: str
    status: Status
    failure: str | None
    isolation: Isolation
    because: str | None
    seconds: float
    caveats: tuple[Caveat, ...]
    counters: dict[SideName, Counters]
    sources: dict[SideName, dict[str, str]]
    replicates: tuple[DuetReplicate, ...]


class _Document(msgspec.Struct, frozen=True, kw_only=True):
    schema: int
    kind: str
    run: DuetRun
    rule: StoredRule
    variants: tuple[_Variant, ...]


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """A comparison as it was measured, before anything was judged."""

    run: DuetRun
    rule: StoredRule
    duets: tuple[Duet, ...]


def convert(content: Any, name: str) -> Stored:
    """Returns what a document of some name holds; raises InvalidRecord, on one line, for what is none."""
    found = content if isinstance(content, dict) else {}
    kind, schema = found.get("kind"), found.get("schema")
    if kind != KIND:
        raise InvalidRecord(f"{name}: a document of kind {kind!r:.40}; `stepbench compare --json` writes {KIND!r}")
    if isinstance(schema, int) and schema > COMPARISON_SCHEMA:
        raise InvalidRecord(
            f"{name}: schema {schema} is newer than {COMPARISON_SCHEMA}, the newest known here; update stepbench"
        )
    if isinstance(schema, int) and schema < 1:
        raise InvalidRecord(f"{name}: schema {schema}; they are counted from 1")
    try:
        document = msgspec.convert(content, _Document)
        duets = tuple(map(_duet, document.variants))
        _check(document, duets)
    except (msgspec.ValidationError, StepbenchError, ValueError, OverflowError) as error:
        raise InvalidRecord(f"{name}: no comparison: {' '.join(str(error).split())[:300]}") from error
    return Stored(run=document.run, rule=document.rule, duets=duets)


def _duet(given: _Variant) -> Duet:
    _allowed(len(given.variant) <= LONGEST_ID, f"a variant of {len(given.variant)} characters")
    _allowed(len(given.replicates) <= MOST_REPLICATES, f"{len(given.replicates)} replicates of {given.variant}")
    facts = sum(len(each.values) + len(each.state_bytes) for each in given.counters.values())
    _allowed(facts <= 2 * MOST_FACTS and len(given.caveats) <= MOST_FACTS, f"too many counters of {given.variant}")
    for replicate in given.replicates:
        _paired(replicate, given.variant)
    measured = {metric for replicate in given.replicates for metric in replicate.samples["base"]}
    return Duet(
        variant=Variant.parse(given.variant),
        status=given.status,
        phases=tuple(phase for phase in PHASES if phase in measured),
        isolation=given.isolation,
        because=given.because,
        replicates=given.replicates,
        counters=given.counters,
        sources=given.sources,
        caveats=given.caveats,
        failure=given.failure,
        seconds=given.seconds,
    )


def _paired(replicate: DuetReplicate, variant: str) -> None:
    """Raises StepbenchError unless both sides have as many samples of the same metrics, all of which are times."""
    sides = [replicate.samples.get(side) for side in SIDES]
    _allowed(None not in sides, f"a replicate of {variant} with one side only")
    base, head = (side or {} for side in sides)
    _allowed(STEP in base, f"a replicate of {variant} without a step")
    _allowed(base.keys() == head.keys() <= METRICS.keys(), f"metrics of {variant} that differ or are not known")
    for metric in base:
        _allowed(len(base[metric]) == len(head[metric]) > 0, f"{metric} of {variant} without a pair")
        fine = all(0 <= value < LONGEST_S for value in (*base[metric], *head[metric]))
        _allowed(fine, f"{metric} of {variant} has a time below zero or above a year")


def _check(document: _Document, duets: tuple[Duet, ...]) -> None:
    _allowed(len(duets) <= MOST_VARIANTS, f"{len(duets)} variants; at most {MOST_VARIANTS} are read")
    _allowed(len({duet.variant for duet in duets}) == len(duets), "a variant that stands there twice")
    sides = (document.run.base, document.run.head)
    _allowed(tuple(side.side for side in sides) == SIDES, "base and head are not where they belong")
    for side in sides:
        _allowed(COMMIT.fullmatch(side.commit) is not None, f"commit {side.commit!r:.50} of {side.side} is no commit")


def _allowed(fine: bool, otherwise: str) -> None:  # noqa: FBT001 - a condition, as in an assertion
    if not fine:
        raise StepbenchError(otherwise)

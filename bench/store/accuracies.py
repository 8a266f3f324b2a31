"""Accuracies from the trails that `stepbench quantize --json` writes: one document a file, or one a line."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import msgspec

from bench.data.accuracy import Accuracy, Scored
from bench.errors import InvalidRecord
from bench.store import strict

KIND, SCHEMA = "trail", 1
_FLOAT, _DEPLOYED = "float", "deployed"
Count = Annotated[int, msgspec.Meta(ge=0)]


class _Entry(msgspec.Struct):
    stage: str
    examples: Annotated[int, msgspec.Meta(ge=1)]
    correct: Count


class _Plan(msgspec.Struct):
    model: str
    flow: str
    seed: Count
    epochs: Count
    qat_epochs: Count
    modules: list[list[str]]
    wide_output: str | None


class _Run(msgspec.Struct):
    plan: _Plan
    data: str
    entries: list[_Entry]


class _Document(msgspec.Struct):
    kind: str
    schema: Annotated[int, msgspec.Meta(ge=1)]
    runs: list[_Run]


def read(paths: Iterable[Path]) -> tuple[tuple[Accuracy, ...], tuple[str, ...]]:
    """Reads the trails in some files; returns what was found, and a line on each document that says nothing of a row.

    A file whose name ends in .jsonl has a document a line. Raises InvalidRecord for a file that holds none.
    """
    found, skipped = list[Accuracy](), list[str]()
    for path in paths:
        content = strict.content(path)
        texts = content.splitlines() if path.suffix == ".jsonl" else [content]
        places = [(f"{path}:{number}" if len(texts) > 1 else str(path), text) for number, text in enumerate(texts, 1)]
        here = len(found)
        for place, text in places:
            if not text.strip():
                continue
            try:
                found.append(_accuracy(strict.decode(text, place), place))
            except InvalidRecord as error:
                if len(texts) == 1:
                    raise
                skipped.append(str(error))
        if len(found) == here:
            raise InvalidRecord(
                f"{path}: no trail of a finished run; `stepbench quantize MODEL --json PATH` writes one"
            )
    return tuple(found), tuple(skipped)


def _accuracy(content: Any, place: str) -> Accuracy:
    try:
        document = msgspec.convert(content, _Document)
    except msgspec.ValidationError as error:
        raise InvalidRecord(f"{place}: no trail of `stepbench quantize --json` ({error})") from error
    if document.kind != KIND or document.schema > SCHEMA:
        raise InvalidRecord(
            f"{place}: a document of kind {document.kind!r}, schema {document.schema}; trails are of kind {KIND!r}, "
            f"schema {SCHEMA}"
        )
    finished = [(run, scored) for run in document.runs if (scored := _scored(run, place)) is not None]
    plans = {(run.plan.model, run.plan.flow, run.plan.epochs, run.plan.qat_epochs, run.data) for run, _ in finished}
    if len(plans) != 1:
        raise InvalidRecord(f"{place}: {'runs of several plans' if plans else 'no run was finished'}")
    if any(run.plan.modules or run.plan.wide_output for run, _ in finished):
        raise InvalidRecord(
            f"{place}: layers with settings of their own (--setting, --high-precision-output) are no row's quantization"
        )
    ((model, flow, epochs, qat_epochs, data),) = plans
    return Accuracy(
        model=model,
        flow=flow,
        data=data,
        epochs=epochs,
        qat_epochs=qat_epochs,
        seeds=tuple(scored for _, scored in finished),
    )


def _scored(run: _Run, place: str) -> Scored | None:
    """Returns what the deployed model of a run and its float model got right; None for a run that was not finished."""
    by_stage = {entry.stage: entry for entry in run.entries}
    if _FLOAT not in by_stage or _DEPLOYED not in by_stage:
        return None
    deployed, reference = by_stage[_DEPLOYED], by_stage[_FLOAT]
    if deployed.examples != reference.examples or max(deployed.correct, reference.correct) > deployed.examples:
        raise InvalidRecord(f"{place}: more right answers than examples, or not the same examples for both models")
    return Scored(
        seed=run.plan.seed,
        examples=deployed.examples,
        correct=deployed.correct,
        float_correct=reference.correct,
    )

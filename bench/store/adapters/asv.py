"""Results of asv, layout version 2: a file for each machine, commit and environment.

A value is null where the benchmark failed and a bare NaN where it did not apply. Samples of several processes are
joined in the order in which these ran; `benchmarks.json`, beside the folders of the machines, may say how many each
took. Parameters are stored as what repr() says of them, and read as literals only: nothing is evaluated.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from dataclasses import dataclass, replace
from typing import Any

from bench.data.environment import Environment
from bench.data.measurement import Caveat, Counters, Measurement
from bench.data.metric import METRICS, STEP
from bench.data.origin import Origin
from bench.data.record import SCHEMA_VERSION, Record
from bench.data.variant import Variant
from bench.errors import InvalidRecord, StepbenchError
from bench.store.adapters import foreign
from bench.store.adapters.asv_cases import Case, cases, text
from bench.store.adapters.foreign import UNKNOWN, Ingested, Side

TOOL = "asv"
LAYOUT = 2
_SIZES = {"peakmemory": "process_bytes", "memory": "object_bytes"}
_MEDIAN = "the file holds no samples, so that a median stands for all of them; asv stores them with --record-samples"
_COUNT = re.compile(r"\d{1,4}\Z")


@dataclass(frozen=True, kw_only=True)
class _File:
    """What all cases of a file share."""

    run: str
    created: str
    environment: Environment
    origin: Origin


def is_asv(content: Any) -> bool:
    """Says whether a file's content has the form of asv's results, of any layout."""
    return isinstance(content, dict) and isinstance(content.get("results"), dict) and "commit_hash" in content


def convert(content: dict[str, Any], *, file: str, sha256: str, benchmarks: dict[str, Any]) -> Ingested:
    """Returns what a file of results holds; raises InvalidRecord for another layout.

    `benchmarks` is the content of benchmarks.json, or empty: it has types and units, which otherwise follow from the
    first part of a benchmark's name.
    """
    layout, columns = content.get("version"), content.get("result_columns")
    if layout != LAYOUT or not isinstance(columns, list):
        raise InvalidRecord(f"asv's layout {layout!r:.20}; {LAYOUT} is read: `asv update` rewrites older ones")
    if len(set(map(str, columns))) < len(columns):
        raise InvalidRecord("a name of a column stands twice in result_columns; one of the two would be lost")
    origin = Origin(
        tool=TOOL, release=f"layout {LAYOUT}", file=file, sha256=sha256, benchmark="",
        environment=text(content.get("env_name")), committed=_moment(content.get("date")),
    )  # fmt: skip
    whole = _File(
        run=sha256[: foreign.RUN],
        created=origin.committed or "1970-01-01T00:00:00+00:00",
        environment=_environment(content),
        origin=origin,
    )
    found: list[tuple[Record | None, Side]] = []
    for name, row in content["results"].items():
        known = benchmarks.get(name)
        try:
            found += [_converted(case, whole) for case in cases(name, columns, row, foreign.mapping(known))]
        except StepbenchError as error:
            found.append((None, Side(benchmark=name, rest={"row": row}, unmapped=str(error))))
    records, sides = foreign.joined(found)
    held = {"results", "result_columns", "version"}
    return Ingested(
        tool=TOOL,
        file=file,
        sha256=sha256,
        run=whole.run,
        created=whole.created,
        environment=whole.environment,
        records=records,
        sides=sides,
        rest={name: value for name, value in content.items() if name not in held},
    )


def _converted(case: Case, whole: _File) -> tuple[Record | None, Side]:
    ours = foreign.own(case.values, case.values)
    label = f"{case.benchmark.rpartition('.')[2]} {' '.join(case.parameters.values())}"
    # Not by the parameters' names, which only benchmarks.json knows.
    identity = "\0".join((case.benchmark, *case.parameters.values()))
    variant, metric = ours or (foreign.named(TOOL, label, identity), None)
    side = Side(benchmark=case.benchmark, parameters=case.parameters, rest=case.rest)
    try:
        measured, rounds = _measured(case, variant, metric)
    except StepbenchError as error:
        return None, replace(side, rest=case.entries, unmapped=str(error))
    origin = replace(
        whole.origin,
        benchmark=case.benchmark,
        parameters=case.parameters,
        version=case.version,
        unit=case.unit if "tracked" in measured.counters.values else None,
        own=ours is not None,
    )
    record = Record(
        schema=SCHEMA_VERSION,
        run=whole.run,
        created=_moment(case.entries.get("started_at")) or whole.created,
        measurement=measured,
        environment=whole.environment,
        sources={},
        origin=origin,
    )
    return record, replace(side, variant=str(variant), rounds=rounds)


def _measured(case: Case, variant: Variant, metric: str | None) -> tuple[Measurement, tuple[int, ...] | None]:
    """Returns what a case says, and the round of each sample; raises StepbenchError where a record cannot hold it.

    A benchmark of times is one of seconds; its call is a step unless a suite of ours says which phase it is.
    """
    value = case.entries.get("result")
    empty = foreign.measurement(variant, TOOL, STEP, [])
    if value is None:
        return replace(empty, failure="failed in asv, whose file does not say why"), None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise StepbenchError("a value that is no number")
    if math.isnan(value):
        raise StepbenchError("did not apply where it ran, or was not chosen (asv's NaN)")
    timed = case.unit == "seconds" or (case.unit is None and case.entries.get("stats_number") is not None)
    if not timed or (metric is not None and not METRICS[metric].timed):
        if not math.isfinite(value):
            raise StepbenchError("a value that is not finite")
        name = metric or _SIZES.get(case.kind, "tracked")
        return replace(empty, counters=Counters(values={name: float(value)})), None
    given = case.entries.get("samples")
    if not isinstance(given, list):
        measured = foreign.measurement(variant, TOOL, metric or STEP, [foreign.checked([value])])
        return replace(measured, caveats=(Caveat(code="median-only", message=_MEDIAN),)), None
    samples = foreign.checked(given)
    split = _split(samples, case.per_process)
    measured = foreign.measurement(variant, TOOL, metric or STEP, split or [samples])
    rounds = None if split is None else tuple(worker for worker, each in enumerate(split) for _ in each)
    return measured, rounds


def _split(samples: tuple[float, ...], per_process: int | None) -> list[tuple[float, ...]] | None:
    """Returns the samples of each process, None where the file does not tell."""
    if per_process is None or len(samples) % per_process:
        return None
    return [samples[start : start + per_process] for start in range(0, len(samples), per_process)]


def _environment(content: dict[str, Any]) -> Environment:
    machine, needs, settings = (foreign.mapping(content.get(name)) for name in ("params", "requirements", "env_vars"))
    threads, cores = text(settings.get("OMP_NUM_THREADS")), text(machine.get("num_cpu"))
    return Environment(
        host=text(machine.get("machine")) or UNKNOWN,
        commit=foreign.commit(content["commit_hash"]),
        dirty=False,
        python=text(content.get("python")) or UNKNOWN,
        torch=text(needs.get("torch")) or UNKNOWN,
        stepbench="none, read from asv",
        platform=" ".join(filter(None, (text(machine.get(name)) for name in ("os", "arch")))) or UNKNOWN,
        cpu=text(machine.get("cpu")),
        cores=int(cores) if _COUNT.match(cores) else 0,
        memory_bytes=0,
        gpu=text(machine.get("gpu")) or None,
        threads=int(threads) if _COUNT.match(threads) else 0,
        wait_policy=text(settings.get("OMP_WAIT_POLICY")) or "default",
        clock=TOOL,
        clock_resolution=0.0,
    )


def _moment(milliseconds: Any) -> str | None:
    """Returns a time of JavaScript as ISO 8601, None for what is none."""
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, (int, float)):
        return None
    try:
        return dt.datetime.fromtimestamp(milliseconds / 1000, dt.UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return None

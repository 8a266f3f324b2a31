"""Results of pytest-benchmark, as --benchmark-json and --benchmark-save write them, since version 2.5.

Only a file that was written with its data holds the rounds; without it a median stands for them. Times are of one call,
in seconds: the tool has divided a round by its iterations already. What failed is in no file.
"""

from __future__ import annotations

import datetime as dt
import json
import math
from dataclasses import replace
from typing import Any

import msgspec

from bench.data.environment import Environment
from bench.data.measurement import Caveat, Counters
from bench.data.metric import STEP
from bench.data.origin import Origin
from bench.data.record import SCHEMA_VERSION, Record
from bench.errors import StepbenchError
from bench.store.adapters import foreign
from bench.store.adapters.foreign import UNKNOWN, Ingested, Side

TOOL = "pytest-benchmark"
_MEDIAN = "the file holds no rounds, so that a median stands for all of them; they come with --benchmark-save-data"


def is_pytest_benchmark(content: Any) -> bool:
    """Says whether a file's content has the form of pytest-benchmark's results."""
    return isinstance(content, dict) and isinstance(content.get("benchmarks"), list) and "machine_info" in content


def convert(content: dict[str, Any], *, file: str, sha256: str) -> Ingested:
    """Returns what a file of results holds."""
    commit = foreign.mapping(content.get("commit_info"))
    origin = Origin(
        tool=TOOL, release=_text(content.get("version")), file=file, sha256=sha256, benchmark="",
        committed=_moment(commit.get("time")),
    )  # fmt: skip
    base = Record(
        schema=SCHEMA_VERSION,
        run=sha256[: foreign.RUN],
        created=_moment(content.get("datetime")) or "1970-01-01T00:00:00+00:00",
        measurement=foreign.measurement(foreign.named(TOOL, "", ""), TOOL, STEP, []),
        environment=_environment(foreign.mapping(content.get("machine_info")), commit),
        sources={},
        origin=origin,
    )
    records, sides = foreign.joined([_converted(benchmark, base, origin) for benchmark in content["benchmarks"]])
    return Ingested(
        tool=TOOL,
        file=file,
        sha256=sha256,
        run=base.run,
        created=base.created,
        environment=base.environment,
        records=records,
        sides=sides,
        rest={name: value for name, value in content.items() if name != "benchmarks"},
    )


def _converted(benchmark: Any, base: Record, origin: Origin) -> tuple[Record | None, Side]:
    given = foreign.mapping(benchmark)
    name = _text(given.get("fullname")) or _text(given.get("name"))
    parameters = {str(key): json.dumps(value) for key, value in foreign.mapping(given.get("params")).items()}
    stats, extra = foreign.mapping(given.get("stats")), foreign.mapping(given.get("extra_info"))
    side = Side(benchmark=name, parameters=parameters, rest=given or {"benchmark": benchmark})
    try:
        _named(name)
        rounds = stats.get("data") if isinstance(stats.get("data"), list) else None
        samples = foreign.checked(rounds if rounds is not None else [stats.get("median")])
    except StepbenchError as error:
        return None, replace(side, unmapped=str(error))
    ours = foreign.own([extra.get("variant")], [extra.get("phase")])
    variant, metric = ours or (foreign.named(TOOL, _text(given.get("name")) or name, name), STEP)
    measured = foreign.measurement(variant, TOOL, metric, [samples])
    if ours is not None:
        base = replace(base, environment=_own_environment(extra) or base.environment)
        measured = replace(measured, counters=_quality(extra))
    if rounds is None:
        measured = replace(measured, caveats=(Caveat(code="median-only", message=_MEDIAN),))
    named = replace(origin, benchmark=name, parameters=parameters, own=ours is not None)
    record = replace(base, measurement=measured, origin=named)
    rest = {key: value for key, value in given.items() if key not in {"params", "fullname", "stats"}}
    rest["stats"] = {key: value for key, value in stats.items() if key != "data" or rounds is None}
    numbers = None if rounds is None else tuple(range(len(rounds)))
    return record, replace(side, variant=str(variant), rounds=numbers, rest=rest)


def _named(name: str) -> None:
    if not name:
        raise StepbenchError("a benchmark without a name")


def _own_environment(extra: dict[str, Any]) -> Environment | None:
    """Returns what the suite of this repository says of the process that measured, None where it is damaged."""
    try:
        return msgspec.convert(extra.get("environment"), Environment)
    except msgspec.ValidationError:
        return None


def _quality(extra: dict[str, Any]) -> Counters:
    loss = foreign.mapping(extra.get("quality")).get("loss")
    if isinstance(loss, bool) or not isinstance(loss, (int, float)) or not math.isfinite(loss):
        return Counters()
    return Counters(values={"loss": float(loss)})


def _environment(machine: dict[str, Any], commit: dict[str, Any]) -> Environment:
    cpu = foreign.mapping(machine.get("cpu"))
    cores = cpu.get("count")
    return Environment(
        host=_text(machine.get("node")) or UNKNOWN,
        commit=foreign.commit(commit.get("id")),
        dirty=bool(commit.get("dirty")),
        python=_text(machine.get("python_version")) or UNKNOWN,
        torch=UNKNOWN,
        stepbench="none, read from pytest-benchmark",
        platform=" ".join(filter(None, (_text(machine.get(name)) for name in ("system", "release", "machine"))))
        or UNKNOWN,
        cpu=_text(cpu.get("brand_raw") or cpu.get("brand") or machine.get("processor")),
        cores=cores if isinstance(cores, int) and 0 < cores < 1e5 else 0,
        memory_bytes=0,
        gpu=None,
        threads=0,
        wait_policy="default",
        clock=TOOL,
        clock_resolution=0.0,
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _moment(value: Any) -> str | None:
    """Returns a time as UTC in ISO 8601, None for what is none; older versions wrote UTC and did not say so."""
    if not isinstance(value, str):
        return None
    try:
        found = dt.datetime.fromisoformat(value)
        return (found.replace(tzinfo=found.tzinfo or dt.UTC)).astimezone(dt.UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError):
        return None

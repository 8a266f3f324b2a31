"""A record: a measurement with its environment, as one line of a results file."""

from __future__ import annotations

from dataclasses import dataclass

from bench.data.environment import Environment
from bench.data.measurement import Measurement
from bench.data.origin import Origin

# History (raise the number and add a migration in bench/store/codec.py when a field changes):
#   1  first schema
#   2  `origin`: records that were read from another tool's files
#   3  `ranks`, an axis: who does not know it would take a step of several processes for one of one
SCHEMA_VERSION = 3


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is stored of one variant of one run.

    `run` is the same for all records of a run; `created` is UTC in ISO 8601; `sources` maps a part, written
    `kind:name`, to the SHA-256 of the source it was built from. `origin` is None for what stepbench measured itself.
    What another tool measured is a variant of no optimizer, unless it says that it is one of ours: its model is the
    benchmark's name with a mark that tells it from others, and one call of it is its step.
    """

    schema: int
    run: str
    created: str
    measurement: Measurement
    environment: Environment
    sources: dict[str, str]
    origin: Origin | None = None

"""A record: a measurement with its environment, as one line of a results file."""

from __future__ import annotations

from dataclasses import dataclass

from bench.data.environment import Environment
from bench.data.measurement import Measurement

# History (raise the number and add a migration in bench/store/codec.py when a field changes):
#   1  first schema
SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is stored of one variant of one run.

    `run` is the same for all records of a run; `created` is UTC in ISO 8601; `sources` maps a part, written
    `kind:name`, to the SHA-256 of the source it was built from.
    """

    schema: int
    run: str
    created: str
    measurement: Measurement
    environment: Environment
    sources: dict[str, str]

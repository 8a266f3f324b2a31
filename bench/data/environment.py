"""The environment: which code ran where."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Which code ran on which machine under which settings; taken once per run, in the process that measured.

    `commit` is the full hash of the repository that stepbench was started in, or None outside of one; `dirty` says
    that its working tree differed. `clock_resolution` is the smallest step seen of the clock, in seconds.
    """

    host: str
    commit: str | None
    dirty: bool
    python: str
    torch: str
    stepbench: str
    platform: str
    cpu: str
    cores: int
    memory_bytes: int
    gpu: str | None
    threads: int
    wait_policy: str
    clock: str
    clock_resolution: float

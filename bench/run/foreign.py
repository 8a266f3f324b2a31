"""Load by other processes: how many of our cores were busy with somebody else's work."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from bench.run.clock import now

_STAT = Path("/proc/stat")


class Snapshot(NamedTuple):
    """Busy seconds of the cores this process may use, and of this process, at one moment."""

    at: float
    busy: float
    own: float


def snapshot(stat: Path = _STAT) -> Snapshot | None:
    """Reads the kernel's counters; None where there are none."""
    try:
        lines = stat.read_text().splitlines()
    except OSError:
        return None
    names = {f"cpu{cpu}" for cpu in os.sched_getaffinity(0)}
    tick = os.sysconf("SC_CLK_TCK")
    busy = 0.0
    for line in lines:
        name, *ticks = line.split()
        if name in names:
            user, nice, system, _idle, _iowait, irq, softirq, steal, *_ = (*map(int, ticks), *[0] * 8)
            # Time stolen by the hypervisor is somebody else's work too.
            busy += (user + nice + system + irq + softirq + steal) / tick
    own = os.times()
    return Snapshot(now(), busy, own.user + own.system)


def load_between(start: Snapshot | None, end: Snapshot | None, others_s: float = 0.0) -> float | None:
    """Returns the number of cores that other processes kept busy between two snapshots.

    `others_s` is the CPU time of processes that work with this one, in seconds, and are not foreign.
    """
    if start is None or end is None or end.at <= start.at:
        return None
    return max(0.0, (end.busy - start.busy) - own_between(start, end) - others_s) / (end.at - start.at)


def own_between(start: Snapshot | None, end: Snapshot | None) -> float:
    """Returns the CPU time of this process between two snapshots, in seconds; 0 where nothing is known."""
    return 0.0 if start is None or end is None else end.own - start.own

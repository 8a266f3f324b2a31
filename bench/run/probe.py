"""The environment probe: which code runs on which machine; called in a process that measures."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import socket
from pathlib import Path

import torch

from bench.data.environment import Environment
from bench.run.build import check_device
from bench.run.clock import clock_for, resolution
from bench.run.git import git


def environment(device: str = "cpu") -> Environment:
    """Describes this process, its machine and the repository it was started in."""
    check_device(device)
    commit, dirty = repository(Path.cwd())
    clock = clock_for(device)
    return Environment(
        host=socket.gethostname(),
        commit=commit,
        dirty=dirty,
        python=platform.python_version(),
        torch=str(torch.__version__),
        stepbench=importlib.metadata.version("stepbench"),
        platform=f"{platform.system()} {platform.release()} {platform.machine()}",
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        gpu=torch.cuda.get_device_name(device) if device != "cpu" else None,
        threads=torch.get_num_threads(),
        wait_policy=os.environ.get("OMP_WAIT_POLICY", "default"),
        clock=clock.name,
        clock_resolution=resolution(clock),
    )


def repository(folder: Path) -> tuple[str | None, bool]:
    """Returns the commit checked out in a folder and whether tracked or new files differ; (None, False) without git."""
    commit = git(folder, "rev-parse", "--verify", "HEAD")
    if not commit.fine:
        return None, False
    return commit.output, bool(git(folder, "status", "--porcelain", "--", ".", ":(exclude)results").output)


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.machine()

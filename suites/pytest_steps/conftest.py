"""Which variants and phases the suite for pytest-benchmark has; this folder is no package, so that asv passes it by."""

from __future__ import annotations

import os
import sys

import pytest

from bench.errors import NotQuantized
from suites.catalog import REFUSED, SETS

MAIN_JOB = "pr"
PHASES = ("forward", "backward", "optimize", "step")
# OpenMP reads these when torch is imported. With a thread on each core, a busy neighbour makes small steps hundreds of
# times slower.
if "torch" not in sys.modules:
    for name, value in {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}.items():
        os.environ.setdefault(name, value)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds --set."""
    parser.getgroup("stepbench").addoption(
        "--set",
        action="append",
        choices=sorted(SETS),
        help=f"A set of suites/catalog.py; repeatable. Default: {MAIN_JOB}, and all of them with --benchmark-disable.",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Makes a test of each variant and each of its phases, and of each variant alone where nothing is measured."""
    measures = not metafunc.config.getoption("benchmark_disable")
    names = metafunc.config.getoption("set") or ([MAIN_JOB] if measures else list(SETS))
    variants = dict.fromkeys(variant for name in names for variant in SETS[name])
    cases = [(variant, phase) for variant in variants for phase in (_phases(variant) if measures else ("step",))]
    refused = pytest.mark.xfail(raises=NotQuantized, reason="is listed to be refused")
    metafunc.parametrize(
        ("variant", "phase"),
        [pytest.param(*case, marks=refused) if case[0] in REFUSED else case for case in cases],
        ids=["-".join(case) for case in cases],
    )


def _phases(variant: str) -> tuple[str, ...]:
    return PHASES if variant.split("/")[1] != "none" else ("forward", "step")

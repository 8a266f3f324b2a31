from __future__ import annotations

import subprocess
import sys

import pytest

from bench.data.metric import METRICS, PHASES
from bench.data.protocol import Protocol
from bench.errors import InvalidOption, UnknownName


def test_every_phase_has_its_times_and_counters():
    for phase in PHASES:
        assert METRICS[phase].unit == METRICS[f"{phase}.cpu"].unit == "s"
        assert METRICS[phase].noise == "noisy"
        assert METRICS[f"{phase}.operations"].noise == "exact"
    assert all(name == metric.name for name, metric in METRICS.items())


def test_replicates_share_the_budget():
    protocol = Protocol(budget_s=12.0, workers=4, rounds=3)
    assert protocol.replicates == 12
    assert protocol.replicate_s == 1.0


@pytest.mark.parametrize(
    "options", [{"budget_s": 0.0}, {"budget_s": -1.0}, {"budget_s": float("nan")}, {"workers": 0}, {"rounds": 0}]
)
def test_a_protocol_out_of_range_is_an_error(options):
    with pytest.raises(InvalidOption):
        Protocol(**options)


def test_an_unknown_name_lists_the_nearest_and_the_known():
    error = UnknownName("optimizer", "shampo", ["sgd", "shampoo"])
    assert str(error) == "unknown optimizer 'shampo', did you mean 'shampoo'? (known: sgd, shampoo)"
    assert "did you mean" not in str(UnknownName("optimizer", "zzz", ["sgd"]))


def test_nouns_need_the_standard_library_only():
    code = (
        "import sys\n"
        "import bench.data.record, bench.data.metric, bench.errors\n"
        "foreign = {m.split('.')[0] for m in sys.modules} - set(sys.stdlib_module_names) - {'bench', '__main__'}\n"
        "sys.exit(bool({'torch', 'numpy', 'msgspec', 'scipy'} & foreign))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

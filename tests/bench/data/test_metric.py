from __future__ import annotations

import subprocess
import sys

from bench.data.metric import METRICS, PHASES, SEGMENTS, STEP


def test_every_phase_has_its_times_and_counters():
    for phase in PHASES:
        assert METRICS[phase].unit == METRICS[f"{phase}.cpu"].unit == "s"
        assert METRICS[phase].noise == "noisy"
        assert METRICS[f"{phase}.operations"].noise == "exact"
    assert all(name == metric.name for name, metric in METRICS.items())


def test_what_is_noisy_is_time_and_what_other_tools_say_of_a_process():
    timed = {name for name, metric in METRICS.items() if metric.timed}
    assert timed == {f"{name}{half}" for name in (*SEGMENTS, STEP) for half in ("", ".cpu")}
    noisy = {name for name, metric in METRICS.items() if metric.noise == "noisy"}
    assert noisy == timed | {"process_bytes", "tracked"}
    assert {name for name, metric in METRICS.items() if metric.better is None} == {"tracked"}


def test_every_metric_says_what_it_means_on_one_line():
    assert all(metric.description and "\n" not in metric.description for metric in METRICS.values())


def test_nouns_need_the_standard_library_only():
    code = (
        "import sys\n"
        "import bench.data.record, bench.data.metric, bench.errors\n"
        "foreign = {m.split('.')[0] for m in sys.modules} - set(sys.stdlib_module_names) - {'bench', '__main__'}\n"
        "sys.exit(bool({'torch', 'numpy', 'msgspec', 'scipy'} & foreign))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""A repository with two commits whose training steps differ by a known amount of work, and doors for every tool."""

from __future__ import annotations

import json
import site
import statistics
import sys
from pathlib import Path

import torch

from bench.run.clock import HostClock
from bench.run.handicap import SIZE, SLOWED
from tests.repositories import Repository

ROOT = Path(__file__).parents[3]
STEP = '''
import torch
import torch.nn.functional as F

from lowbit.models.resnet20 import ResNet20
from lowbit.optimizers.eva import Eva

EXTRA = {extra}


def make_step():
    """Returns a function that trains ResNet-20 with Eva for one step, on one picture."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = ResNet20()
    optimizer = slowed(Eva(model, 3e-4))
    inputs, targets = torch.randn(1, 3, 32, 32), torch.tensor([3])

    def step():
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(inputs), targets).backward()
        optimizer.step()

    for _ in range(5):
        step()
    return step


def register(registry):
    """Registers the same model and optimizer with stepbench."""
    from bench import Workload

    @registry.model("resnet20")
    def resnet20(device, dtype, seed):
        torch.manual_seed(seed)
        return Workload(module=ResNet20().to(device, dtype), loss=F.cross_entropy, sample=sample)

    @registry.optimizer("eva")
    def eva(module):
        return slowed(Eva(module, 3e-4))


def sample(batch, generator):
    """Draws pictures."""
    return torch.randn(batch, 3, 32, 32, generator=generator), torch.randint(10, (batch,), generator=generator)
'''


def subject_source(extra: int) -> str:
    """Returns the module that every tool imports; the extra work is the one that calibration measures with."""
    return f"{STEP.format(extra=extra)}\n{SLOWED}"


PYPROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "subject"
version = "1"
[project.entry-points."stepbench.plugins"]
subject = "subject"
[tool.setuptools]
packages = ["lowbit", "lowbit.models", "lowbit.optimizers"]
py-modules = ["subject"]
"""
ASV = {
    "version": 1,
    "project": "subject",
    "repo": ".",
    "branches": ["main"],
    "benchmark_dir": "benchmarks",
    "env_dir": ".asv/env",
    "results_dir": ".asv/results",
    "environment_type": "virtualenv",
    "pythons": [f"{sys.version_info.major}.{sys.version_info.minor}"],
    "build_command": [],
    "install_command": [
        "in-dir={env_dir} python -m pip install --quiet --no-deps {build_dir}",
        "in-dir={build_dir} python see_running_packages.py",
    ],
    "launch_method": "spawn",
    "matrix": {"env_nobuild": {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}},
}
# torch comes from the running environment: asv takes ASV_PYTHONPATH from its own child before that could use it.
SEE = f"""
import sysconfig
from pathlib import Path

lines = [f"import site; site.addsitedir({{path!r}})" for path in {site.getsitepackages()!r}]
Path(sysconfig.get_path("purelib"), "running.pth").write_text("\\n".join(lines))
"""
ASV_STEPS = """
from subject import make_step


class Steps:
    # Samples of one step each, for a quarter of the time: there are two rounds and two commits.
    number, repeat, warmup_time, timeout, version = 1, (10, 100000, {seconds}), 0.5, 600, "1"

    def setup(self):
        self.step = make_step()

    def time_step(self):
        self.step()
"""
PYTEST_STEPS = """
from subject import make_step


def test_step(benchmark):
    benchmark(make_step())
"""
LOOP = """
import json, sys, time
from subject import make_step

step, seconds, times = make_step(), float(sys.argv[1]), []
end = time.monotonic() + seconds
while time.monotonic() < end:
    begun = time.perf_counter()
    step()
    times.append(time.perf_counter() - begun)
print(json.dumps(times))
"""


class Subject:
    """The repository, and a checkout of each of its two commits for the tools that run in one."""

    def __init__(self, folder: Path, extra: int, seconds: float) -> None:
        copied = [*ROOT.glob("lowbit/models/*.py"), *ROOT.glob("lowbit/optimizers/*.py"), ROOT / "lowbit/__init__.py"]
        files = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in copied}
        files |= {
            "pyproject.toml": PYPROJECT,
            "subject.py": subject_source(0),
            "asv.conf.json": json.dumps(ASV),
            "see_running_packages.py": SEE,
            "benchmarks/__init__.py": "",
            "benchmarks/steps.py": ASV_STEPS.format(seconds=seconds / 4),
            "test_steps.py": PYTEST_STEPS,
            "loop.py": LOOP,
        }
        repo = Repository(folder / "repo", files)
        self.path = repo.path
        self.commits = [repo.commit()]
        repo.write({"subject.py": f"{subject_source(extra)}# {extra} more\n"})
        self.commits.append(repo.commit())
        self.checkouts = [folder / "base", folder / "head"]
        for commit, checkout in zip(self.commits, self.checkouts, strict=True):
            repo.git("worktree", "add", "--quiet", "--detach", str(checkout), commit)


def extra_for(effect: float) -> int:
    """Returns how many units of work cost a share of the step, both timed in turn in this process."""
    scope: dict[str, object] = {}
    exec(compile(subject_source(0), "subject.py", "exec"), scope)
    step, work, clock = scope["make_step"](), torch.full((SIZE, SIZE), 1.0 / SIZE), HostClock()

    def unit() -> None:
        for _ in range(100):
            torch.mm(work, work)

    def timed(call: object) -> float:
        start = clock.mark()
        call()
        return clock.span(start, clock.mark()).wall

    ratios = [timed(step) / (timed(unit) / 100) for _ in range(100)]
    return round(effect * statistics.median(ratios))

"""Everyday sessions: `nox -s bench` measures, `nox -s tests` tests, `nox -s lint` checks the code."""

from __future__ import annotations

import os
from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["tests", "lint"]

PYPROJECT = nox.project.load_toml("pyproject.toml")
# What asv.conf.json sets for the environments that asv makes; one that exists gets it from here.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}


def install(session: nox.Session, *groups: str) -> None:
    """Installs this checkout and dependency groups at the tested versions."""
    wanted = nox.project.dependency_groups(PYPROJECT, *groups) if groups else ()
    session.install("-c", "constraints.txt", "-e", ".", *wanted)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure the main job, or what is given after --: nox -s bench -- 'resnet20/*/none' --budget 5."""
    # With torchao, for the flows of PT2E.
    session.install("-c", "constraints.txt", "-e", ".[pt2e]")
    session.run("stepbench", "measure", *session.posargs)


@nox.session
def compare(session: nox.Session) -> None:
    """Measure two commits against each other: nox -s compare -- main, or -- v1 v2 'resnet20/eva*'."""
    install(session)
    session.run("stepbench", "compare", *session.posargs)


@nox.session
def report(session: nox.Session) -> None:
    """Show stored results, without torch: nox -s report -- results/records, or -- --pull-request comparison.json."""
    heavy = ("torch", "scikit-learn")
    needed = [each for each in PYPROJECT["project"]["dependencies"] if not each.startswith(heavy)]
    session.install("-c", "constraints.txt", *needed)
    session.install("--no-deps", "-e", ".")
    session.run("stepbench", "report", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests, or those given after --: nox -s tests -- tests/lowbit -k eva."""
    install(session, "tests")
    # A process a core for the whole of them, and one more, since many wait for processes of their own. The suites'
    # plugin would warn of that; its own tests start it themselves.
    count = str((os.cpu_count() or 1) + 1)
    # One at a time to each, or one of them would get all of the long ones, which come first.
    whole = ("-n", count, "--maxschedchunk", "1", "-p", "no:benchmark", "-m", "not slow", "--durations", "15")
    session.run("pytest", *(session.posargs or whole), env={"OMP_NUM_THREADS": "1"})


@nox.session
def slow(session: nox.Session) -> None:
    """Run the tests that take longest: they compile, build environments, profile, or train in fp64."""
    install(session, "tests")
    session.run("pytest", "-m", "slow", "-p", "no:benchmark", *session.posargs, env={"OMP_NUM_THREADS": "1"})


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, types and the direction of imports."""
    install(session, "lint")
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", "--check", *session.posargs)
    session.run("mypy")
    session.run("lint-imports")
    session.run("zizmor", "--offline", "--pedantic", "--quiet", ".github")
    workflows = map(str, sorted(Path(".github/workflows").glob("*.yml")))
    session.run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *workflows)


@nox.session
def overhead(session: nox.Session) -> None:
    """Print what the instrument adds to a 1 ms step, against a bare loop in the same run."""
    install(session)
    session.run("python", "tests/studies/overhead.py", *session.posargs, env={"OMP_NUM_THREADS": "1"})


@nox.session
def profile(session: nox.Session) -> None:
    """Profile a step: nox -s profile -- lines resnet20/eva/none, or -- diff vit/eva/none@@main vit/eva/none."""
    install(session)
    session.run("stepbench", "profile", *session.posargs)


@nox.session
def calibrate(session: nox.Session) -> None:
    """Compare identical or slowed versions again and again: nox -s calibrate -- --effect 0.01, or -- --summary."""
    install(session)
    session.run("stepbench", "calibrate", *session.posargs)


@nox.session
def dorefa(session: nox.Session) -> None:
    """Train with gradients of few bits, with and without shortcuts; runs that are stored are not repeated."""
    install(session)
    session.run("python", "tests/studies/dorefa_gradients.py", *session.posargs, env={"OMP_NUM_THREADS": "1"})


@nox.session
def accuracy(session: nox.Session) -> None:
    """Train ResNet-20 on the digits in float and by every kind of flow, over several seeds; half an hour."""
    # With torchao, for the flows of PT2E.
    session.install("-c", "constraints.txt", "-e", ".[pt2e]")
    session.run("python", "tests/studies/quantized_accuracy.py", *session.posargs, env={"OMP_NUM_THREADS": "1"})


@nox.session
def target(session: nox.Session) -> None:
    """Train a small net to 95 % on the digits with six optimizers, over ten seeds; -- resnet20 takes longer."""
    install(session)
    model, *options = session.posargs or ["small-net"]
    optimizers = ("sgd", "adamw", "eva", "eva-8bit", "sgd-8bit", "eva-f")
    variants = [f"{model}/{optimizer}" for optimizer in optimizers]
    how = ("--plugin", "tests/studies/small_net.py", "--batch", "32", "--until", "accuracy=0.95")
    # Eva's best rate is the lowest of the usual ones.
    rates = ("--rates", "0.0003,0.001,0.003,0.01,0.03,0.1")
    limits = ("--tuning-seeds", "3", "--seeds", "10", "--limit-steps", "1000", *rates)
    session.run("stepbench", "measure", *variants, *how, *limits, "--markdown", f"results/target/{model}.md", *options)


@nox.session
def eva(session: nox.Session) -> None:
    """Measure Eva in all its forms beside SGD and the published algorithm, at batch 1 and 32; about 30 minutes."""
    install(session)
    eight_bit = ("eva-8bit", "eva-8bit-cpu", "eva-8bit-eager")
    optimizers = ("sgd", "eva", "eva-bias-gradients", "eva-inductor", "eva-eager", *eight_bit, "eva-reference")
    how = ("--plugin", "tests/studies/eva_reference.py", "--results", "results/eva", "--budget", "3", "--workers", "3")
    for batch in ("1", "32"):
        for model in ("resnet20", "autoencoder", "vit"):
            variants = [f"{model}/{optimizer}" for optimizer in optimizers]
            # The reference is a part of the tests, which no installation holds.
            here = {"PYTHONPATH": str(Path.cwd())}
            session.run("stepbench", "measure", *variants, "--batch", batch, *how, env=here)
    session.run("python", "-m", "tests.studies.eva_turns", *session.posargs)
    session.run("python", "-m", "tests.studies.eva_counts", "results/eva")
    session.run("python", "-m", "tests.studies.eva_memory")


@nox.session
def engines(session: nox.Session) -> None:
    """Measure int8 on every engine beside float in its fastest forms, at two batch sizes and thread counts."""
    session.install("-c", "constraints.txt", "-e", ".[pt2e]")
    flavors = ("", ",memory_format=channels_last", ",dtype=bfloat16,memory_format=channels_last", ",compiled=true")
    flows = [f"fx-static-{engine}" for engine in ("x86", "onednn", "fbgemm", "qnnpack")]
    for threads in ("1", "2"):
        for batch in ("1", "32"):
            variants = [
                f"{model}/none/{row}"
                for model in ("resnet20", "mobilenetv2")
                for row in (
                    *(f"none@batch={batch}{flavor}" for flavor in flavors),
                    *(f"{flow}@batch={batch}" for flow in flows),
                    f"pt2e-static@batch={batch},compiled=true",
                )
            ]
            how = ("--threads", threads, "--results", "results/quantization/records")
            session.run("stepbench", "measure", *variants, *how, *session.posargs)
    session.run("python", "-m", "tests.studies.engines")


@nox.session
def int8(session: nox.Session) -> None:
    """Print how many times faster int8 is than float, eager and compiled, step by step in turn; eight minutes."""
    session.install("-c", "constraints.txt", "-e", ".[pt2e]")
    session.run("python", "-m", "tests.studies.int8_turns", *session.posargs)


@nox.session
def detectors(session: nox.Session) -> None:
    """Ask detectors of steps about known series: -- --store appends, --resume skips what is there, --summary shows."""
    install(session, "suites")
    session.run("python", "-m", "tests.studies.detectors", *session.posargs)


@nox.session
def alternation(session: nox.Session) -> None:
    """Print how much pairs of steps scatter when two versions alternate by steps, by phases and in blocks."""
    install(session)
    session.run("python", "tests/studies/alternation.py", *session.posargs)


@nox.session
def isolation(session: nox.Session) -> None:
    """Compare the same two commits in one process and in a process each, and print both ratios."""
    install(session, "tests")
    session.run("python", "-m", "tests.studies.isolation", *session.posargs)


@nox.session
def asv(session: nox.Session) -> None:
    """Measure commits with asv: nox -s asv -- run HEAD^!, then publish and preview; or continuous main HEAD."""
    if any("existing" in word for word in session.posargs):
        install(session, "asv")
    else:
        session.install("-c", "constraints.txt", *nox.project.dependency_groups(PYPROJECT, "asv"))
    if not Path("~/.asv-machine.json").expanduser().exists():
        session.run("asv", "machine", "--yes")
    session.run("asv", *session.posargs, env=ONE_THREAD)


@nox.session
def suite(session: nox.Session) -> None:
    """Measure with pytest-benchmark: nox -s suite -- --benchmark-json=out.json, or -- --benchmark-disable."""
    install(session, "suite")
    session.run("pytest", "suites/pytest_steps", *session.posargs, env=ONE_THREAD)


@nox.session
def peers(session: nox.Session) -> None:
    """Ask asv, pytest-benchmark, Welch's test and stepbench about the same commits: nox -s peers -- --trials 10."""
    install(session, "tests")
    session.run("python", "-m", "tests.studies.side_by_side", *session.posargs)


@nox.session
def repeatability(session: nox.Session) -> None:
    """Measure one variant twice, twenty times over, and count how often the two intervals overlap."""
    install(session)
    session.run("python", "tests/studies/repeatability.py", *session.posargs)

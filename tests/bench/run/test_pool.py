"""Workers are real processes here: what they promise is about processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from bench.data.protocol import Protocol
from bench.data.variant import Variant
from bench.errors import StepbenchError
from bench.run.messages import Answer, Request
from bench.run.pool import open_pool
from bench.run.process import WorkerProcess

PROTOCOL = Protocol(budget_s=0.1, workers=1, rounds=1)
PLUGIN = """
import os, signal, sys, time, torch
from bench import Workload

print("plug-ins may print")

def register(registry):
    @registry.model("toy")
    def toy(device, dtype, seed):
        print("at any time")
        module = torch.nn.Linear(4, 2)
        return Workload(module=module, loss=torch.nn.functional.mse_loss, sample=sample)

    @registry.optimizer("fine")
    def fine(module):
        return torch.optim.SGD(module.parameters(), lr=0.1)

    @registry.optimizer("dies")
    def dies(module):
        print("famous last words", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGSEGV)

    @registry.optimizer("raises")
    def raises(module):
        raise ValueError("no such luck")

def sample(batch, generator):
    return torch.zeros(batch, 4), torch.zeros(batch, 2)
"""


@pytest.fixture
def plugin(tmp_path):
    path = tmp_path / "toys.py"
    path.write_text(textwrap.dedent(PLUGIN))
    return str(path)


def request(do, optimizer="fine", **more):
    return Request(do=do, protocol=PROTOCOL, variant=Variant(model="toy", optimizer=optimizer, **more))


def test_a_pool_measures_outlives_a_crash_and_leaves_no_process(plugin):
    with open_pool(1, 1, "passive", [plugin]) as pool:
        environment = pool.greet(request("hello")).environment
        assert (environment.threads, environment.wait_policy) == (1, "passive")
        assert pool.ask(0, request("count")).exact.counters.values["forward.operations"] > 0

        failed = pool.ask(0, request("replicate", "raises"))
        assert failed.failure.startswith("ValueError: no such luck")
        assert pool.ask(0, request("replicate", "unknown")).usage.startswith("unknown optimizer 'unknown'")

        lost = pool.ask(0, request("replicate", "dies"))
        assert lost.failure == f"worker 0 ended by signal {signal.SIGSEGV}: famous last words"

        replicate = pool.ask(0, request("replicate")).replicate
        # The process is new, so the unit of replication is.
        assert replicate.worker == 1
        assert len(replicate.samples["step"]) >= 2
        process = pool._workers[0]._process
    assert process.poll() is not None


def test_a_worker_that_cannot_start_says_why(tmp_path):
    (tmp_path / "bad.py").write_text("raise RuntimeError('not today')")
    with (
        open_pool(1, 1, "passive", [str(tmp_path / "bad.py")]) as pool,
        pytest.raises(StepbenchError, match="not today"),
    ):
        pool.greet(request("hello"))


def test_a_silent_worker_is_stopped(plugin):
    worker = WorkerProcess(0, 1, "passive", module="bench.run.worker", arguments=["0", plugin], answers=Answer)
    with pytest.raises(StepbenchError, match="did not answer within 0 s"):
        worker.ask(request("hello"), patience_s=0.01)
    assert worker._process.poll() is not None


def test_a_worker_dies_with_the_command_that_started_it(plugin):
    script = """
        import os, sys
        from bench.data.protocol import Protocol
        from bench.run.messages import Answer, Request
        from bench.run.process import WorkerProcess
        arguments = ["0", sys.argv[1]]
        worker = WorkerProcess(0, 1, "passive", module="bench.run.worker", arguments=arguments, answers=Answer)
        worker.ask(Request(do="hello", protocol=Protocol()))
        print(worker._process.pid, flush=True)
        os.kill(os.getpid(), 9)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), plugin], capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert _gone(int(done.stdout))


def _gone(pid: int) -> bool:
    """Waits for a process that is nobody's child any more."""
    import time

    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
            return True
        time.sleep(0.05)
    return False

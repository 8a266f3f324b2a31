"""The pool: worker processes that are alive together and work one at a time."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec

from bench.errors import StepbenchError, WorkerLost
from bench.run.messages import Answer, Request

# Jobs answer within seconds; importing torch on a loaded machine does not take two minutes.
PATIENCE_S = 120.0


class WorkerProcess:
    """One worker process, seen from the parent; raises WorkerLost when it dies or stays silent."""

    def __init__(self, index: int, threads: int, wait_policy: str, plugins: Sequence[str]) -> None:
        self.index = index
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        environment = os.environ | {
            "OMP_NUM_THREADS": str(threads),
            "MKL_NUM_THREADS": str(threads),
            "OMP_WAIT_POLICY": wait_policy,
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.run.worker", str(index), *plugins],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
        )
        self._pending = b""

    def ask(self, request: Request, patience_s: float = PATIENCE_S) -> Answer:
        """Sends a job and waits for its answer."""
        self.send(request)
        return self.receive(patience_s)

    def send(self, request: Request) -> None:
        """Sends a job without waiting for its answer."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(msgspec.json.encode(request) + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise WorkerLost(self._obituary()) from None

    def receive(self, patience_s: float = PATIENCE_S) -> Answer:
        """Waits for the answer to the job sent last."""
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._pending:
                if not selector.select(patience_s):
                    self.stop()
                    raise WorkerLost(f"worker {self.index} did not answer within {patience_s:.0f} s and was stopped")
                chunk = os.read(self._process.stdout.fileno(), 1 << 20)
                if not chunk:
                    raise WorkerLost(self._obituary())
                self._pending += chunk
        line, _, self._pending = self._pending.partition(b"\n")
        return msgspec.json.decode(line, type=Answer)

    def stop(self) -> None:
        """Ends the process and frees what it held."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    # A job that the process never read is lost with it.
                    continue

    def _obituary(self) -> str:
        self._process.wait()
        code = self._process.returncode
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        ending = f"by signal {-code}" if code < 0 else f"with code {code}"
        return f"worker {self.index} ended {ending}: {lines[-1] if lines else 'it said nothing'}"


class Pool:
    """Workers that share a thread count; a lost one is replaced, so that one bad variant never loses the others."""

    def __init__(self, count: int, threads: int, wait_policy: str, plugins: Sequence[str]) -> None:
        self._settings = (threads, wait_policy, tuple(plugins))
        self._workers = [WorkerProcess(index, *self._settings) for index in range(count)]
        self._next_index = count

    def __len__(self) -> int:
        return len(self._workers)

    def greet(self, request: Request) -> Answer:
        """Waits until every worker has imported torch and the plug-ins; returns the first one's answer.

        Raises StepbenchError when a worker cannot start.
        """
        for worker in self._workers:
            worker.send(request)
        answers = [worker.receive() for worker in self._workers]
        for answer in answers:
            if answer.usage or answer.failure:
                raise StepbenchError(answer.usage or answer.failure)
        return answers[0]

    def ask(self, slot: int, request: Request) -> Answer:
        """Gives a job to the worker in a slot; the answer of a worker that is lost is a failure."""
        return self.ask_together([request], first=slot)[0]

    def ask_together(self, requests: Sequence[Request], first: int = 0) -> list[Answer]:
        """Gives jobs to as many workers, which do them at the same time: only for jobs that time nothing."""
        slots = range(first, first + len(requests))
        failures = {slot: self._send(slot, request) for slot, request in zip(slots, requests, strict=True)}
        return [failures[slot] or self._receive(slot, request) for slot, request in zip(slots, requests, strict=True)]

    def _send(self, slot: int, request: Request) -> Answer | None:
        try:
            self._workers[slot].send(request)
        except WorkerLost as lost:
            return self._replace(slot, lost)
        return None

    def _receive(self, slot: int, request: Request) -> Answer:
        try:
            return self._workers[slot].receive(PATIENCE_S + 20 * request.protocol.replicate_s)
        except WorkerLost as lost:
            return self._replace(slot, lost)

    def _replace(self, slot: int, lost: WorkerLost) -> Answer:
        self._workers[slot].stop()
        # A new process is a new unit of replication, so it gets an index that was never used.
        self._workers[slot] = WorkerProcess(self._next_index, *self._settings)
        self._next_index += 1
        return Answer(failure=str(lost))

    def stop(self) -> None:
        """Ends all workers."""
        for worker in self._workers:
            worker.stop()


@contextmanager
def open_pool(count: int, threads: int, wait_policy: str, plugins: Sequence[str]) -> Iterator[Pool]:
    """Starts a pool and ends it, whatever happens between."""
    pool = Pool(count, threads, wait_policy, plugins)
    try:
        yield pool
    finally:
        pool.stop()

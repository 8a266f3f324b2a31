"""The pool: worker processes that are alive together and work one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bench.errors import StepbenchError, WorkerLost
from bench.run.messages import Answer, Request
from bench.run.process import PATIENCE_S, WorkerProcess
from bench.run.team import Team


class Pool:
    """Workers that share a thread count; a lost one is replaced, so that one bad variant never loses the others.

    With several `ranks` each of them is a team of so many processes.
    """

    def __init__(self, count: int, threads: int, wait_policy: str, plugins: Sequence[str], ranks: int = 1) -> None:
        self._settings = (threads, wait_policy, tuple(plugins))
        self._ranks = ranks
        self._workers = [self._start(index) for index in range(count)]
        self._next_index = count

    def _start(self, index: int) -> WorkerProcess[Answer] | Team:
        threads, wait_policy, plugins = self._settings
        module, arguments = "bench.run.worker", [str(index), *plugins]
        if self._ranks > 1:
            return Team(index, self._ranks, threads, wait_policy, module=module, arguments=arguments)
        return WorkerProcess(index, threads, wait_policy, module=module, arguments=arguments, answers=Answer)

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
        self._workers[slot] = self._start(self._next_index)
        self._next_index += 1
        return Answer(failure=str(lost))

    def stop(self) -> None:
        """Ends all workers."""
        for worker in self._workers:
            worker.stop()


@contextmanager
def open_pool(count: int, threads: int, wait_policy: str, plugins: Sequence[str], ranks: int = 1) -> Iterator[Pool]:
    """Starts a pool and ends it, whatever happens between."""
    pool = Pool(count, threads, wait_policy, plugins, ranks)
    try:
        yield pool
    finally:
        pool.stop()

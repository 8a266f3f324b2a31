"""A team: the worker processes of the ranks of one step, which look like one worker from outside."""

from __future__ import annotations

import os
import selectors
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.errors import WorkerLost
from bench.run.messages import Answer
from bench.run.process import PATIENCE_S, WorkerProcess

# When one rank has failed, the others wait for it in vain: those that fail by themselves do so within this time.
GRACE_S = 5.0


class Team:
    """Processes that do each job together, as its ranks; raises WorkerLost when one dies, or when they cannot go on.

    They find each other by a file in a folder of the team's own: no port has to be free.
    """

    def __init__(
        self, index: int, ranks: int, threads: int, wait_policy: str, *, module: str, arguments: Sequence[str]
    ) -> None:
        self.index = index
        self._folder = tempfile.TemporaryDirectory(prefix="stepbench-ranks-")
        settings = {"WORLD_SIZE": str(ranks), "STEPBENCH_RANKS_STORE": str(Path(self._folder.name) / "store")}
        if sys.platform == "linux" and "GLOO_SOCKET_IFNAME" not in os.environ:
            # All ranks are on this machine, whose name need not lead to any of its addresses.
            settings["GLOO_SOCKET_IFNAME"] = "lo"
        self._members = [
            WorkerProcess(
                index, threads, wait_policy, module=module, arguments=arguments, answers=Answer,
                name=f"rank {rank} of worker {index}", settings=settings | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            )
            for rank in range(ranks)
        ]  # fmt: skip

    def send(self, request: Any) -> None:
        """Sends a job to all ranks without waiting for their answers."""
        for member in self._members:
            member.send(request)

    def receive(self, patience_s: float = PATIENCE_S) -> Answer:
        """Waits for all ranks and returns rank 0's answer, or that of all of them when they fail alike.

        Raises WorkerLost with the reason of the first rank to fail alone: the others are in the middle of the job.
        """
        answers: dict[WorkerProcess[Answer], Answer] = {}
        failed: list[str] = []
        with selectors.DefaultSelector() as selector:
            for member in self._members:
                selector.register(member.output, selectors.EVENT_READ, member)
            while selector.get_map():
                ready = selector.select(GRACE_S if failed else patience_s)
                for key, _ in ready:
                    member = key.data
                    try:
                        answer = member.collect()
                    except WorkerLost as lost:
                        # A death is the cause of what the other ranks complain of, whoever is heard first.
                        failed.insert(0, str(lost))
                        selector.unregister(member.output)
                        continue
                    if answer is not None:
                        answers[member] = answer
                        selector.unregister(member.output)
                        if answer.usage or answer.failure:
                            failed.append(f"{member.name}: {answer.usage or answer.failure}")
                if not ready:
                    silent = [key.data.name for key in selector.get_map().values()]
                    failed.append(f"{', '.join(silent)} did not answer within {patience_s:.0f} s and was stopped")
                    break
        alike = {answer.usage or answer.failure for answer in answers.values()}
        if failed and (len(answers) < len(self._members) or len(alike) > 1):
            self.stop()
            raise WorkerLost(failed[0])
        return answers[self._members[0]]

    def stop(self) -> None:
        """Ends all ranks and removes what they met by."""
        for member in self._members:
            member.stop()
        self._folder.cleanup()

"""8-bit Eva whose statistics live on the host and are quantized there, beside the training step."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ClassVar

import torch
from torch import nn

from lowbit.optimizers.eva_8bit import Eva8bit
from lowbit.optimizers.host_transfer import Transfer, transfer_for

Encoded = tuple[list[torch.Tensor], list[torch.Tensor], torch.Tensor | None]


class Eva8bitCPU(Eva8bit):
    """Eva8bit with a and g in host memory; momentum stays with the parameters.

    In each step the stored codes are decoded on the host and sent to the device, where the running average is taken
    and used; the new average is sent back, and one worker thread quantizes it while the device goes on. Nothing
    reads a copy before its event, and nothing reads codes before the worker is done, so that parameters are bit for
    bit those of Eva8bit. Without an accelerator the thread does the same work and nothing is copied.

    What goes wrong in the thread is raised by the next call that needs its result. `close()` ends the thread.
    """

    _encodes_at_once: ClassVar[bool] = False

    def __init__(
        self, model: nn.Module, lr: float, *options: Any, transfer: Transfer | None = None, **named: Any
    ) -> None:
        if named.get("capturable"):
            raise ValueError(
                "capturable=True: Eva8bitCPU has its statistics quantized by a thread of the host, which no graph can "
                "replay; take Eva8bit"
            )
        super().__init__(model, lr, *options, **named)
        device = next((layer.weight.device for layer in self.layers.values()), torch.device("cpu"))
        self._transfer = transfer or transfer_for(device)
        self._worker: ThreadPoolExecutor | None = None
        self._pending: tuple[list[torch.Tensor], Future[Encoded]] | None = None

    def close(self) -> None:
        """Waits for the worker, ends it, and removes the hooks."""
        self._settle()
        if self._worker is not None:
            self._worker.shutdown()
            self._worker = None
        super().close()

    def state_dict(self) -> dict[str, Any]:
        """Returns the state, after the worker is done with it."""
        self._settle()
        return super().state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Loads a state; see MixedStateOptimizer. Statistics go to the host."""
        self._settle()
        super().load_state_dict(state_dict)

    def place(self, key: str, value: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
        """Returns a copy of a loaded tensor, on the host if it belongs to a statistic."""
        if key.startswith(("a_", "g_")):
            return value.to("cpu", copy=True)
        return super().place(key, value, parameter)

    def _expected(self, name: str, a: torch.Tensor) -> torch.Tensor | None:
        self._settle()
        return super()._expected(name, a)

    def _statistics(self, weights: Sequence[torch.Tensor]) -> list[tuple[dict[str, torch.Tensor], str]]:
        self._settle()
        return super()._statistics(weights)

    def _load_statistics(self, weights: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        vectors = super()._load_statistics(weights)
        if not self.quantize_statistics:
            return vectors
        flat = self._transfer.to_device(torch.cat(vectors))
        return list(torch.split(flat, [len(vector) for vector in vectors]))

    def _store_statistics(
        self, weights: Sequence[torch.Tensor], averages: Sequence[torch.Tensor], healthy: torch.Tensor | None
    ) -> None:
        if not self.quantize_statistics:
            super()._store_statistics(weights, averages, healthy)
            return
        self._settle()
        flat, wait = self._transfer.to_host(torch.cat(list(averages)))
        verdict, wait_for_verdict = (None, None) if healthy is None else self._transfer.to_host(healthy)
        sizes = [len(vector) for vector in averages]

        coder = self._coder

        def encode() -> Encoded:
            wait()
            if wait_for_verdict is not None:
                wait_for_verdict()
            with torch.no_grad():
                return *coder.encode(torch.split(flat, sizes)), verdict

        if self._worker is None:
            self._worker = ThreadPoolExecutor(1, thread_name_prefix="eva-8bit-cpu")
            # An optimizer that is dropped without close() must not leave its thread behind.
            weakref.finalize(self, self._worker.shutdown, wait=False)
        self._pending = list(weights), self._worker.submit(encode)

    def _settle(self) -> None:
        """Waits for the worker and takes over what it encoded."""
        if self._pending is not None:
            (weights, future), self._pending = self._pending, None
            self._keep_vectors(weights, *future.result())

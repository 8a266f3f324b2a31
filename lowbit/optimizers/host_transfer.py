"""Copies between an accelerator and the host that nobody reads before they have arrived."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch


class Transfer(Protocol):
    """Moves tensors to and from the host without making the caller wait."""

    def to_host(self, values: torch.Tensor) -> tuple[torch.Tensor, Callable[[], None]]:
        """Starts a copy and returns its host tensor and a function that returns when it may be read."""

    def to_device(self, values: torch.Tensor) -> torch.Tensor:
        """Starts a copy; work queued behind it on the device sees it complete."""


class NoTransfer:
    """The device is the host: nothing is copied, so what is handed over must not be changed afterwards."""

    def to_host(self, values: torch.Tensor) -> tuple[torch.Tensor, Callable[[], None]]:
        """Returns the tensor itself, which may be read at once."""
        return values, lambda: None

    def to_device(self, values: torch.Tensor) -> torch.Tensor:
        """Returns the tensor itself."""
        return values


class CudaTransfer:
    """Copies through pinned memory on the current stream; the host waits for the copy's event before it reads.

    The pattern is that of torchao's CPU offload. The copy runs behind the kernels that produce its source, because
    both are on one stream, and for the same reason its source may be freed before it is done. PyTorch's pinned
    allocator keeps a block from reuse until the copies that read it are done.
    """

    def __init__(self, device: torch.device, cuda: Any = None) -> None:
        self._device = device
        self._cuda = torch.cuda if cuda is None else cuda

    def to_host(self, values: torch.Tensor) -> tuple[torch.Tensor, Callable[[], None]]:
        """Starts a copy into a pinned tensor; the returned function waits for its event, and for nothing else."""
        host = self._pinned_like(values)
        host.copy_(values, non_blocking=True)
        event = self._cuda.Event()
        event.record(self._cuda.current_stream(self._device))
        return host, event.synchronize

    def to_device(self, values: torch.Tensor) -> torch.Tensor:
        """Starts a copy from pinned memory on the current stream."""
        pinned = self._pinned_like(values)
        pinned.copy_(values)
        return pinned.to(self._device, non_blocking=True)

    def _pinned_like(self, values: torch.Tensor) -> torch.Tensor:
        return torch.empty(values.shape, dtype=values.dtype, pin_memory=self._cuda.is_available())


def transfer_for(device: torch.device) -> Transfer:
    """Returns the transfer that suits a device."""
    return CudaTransfer(device) if device.type == "cuda" else NoTransfer()

from __future__ import annotations

import gc
import threading
import time

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lowbit.optimizers.eva_8bit import Eva8bit
from lowbit.optimizers.eva_8bit_cpu import Eva8bitCPU
from lowbit.optimizers.host_transfer import CudaTransfer


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))


def step(model, optimizer, index=0):
    torch.manual_seed(index)
    model.zero_grad()
    F.cross_entropy(model(torch.randn(4, 6)), torch.arange(4) % 3).backward()
    optimizer.step()


class SlowDevice:
    """Stands for torch.cuda: a copy to the host arrives when its event is waited for, and is garbage before."""

    def __init__(self):
        self.queued = []
        self.waited = 0

    def is_available(self):
        return False

    def current_stream(self, _device):
        return "stream"

    def Event(self):  # noqa: N802 - torch's name
        device = self

        class Event:
            def record(self, stream):
                assert stream == "stream"
                self.copies, device.queued = device.queued, []

            def synchronize(self):
                device.waited += 1
                for host, values in self.copies:
                    host.data.copy_(values)

        return Event()


class LateHost(torch.Tensor):
    """A host tensor whose non-blocking copies are queued on the slow device instead of done."""

    device_: SlowDevice

    def copy_(self, source, non_blocking=False):
        if non_blocking:
            plain = self.as_subclass(torch.Tensor)
            plain.fill_(float("nan") if plain.is_floating_point() else 1)
            self.device_.queued.append((plain, source.clone()))
            return self
        return super().copy_(source)


@pytest.fixture
def transfer(monkeypatch):
    device = SlowDevice()
    made = CudaTransfer(torch.device("cpu"), device)
    monkeypatch.setattr(LateHost, "device_", device, raising=False)
    plain = made._pinned_like

    def late(values):
        return plain(values).as_subclass(LateHost)

    made._pinned_like = late
    return made, device


def test_nothing_is_read_on_the_host_before_its_event(transfer):
    made, device = transfer
    model, twin = net(), net()
    # An accelerator's tensors are no part of what C++ takes.
    ours = Eva8bitCPU(model, 1e-2, transfer=made, compiled=False)
    expected = Eva8bit(twin, 1e-2, compiled=False)
    for index in range(4):
        step(model, ours, index)
        step(twin, expected, index)
    assert device.waited >= 3
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(p.as_subclass(torch.Tensor), q)
    ours.close()


def test_the_step_does_not_wait_for_the_worker_and_the_next_one_does(monkeypatch):
    model = net()
    optimizer = Eva8bitCPU(model, 1e-2)
    step(model, optimizer)
    optimizer.state_dict()
    leave, started = threading.Event(), threading.Event()
    encode = optimizer._coder.encode

    def slow(tensors):
        if threading.current_thread() is not threading.main_thread():
            started.set()
            assert leave.wait(30)
        return encode(tensors)

    monkeypatch.setattr(optimizer._coder, "encode", slow)
    step(model, optimizer, 1)
    assert started.wait(30)
    assert not optimizer._pending[1].done()
    leave.set()
    optimizer.state_dict()
    assert optimizer._pending is None
    optimizer.close()


def test_what_goes_wrong_in_the_worker_is_raised_by_the_next_step(monkeypatch):
    model = net()
    optimizer = Eva8bitCPU(model, 1e-2)

    def broken(_tensors):
        raise MemoryError("no room on the host")

    with monkeypatch.context() as patch:
        patch.setattr(optimizer._coder, "encode", broken)
        step(model, optimizer)
        with pytest.raises(MemoryError, match="no room on the host"):
            step(model, optimizer, 1)
    optimizer.close()


def workers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("eva-8bit-cpu")]


def test_closing_ends_the_thread():
    model = net()
    optimizer = Eva8bitCPU(model, 1e-2)
    step(model, optimizer)
    assert workers()
    optimizer.close()
    assert not workers()


def test_dropping_the_optimizer_ends_the_thread():
    model = net()
    optimizer = Eva8bitCPU(model, 1e-2)
    step(model, optimizer)
    del optimizer
    gc.collect()
    for _ in range(200):
        if not workers():
            break
        time.sleep(0.01)
    assert not workers()

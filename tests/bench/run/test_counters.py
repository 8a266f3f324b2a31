from __future__ import annotations

import threading

import torch

from bench.data.variant import Variant
from bench.run.build import build, open_data
from bench.run.counters import Operations, background_threads, count


def make(registry, text):
    return build(registry, Variant.parse(text), data=open_data(registry, "noise"), seed=0)


def test_a_linear_step_is_counted_to_the_operation(registry):
    values = count(make(registry, "line/descent/none@batch=2"))
    # addmm, log_softmax, nll_loss; each with one backward, where addmm's is a product and a sum, plus the seed.
    assert values["forward.operations"] == 3
    assert values["backward.operations"] == 5
    assert values["forward.flops"] == values["backward.flops"] == 2 * 2 * 8 * 4
    assert values["optimize.flops"] == 0
    assert [values[f"{phase}.syncs"] for phase in ("forward", "backward", "optimize")] == [0, 0, 0]
    # The input (2x8), the log-probabilities (2x4), nll_loss's weight (4 bytes) and the targets (2 int64).
    assert values["saved_bytes"] == 4 * 16 + 4 * 8 + 4 + 16
    assert "zero_grad.operations" not in values


def test_reading_a_value_is_a_sync_and_a_view_is_no_operation():
    tensor = torch.arange(6.0)
    with Operations() as counter:
        tensor.view(2, 3).t()
        assert (counter.operations, counter.syncs) == (0, 0)
        tensor.add(1).sum().item()
    assert (counter.operations, counter.syncs) == (3, 1)


def test_a_copy_to_the_host_is_a_sync_unless_it_is_asynchronous():
    tensor = torch.empty(3, device="meta")
    with Operations() as counter:
        torch.ops.aten._to_copy(torch.ones(3), device=torch.device("meta"))
        assert counter.syncs == 0
    from bench.run.counters import _copies_to_host

    copy = torch.ops.aten.copy_.default
    assert _copies_to_host(copy, (torch.ones(3), tensor), {})
    assert not _copies_to_host(copy, (torch.ones(3), tensor, True), {})
    assert not _copies_to_host(copy, (tensor, torch.ones(3)), {})


def test_inference_has_a_forward_count_only(registry):
    assert set(count(make(registry, "line/none/none"))) == {"forward.operations", "forward.syncs", "forward.flops"}


def test_a_thread_started_by_a_step_is_a_caveat(registry):
    step, caveats = background_threads(lambda: make(registry, "line/descent/none"))
    assert caveats == ()
    leave = threading.Event()
    run = step.optimizer.step

    def threaded():
        threading.Thread(target=leave.wait, daemon=True).start()
        run()

    def build_threaded():
        step.optimizer.step = threaded
        return step

    try:
        _, caveats = background_threads(build_threaded)
        assert [caveat.code for caveat in caveats] == ["background-threads"]
    finally:
        leave.set()

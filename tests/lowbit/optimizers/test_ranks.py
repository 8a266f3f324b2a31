"""Two real processes train together: what ranks promise is that these agree, and with one that has the whole batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from lowbit.optimizers.eva import Eva
from lowbit.optimizers.ranks import unwrap

RANKS = 2


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """What each rank saw in each case of ranks_training."""
    store = tmp_path_factory.mktemp("ranks") / "store"
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.lowbit.optimizers.ranks_training", str(rank), str(RANKS), str(store)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        )
        for rank in range(RANKS)
    ]  # fmt: skip
    try:
        outputs = [process.communicate(timeout=240) for process in ranks]
    finally:
        for process in ranks:
            process.kill()
    for output, errors in outputs:
        assert output, errors
    return [json.loads(output) for output, _ in outputs]


def both(seen, case):
    assert seen[0][case].keys() == seen[1][case].keys()
    return [rank[case] for rank in seen]


@pytest.mark.parametrize(
    "case", ["eva", "reference", "eva-f", "eva-f waits", "used twice", "accumulated", "given up", "unused allowed"]
)
def test_ranks_are_identical_and_equal_one_rank_with_the_whole_batch(seen, case):
    for rank in both(seen, case):
        assert rank["same"]
        assert rank["distance"] <= 1e-10


@pytest.mark.parametrize("case", ["eva-8bit", "eva-8bit-cpu"])
def test_ranks_in_8_bits_are_identical_and_differ_from_one_rank_by_a_code_at_most(seen, case):
    for rank in both(seen, case):
        assert rank["same"]
        # A value that lies at the edge of two codes may fall to either side, by the last bit of an average.
        assert rank["distance"] <= 1e-3


def test_a_step_sends_one_message_for_the_statistics_of_all_layers_before_backward_ends(seen):
    for rank in both(seen, "sent"):
        after_forward, after_backward, after_step = rank["order"]
        assert (after_forward, after_backward, after_step) == (0, 2, 2)
        assert rank["sizes"] == sorted([rank["vectors"], rank["gradients"]])


def test_a_layer_that_ran_on_one_rank_only_changes_the_statistics_of_all(seen):
    for rank in both(seen, "one lacks a layer"):
        assert rank == {"same": True, "statistics": True}


def test_a_plain_model_exchanges_nothing():
    model = nn.Linear(2, 2)
    assert unwrap(model) == (model, None)
    optimizer = Eva(model, lr=0.1)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.wait_for_ranks()
    optimizer.step()
    assert optimizer.capture.exchange is None

"""Steps in a graph: replayed on the memory that they had while they were captured, they have to go on as before."""

from __future__ import annotations

import gc

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from lowbit.optimizers import graph_capture
from lowbit.optimizers.eva import Eva
from lowbit.optimizers.eva_8bit import Eva8bit
from lowbit.optimizers.eva_8bit_cpu import Eva8bitCPU
from lowbit.optimizers.eva_f import EvaF

_aten = torch.ops.aten
CAPTURABLE = [Eva, Eva8bit, EvaF]


class Graph(TorchDispatchMode):
    """What a CUDA graph is, on the CPU: operations on the memory that they had while they were captured, no Python."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func is not _aten._local_scalar_dense.default, "the host waits for a number"
        kwargs = kwargs or {}
        found = func(*args, **kwargs)
        # Their memory, as tensors of its own: autograd takes a gradient as it is only if nobody else has it.
        self.calls.append((func, *tree_map_only(torch.Tensor, torch.Tensor.detach, (args, kwargs, found))))
        return found

    @torch.no_grad()
    def replay(self):
        for func, args, kwargs, found in self.calls:
            for old, new in zip(tree_leaves(found), tree_leaves(func(*args, **kwargs)), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


def net(dtype):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2, groups=2, bias=False),
        nn.Flatten(), nn.Linear(72, 70), nn.Tanh(), nn.Linear(70, 4),
    ).to(dtype)  # fmt: skip


def data(index, dtype):
    generator = torch.Generator().manual_seed(index)
    return torch.randn(5, 3, 8, 8, generator=generator).to(dtype), torch.randint(4, (5,), generator=generator)


def groups(model, lrs):
    """Layers by turns, so that the KL clip meets both rates."""
    layers = [list(layer.parameters()) for layer in model if list(layer.parameters())]
    return [{"params": [p for of in layers[turn::2] for p in of], "lr": lr} for turn, lr in enumerate(lrs)]


class Training:
    """A model and its optimizer, a scaler if there is one, and the batch in memory that stays."""

    def __init__(self, form, dtype, *, scaled=False, **options):
        self.model = net(dtype)
        self.lrs = torch.tensor(0.01, dtype=dtype), torch.tensor(0.02, dtype=dtype)
        self.optimizer = form(
            self.model, 0.01, param_groups=groups(self.model, self.lrs), capturable=True, **options,
        )  # fmt: skip
        self.scaler = torch.amp.GradScaler("cpu", init_scale=128.0, enabled=scaled)
        self.inputs, self.targets = data(0, dtype)

    def give(self, index, factor):
        for old, new in zip((self.inputs, self.targets), data(index, self.inputs.dtype), strict=True):
            old.copy_(new)
        for lr in self.lrs:
            lr.mul_(factor)

    def step(self):
        self.optimizer.zero_grad()
        self.scaler.scale(F.cross_entropy(self.model(self.inputs), self.targets)).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def all_there_is(self):
        kept = self.optimizer.state_dict()["state"]
        state = {(number, key): value for number, of in kept.items() for key, value in of.items()}
        return {**self.model.state_dict(), **state}


def two(form, dtype, **options):
    """Returns two trainings that are alike, after three steps."""
    found = Training(form, dtype, **options), Training(form, dtype, **options)
    for training in found:
        for index in range(3):
            training.give(index, 1.0)
            training.step()
    return found


def assert_alike(replayed, stepped):
    wanted = stepped.all_there_is()
    for name, value in replayed.all_there_is().items():
        assert torch.equal(value, wanted[name]), name


@pytest.fixture
def captures(monkeypatch):
    """Says that a graph is being captured, while it is."""
    now = [False]
    monkeypatch.setattr(graph_capture, "capturing", lambda: now[0])
    monkeypatch.setattr(graph_capture, "_held", {})

    def capture(run):
        graph = Graph()
        now[0] = True
        with graph:
            run()
        now[0] = False
        return graph

    return capture


# Eva-f takes no scaled gradients.
@pytest.mark.parametrize(
    ("form", "dtype", "options"),
    [
        *((form, dtype, {}) for form in CAPTURABLE for dtype in (torch.float64, torch.float32)),
        *((form, torch.float32, {"scaled": True}) for form in (Eva, Eva8bit)),
    ],
)  # fmt: skip
def test_replays_go_on_as_steps_would_and_follow_data_and_rates(form, dtype, options, captures):
    replayed, stepped = two(form, dtype, **options)
    graph = captures(replayed.step)
    stepped.step()
    # Nothing may lean on what Python still holds.
    gc.collect()
    for index in range(3, 7):
        for training in (replayed, stepped):
            training.give(index, 0.7)
        graph.replay()
        stepped.step()
        assert_alike(replayed, stepped)


def test_rates_that_are_tensors_are_the_same_rates():
    tensors, numbers = Training(Eva, torch.float64), Training(Eva, torch.float64)
    mixed = Training(Eva, torch.float64)
    for training, lrs in ((numbers, (0.01, 0.02)), (mixed, (0.01, mixed.lrs[1]))):
        for group, lr in zip(training.optimizer.param_groups, lrs, strict=True):
            group["lr"] = lr
    for training in (tensors, numbers, mixed):
        for index in range(3):
            training.give(index, 1.0)
            training.step()
    for training in (tensors, mixed):
        for name, value in training.model.state_dict().items():
            torch.testing.assert_close(value, numbers.model.state_dict()[name], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("form", CAPTURABLE)
def test_what_was_not_made_for_it_is_not_captured(form, captures):
    model = net(torch.float32)
    optimizer = form(model, 0.01)

    def step():
        F.cross_entropy(model(data(0, torch.float32)[0]), data(0, torch.float32)[1]).backward()
        optimizer.step()

    step()
    with pytest.raises(RuntimeError, match="make the optimizer with capturable=True"):
        captures(step)


@pytest.mark.parametrize("form", CAPTURABLE)
def test_a_first_step_is_not_captured(form, captures):
    with pytest.raises(RuntimeError, match="take a step of the same kind first"):
        captures(Training(form, torch.float32).step)


def test_a_parameter_without_momentum_is_refused(captures):
    training = Training(Eva, torch.float32)
    training.step()
    del training.optimizer.state[training.model[-1].weight]["momentum_buffer"]
    with pytest.raises(RuntimeError, match="take a step of the same kind first"):
        captures(training.step)


@pytest.mark.parametrize("form", CAPTURABLE)
def test_a_state_that_is_loaded_is_that_of_replays(form, captures):
    replayed, stepped = two(form, torch.float32)
    graph = captures(replayed.step)
    replayed.optimizer.load_state_dict(stepped.optimizer.state_dict())
    replayed.model.load_state_dict(stepped.model.state_dict())
    # What a state says of rates is that of its own tensors.
    for group, lr in zip(replayed.optimizer.param_groups, replayed.lrs, strict=True):
        group["lr"] = lr
    for index in range(3, 5):
        for training in (replayed, stepped):
            training.give(index, 0.7)
        graph.replay()
        stepped.step()
    assert_alike(replayed, stepped)


def test_a_layer_that_is_new_to_a_capture_is_refused(captures):
    training = Training(Eva, torch.float32)
    for parameter in training.model[-1].parameters():
        parameter.requires_grad_(requires_grad=False)
    training.step()
    for parameter in training.model[-1].parameters():
        parameter.requires_grad_()
    with pytest.raises(RuntimeError, match="take a step of the same kind first"):
        captures(training.step)


def test_constants_that_a_graph_reads_outlive_their_cache(captures):
    training = Training(Eva, torch.float32)
    training.step()
    captures(training.step)
    held = {tuple(values.shape) for values in graph_capture._held.values()}
    # The tables of mean patches, and numbers of inputs of all blocks.
    assert {(64, 9), (5,)} <= held


def test_what_no_replay_can_follow_is_refused():
    model = net(torch.float32)
    with pytest.raises(ValueError, match="stat_every=2: every replay"):
        Eva(model, 0.01, stat_every=2, capturable=True)
    with pytest.raises(ValueError, match="stat_every=3: every replay"):
        EvaF(model, 0.01, stat_every=3, capturable=True)
    with pytest.raises(ValueError, match="compiled=True: torch's operations"):
        Eva(model, 0.01, compiled=True, capturable=True)
    with pytest.raises(ValueError, match="compiled='inductor': torch's operations"):
        Eva(model, 0.01, compiled="inductor", capturable=True)
    with pytest.raises(ValueError, match="take Eva8bit"):
        Eva8bitCPU(model, 0.01, capturable=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("form", CAPTURABLE)
def test_on_a_gpu_replays_go_on_as_steps_would(form):
    replayed, stepped = (Training(form, torch.float32) for _ in range(2))
    for training in (replayed, stepped):
        training.model.cuda()
        training.inputs, training.targets = training.inputs.cuda(), training.targets.cuda()
        training.lrs = tuple(lr.cuda() for lr in training.lrs)
        for group, lr in zip(training.optimizer.param_groups, training.lrs, strict=True):
            group["lr"] = lr
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(3):
            replayed.step()
    torch.cuda.current_stream().wait_stream(beside)
    for _ in range(3):
        stepped.step()
    graph = torch.cuda.CUDAGraph()
    replayed.optimizer.zero_grad()
    with torch.cuda.graph(graph):
        replayed.step()
    for index in range(3, 7):
        for training in (replayed, stepped):
            training.give(index, 0.7)
        graph.replay()
        stepped.step()
    wanted = stepped.all_there_is()
    for name, value in replayed.all_there_is().items():
        torch.testing.assert_close(value.double(), wanted[name].double(), rtol=1e-3, atol=1e-4, msg=str(name))

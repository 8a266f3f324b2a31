from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from bench.run.memory import host_peak
from lowbit.optimizers import compiled_descent, compiled_momentum, momentum_8bit, square_map
from lowbit.optimizers.descent import Direction, descend
from lowbit.optimizers.eva import Eva
from lowbit.optimizers.eva_8bit import Eva8bit
from lowbit.optimizers.hyperparameters import Rates
from lowbit.optimizers.sgd_8bit import SGD8bit

pytestmark = pytest.mark.slow

RATES = Rates(lr=0.1, momentum=0.9, weight_decay=5e-4)

# torch's own compiler imports what torch deprecates.
compiles = pytest.mark.filterwarnings("ignore:`torch.jit.*` is deprecated:DeprecationWarning")
needs_compiler = pytest.mark.skipif(not compiled_descent.available(), reason="no C++ compiler")


def given(shape, seed=0):
    """A parameter, gradients of three steps, the last scaled, and a direction."""
    generator = torch.Generator().manual_seed(seed)
    parameter, *grads = (torch.randn(shape, generator=generator) for _ in range(4))
    column, a = torch.randn(shape[0], generator=generator), torch.randn(parameter[0].numel(), generator=generator)
    return parameter, grads, Direction(column, a, 1)


def eager(parameter, grads, direction, scale):
    parameter, state = parameter.clone(), {}
    for grad in grads:
        work = momentum_8bit.load([state], [parameter])
        descend([parameter], [grad.clone()], work.buffers, RATES, scale=scale, directions=[direction])
        momentum_8bit.store([state], work)
    return parameter, state


@needs_compiler
@compiles
@pytest.mark.parametrize("directed", [True, False])
def test_compiled_code_goes_the_same_way(directed):
    for shape in ((300, 512), (130, 1000), (128, 64, 3, 3)):
        parameter, grads, direction = given(shape)
        scale = torch.tensor(0.3) if directed else None
        expected, kept = eager(parameter, grads, direction if directed else None, scale)
        state = {}
        for grad in grads:
            compiled_momentum.step(parameter, grad, state, direction if directed else None, scale, RATES)
        assert (parameter - expected).abs().max() <= 1e-2 * 0.1 * max(grad.abs().max() for grad in grads)
        assert torch.allclose(state["momentum_scales"], kept["momentum_scales"], rtol=1e-2)
        difference = (state["momentum_codes"].int() - kept["momentum_codes"].int()).abs()
        # A value at the edge of two codes may fall to either.
        assert difference.max() <= 1
        assert (difference > 0).float().mean() <= 1e-3
        decoded = square_map.dequantize(state["momentum_codes"], state["momentum_scales"])
        wanted = square_map.dequantize(kept["momentum_codes"], kept["momentum_scales"])
        assert (decoded - wanted).norm() <= 1e-3 * wanted.norm()


@needs_compiler
@compiles
def test_sgd_by_compiled_code_is_sgd_by_passes():
    parameter, grads, _ = given((300, 512))
    found = []
    for compiled in (True, False):
        large, small = (torch.nn.Parameter(part.clone()) for part in (parameter, parameter[:9]))
        optimizer = SGD8bit([small, large], compiled=compiled, **RATES._asdict())
        for grad in grads:
            large.grad, small.grad = grad.clone(), grad[:9].clone()
            optimizer.step()
        found.append((large.detach(), small.detach()))
    assert (found[0][0] - found[1][0]).norm() <= 1e-4 * (found[1][0] - parameter).norm()
    assert torch.equal(found[0][1], found[1][1])


@needs_compiler
@compiles
@pytest.mark.parametrize("directed", [True, False])
def test_no_momentum_of_a_whole_layer_is_in_full_precision(directed):
    """New codes and scales are all that is allocated: what is in between lies in a buffer of one block."""
    parameter, (grad, *_), direction = given((300, 512))
    arguments = (direction, torch.tensor(0.3)) if directed else (None, None)
    state = {}
    compiled_momentum.step(parameter, grad, state, *arguments, RATES)
    peak = host_peak(lambda: compiled_momentum.step(parameter, grad, state, *arguments, RATES))
    assert parameter.numel() <= peak <= 1.2 * parameter.numel()


@needs_compiler
@compiles
def test_what_is_not_finite_stays_in_its_block():
    parameter, (grad, *_), direction = given((300, 512))
    grad[7, 300] = float("nan")
    state = {}
    compiled_momentum.step(parameter, grad, state, direction, torch.tensor(1.0), RATES)
    found = square_map.dequantize(state["momentum_codes"], state["momentum_scales"])
    # Of the two blocks of row 7 the second.
    assert (~torch.isfinite(found)).all(1).nonzero().flatten().tolist() == [15]
    assert torch.isfinite(found[:15]).all()
    assert torch.isfinite(found[16:]).all()


def test_compiled_code_is_for_large_fp32_layers_whose_blocks_stay_in_rows():
    large, grads, direction = given((300, 512))
    takes = compiled_momentum.takes
    assert takes(large, grads[0], direction)
    assert takes(large, grads[0], None)
    assert not takes(large[:9], grads[0][:9], direction)
    assert not takes(large.double(), grads[0].double(), direction)
    assert not takes(large.t(), grads[0].t(), direction)
    assert not takes(large, grads[0], direction._replace(groups=2))
    narrow, narrow_grads, narrow_direction = given((4096, 48))
    assert not takes(narrow, narrow_grads[0], narrow_direction)
    assert takes(narrow, narrow_grads[0], None)


class Counting(TorchDispatchMode):
    calls = 0

    def __torch_dispatch__(self, function, _types, args=(), kwargs=None):
        self.calls += 1
        return function(*args, **(kwargs or {}))


@needs_compiler
@compiles
@pytest.mark.parametrize("make", [Eva, Eva8bit, lambda model, lr, **named: SGD8bit(model.parameters(), lr, **named)])
def test_what_steps_need_is_compiled_before_the_first_of_them(make):
    # Layers of one block a row, of several, and of a parameter that no layer is of.
    sizes = (256, 300, 768, 256)
    layers = [nn.Linear(*pair, bias=False) for pair in itertools.pairwise(sizes)]
    model = nn.Sequential(*layers, nn.LayerNorm((300, 256)))
    optimizer = make(model, 1e-3, compiled=True)
    before = counters["stats"]["unique_graphs"]
    assert before > 0

    def step():
        optimizer.zero_grad()
        model(torch.randn(300, 256)).square().sum().backward()
        optimizer.step()

    step()
    # Who counts operations sees each, and leaves nothing uncompiled behind.
    with Counting() as mode:
        step()
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        step()
    assert mode.calls > 0
    assert sum("Torch-Compiled Region" in event.name for event in seen.events()) >= 3
    assert counters["stats"]["unique_graphs"] == before

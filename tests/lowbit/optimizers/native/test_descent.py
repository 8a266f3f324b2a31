"""The descent in C++ beside the one of torch's operations."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bench.run.memory import host_peak
from lowbit.optimizers import momentum_8bit, square_map
from lowbit.optimizers.descent import descend
from lowbit.optimizers.direction import Direction
from lowbit.optimizers.eva import Eva
from lowbit.optimizers.hyperparameters import Rates
from lowbit.optimizers.native import descent as native
from lowbit.optimizers.sgd_8bit import SGD8bit

RATES = Rates(lr=0.1, momentum=0.9, weight_decay=0.01)
# (shape, curvature blocks): rows shorter and longer than a block, blocks across rows, padded ones, a depthwise kernel.
SHAPES = [((6, 8), 1), ((300, 512), 1), ((70, 4, 3, 3), 1), ((64, 1, 3, 3), 64), ((40, 25, 3, 3), 4), ((61, 67), 1)]


def problem(shape, groups=1, seed=0):
    """A parameter, gradients of three steps and a direction."""
    generator = torch.Generator().manual_seed(seed)
    p, *grads = (torch.randn(shape, generator=generator) for _ in range(4))
    a = torch.randn(p[0].numel() * groups, generator=generator)
    return p, grads, Direction(torch.randn(shape[0], generator=generator), a, groups)


def both_ways(p, grads, direction, scale):
    """Returns parameters and buffers after three steps: those of torch's operations, then those of C++."""
    found = []
    for compiled in (None, native.Descent()):
        own, buffer = p.clone(), torch.zeros_like(p)
        for grad in grads:
            own_grad = [grad.clone()]
            descend([own], own_grad, [buffer], RATES, scale=scale, directions=[direction], compiled=compiled)
        found.append((own, buffer))
    return found


@pytest.mark.parametrize(("shape", "groups"), SHAPES)
def test_buffer_and_parameter_are_those_of_torchs_operations(shape, groups):
    for expected, found in zip(*both_ways(*problem(shape, groups), torch.tensor(0.3)), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_a_bias_is_the_last_column():
    p, grads, direction = problem((300,))
    for expected, found in zip(*both_ways(p, grads, direction._replace(a=None), torch.tensor(0.3)), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def in_codes(p, grads, direction, scale, compiled):
    p, state = p.clone(), {}
    for grad in grads:
        pieces = [momentum_8bit.Piece(p, grad.clone(), state, direction)]
        if compiled:
            assert momentum_8bit.compiled_first(pieces, native.Descent(), scale, RATES) == []
            continue
        work = momentum_8bit.load([state], [p])
        descend([p], [grad.clone()], work.buffers, RATES, scale=scale, directions=[direction])
        momentum_8bit.store([state], work)
    return p, state


@pytest.mark.parametrize(("shape", "groups"), [each for each in SHAPES if torch.Size(each[0]).numel() >= 4096])
@pytest.mark.parametrize("kind", ["weight", "bias", "plain"])
def test_codes_are_those_of_torchs_operations(shape, groups, kind):
    p, grads, direction = problem(shape, groups)
    if kind == "bias":
        p, grads = p.flatten(), [grad.flatten() for grad in grads]
        direction = Direction(torch.randn(len(p)), None, 1)
    scale = None if kind == "plain" else torch.tensor(0.3)
    given = p, grads, None if kind == "plain" else direction, scale
    (expected, kept), (found, state) = (in_codes(*given, compiled) for compiled in (False, True))
    # A value at the edge of two codes may fall to either, and what follows from it differs as far.
    assert (found - expected).abs().max() <= 1e-2 * 0.1 * max(grad.abs().max() for grad in grads)
    torch.testing.assert_close(state["momentum_scales"], kept["momentum_scales"], rtol=1e-2, atol=0)
    difference = (state["momentum_codes"].int() - kept["momentum_codes"].int()).abs()
    assert difference.max() <= 1
    assert (difference > 0).float().mean() <= 1e-3


def test_one_encoding_is_bit_for_bit_that_of_the_square_map():
    """Without momentum and with a rate of nothing, what is kept is the gradient."""
    grad = torch.randn(300, 512)
    p, state = torch.zeros(300, 512), {}
    momentum_8bit.compiled_first([momentum_8bit.Piece(p, grad, state)], native.Descent(), None, Rates(0.0, 0.9, 0.0))
    codes, scales = square_map.quantize(grad.view(-1, 256))
    assert torch.equal(state["momentum_codes"], codes)
    assert torch.equal(state["momentum_scales"], scales)


def test_what_is_not_finite_stays_in_its_block():
    p, (grad, *_), direction = problem((300, 512))
    for bad in (float("nan"), float("inf"), -float("inf")):
        spoilt, state = grad.clone(), {}
        spoilt[7, 300] = bad
        momentum_8bit.compiled_first(
            [momentum_8bit.Piece(p.clone(), spoilt, state, direction)], native.Descent(), torch.ones(()), RATES
        )
        found = square_map.dequantize(state["momentum_codes"], state["momentum_scales"])
        # Of the two blocks of row 7 the second.
        assert (~torch.isfinite(found)).all(1).nonzero().flatten().tolist() == [15]
        assert torch.isfinite(found[:15]).all()
        assert torch.isfinite(found[16:]).all()


def test_threads_change_nothing():
    given = problem((300, 512))
    found = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(in_codes(*given, torch.tensor(0.3), compiled=True))
    finally:
        torch.set_num_threads(before)
    for other, state in found[1:]:
        assert torch.equal(other, found[0][0])
        assert torch.equal(state["momentum_codes"], found[0][1]["momentum_codes"])


def test_nothing_of_a_layers_size_is_allocated():
    p, (grad, *_), direction = problem((300, 512))
    state = {}
    momentum_8bit.start(state, p)
    piece, scale = momentum_8bit.Piece(p, grad, state, direction), torch.ones(())
    assert host_peak(lambda: momentum_8bit.compiled_first([piece], native.Descent(), scale, RATES)) == 0


def test_gradients_stay_as_they_are():
    p, (grad, *_), direction = problem((300, 512))
    before = grad.clone()
    descend(
        [p],
        [grad],
        [torch.zeros_like(p)],
        RATES,
        scale=torch.ones(()),
        directions=[direction],
        compiled=native.Descent(),
    )
    assert torch.equal(grad, before)


def test_cpp_is_for_contiguous_fp32_on_the_cpu():
    p, (grad, *_), direction = problem((64, 72))
    assert native.fits(p, grad, direction)
    assert native.fits(p, grad, None)
    assert not native.fits(p.t(), grad.t(), None)
    assert not native.fits(p.double(), grad.double(), direction)
    assert not native.fits(p.to("meta"), grad.to("meta"), None)
    assert not native.fits(p, grad, direction._replace(a=direction.a.double()))
    assert native.takes(RATES, None)
    assert not native.takes(RATES._replace(lr=torch.tensor(0.1)), None)
    assert not native.takes(RATES, torch.tensor(True))
    assert not native.takes(RATES._replace(momentum=0.0), None)


@pytest.mark.parametrize("part", ["grad", "buffer", "codes", "scales", "column", "a"])
def test_what_does_not_belong_together_is_refused(part):
    p, (grad, *_), direction = problem((64, 72))
    state = {}
    momentum_8bit.start(state, p)
    of = {"grad": grad, "buffer": torch.zeros_like(p), "column": direction.column, "a": direction.a}
    of |= {"codes": state["momentum_codes"], "scales": state["momentum_scales"]}
    of[part] = of[part][: len(of[part]) // 2].clone()
    momentum = (of["codes"], of["scales"]) if part in {"codes", "scales"} else (of["buffer"],)
    along = Direction(of["column"], of["a"], 1)
    with pytest.raises(RuntimeError, match=r"of a parameter \[64, 72\] is that of another shape"):
        native.Descent()([p], [of["grad"]], [momentum], native.along([p], [along]), torch.ones(()), RATES)


def test_memory_of_another_meaning_is_no_plain_tensor():
    p, (grad, *_), _ = problem((64, 72))
    assert not native.fits(p, torch._neg_view(grad), None)
    assert not native.fits(p, torch._efficientzerotensor(p.shape), None)


def test_whoever_saved_a_parameter_for_a_backward_pass_hears_of_the_step():
    layer = nn.Linear(80, 70, bias=False)
    inputs = torch.randn(3, 80, requires_grad=True)
    optimizer = Eva(layer, 0.1, compiled=True)
    layer(inputs).sum().backward()
    loss = layer(inputs).sum()
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_sgd_in_cpp_is_sgd_of_torchs_operations():
    p, grads, _ = problem((300, 512))
    found = []
    for compiled in (True, False):
        large, small = (nn.Parameter(part.clone()) for part in (p, p[:5]))
        optimizer = SGD8bit([small, large], compiled=compiled, **RATES._asdict())
        for grad in grads:
            large.grad, small.grad = grad.clone(), grad[:5].clone()
            optimizer.step()
        found.append((large.detach(), small.detach()))
    assert (found[0][0] - found[1][0]).norm() <= 1e-4 * (found[1][0] - p).norm()
    assert torch.equal(found[0][1], found[1][1])

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lowbit.deploy.layers import costs
from lowbit.deploy.trace import trace

SIZES = st.integers(1, 4)


class Call(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *values):
        return self.function(*values)


def ours(module, *values):
    return 2 * sum(operation.macs or 0 for operation in trace(module, values).operations)


def theirs(module, *values):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(*values)
    return counter.get_total_flops()


@settings(deadline=None, max_examples=30)
@given(
    groups=SIZES, inputs=SIZES, outputs=SIZES, kernel=SIZES, stride=SIZES, dilation=SIZES, batch=SIZES,
    transposed=st.booleans(), bias=st.booleans(),
)  # fmt: skip
def test_convolutions_count_what_torchs_counter_of_float_models_counts(
    groups, inputs, outputs, kernel, stride, dilation, batch, transposed, bias
):
    kind = nn.ConvTranspose2d if transposed else nn.Conv2d
    layer = kind(
        groups * inputs, groups * outputs, kernel, stride=stride, dilation=dilation, groups=groups, bias=bias, padding=1
    )  # fmt: skip
    values = torch.randn(batch, groups * inputs, 14, 15)
    assert ours(layer, values) == theirs(layer, values) > 0


@pytest.mark.parametrize(
    ("function", "shapes"),
    [
        (torch.mm, [(3, 4), (4, 5)]),
        (torch.bmm, [(2, 3, 4), (2, 4, 5)]),
        (torch.addmm, [(5,), (3, 4), (4, 5)]),
        (torch.baddbmm, [(2, 3, 5), (2, 3, 4), (2, 4, 5)]),
        (torch.matmul, [(2, 6, 3, 4), (2, 6, 4, 5)]),
        (functional.linear, [(2, 3, 4), (5, 4)]),
        (lambda left, right: torch.einsum("bij,bkj->bik", left, right), [(2, 3, 4), (2, 5, 4)]),
    ],
)
def test_products_of_matrices_count_the_same(function, shapes):
    values = [torch.randn(shape) for shape in shapes]
    assert ours(Call(function), *values) == theirs(Call(function), *values) > 0


def test_attention_counts_its_two_products_of_matrices_which_torchs_counter_does_not_see_on_the_cpu():
    query, key, value = (torch.randn(shape) for shape in [(2, 3, 7, 4), (2, 3, 9, 4), (2, 3, 9, 4)])
    module = Call(functional.scaled_dot_product_attention)
    assert ours(module, query, key, value) == 2 * (2 * 3 * 7 * 9 * 4) * 2
    with sdpa_kernel(SDPBackend.MATH):
        assert theirs(module, query, key, value) == ours(module, query, key, value)


def test_attention_in_one_operation_counts_what_its_parts_do():
    module, values = nn.MultiheadAttention(8, 2, batch_first=True).eval(), torch.randn(3, 5, 8)
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        parts = ours(module, values, values, values)
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    assert ours(module, values, values, values) == parts == 2 * 3 * (4 * 5 * 8 * 8 + 2 * 5 * 5 * 8)


def test_a_recurrent_layer_counts_both_of_its_weights_at_each_step():
    assert ours(nn.LSTM(8, 4, batch_first=True).eval(), torch.randn(2, 5, 8)) == 2 * 2 * 5 * (4 * 4 * 8 + 4 * 4 * 4)


@pytest.mark.parametrize(
    "function",
    [torch.relu, torch.softmax, functional.max_pool2d, functional.avg_pool2d, functional.batch_norm, torch.mean,
     functional.layer_norm, functional.gelu, functional.pad, torch.sigmoid, functional.hardswish, functional.silu],
    ids=lambda function: function.__name__,
)  # fmt: skip
def test_what_counts_nothing_is_known_to(function):
    more = {
        torch.softmax: (1,), functional.max_pool2d: (2,), functional.avg_pool2d: (2,), functional.pad: ((1, 1),),
        functional.batch_norm: (torch.zeros(3), torch.ones(3)), functional.layer_norm: ((8,),),
    }  # fmt: skip
    module = Call(lambda values: function(values, *more.get(function, ())))
    found = trace(module, torch.randn(2, 3, 8, 8)).operations
    assert [operation.macs for operation in found] == [0] * len(found)
    assert all(operation.category for operation in found)


def test_an_operator_that_nobody_knows_is_named_and_never_zero():
    library = torch.library.Library("unheard_of", "DEF")
    library.define("convolve(Tensor values) -> Tensor")
    library.impl("convolve", lambda values: values * 2, "CPU")
    try:
        module = nn.Sequential(nn.Linear(4, 4), Call(torch.ops.unheard_of.convolve))
        traced = trace(module, torch.randn(2, 4))
    finally:
        library._destroy()
    (unknown,) = (operation for operation in traced.operations if operation.macs is None)
    assert (unknown.name, unknown.layer, unknown.category) == ("unheard_of::convolve", "1", None)
    layers = {cost.name: cost for cost in costs(traced)}
    assert layers["1"].uncounted == {"unheard_of::convolve": 1}
    assert (layers["0"].uncounted, layers["0"].operations) == ({}, 2 * 2 * 4 * 4)

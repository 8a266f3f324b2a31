from __future__ import annotations

import copy
from collections import Counter

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

from lowbit.deploy.artifact import compiled
from lowbit.quantization.coverage import coverage
from lowbit.quantization.flow import quantized
from tests.lowbit.quantization.small import batches, departure

pytest.importorskip("torchao", reason="PT2E is quantized by torchao, an extra: pip install 'stepbench[pt2e]'")
from lowbit.quantization import pt2e, pt2e_products

_CONV, _LINEAR = torch.ops.aten.conv2d.default, torch.ops.aten.linear.default


class Bottleneck(nn.Module):
    """As in MobileNetV2: wider by 1x1, a filter a channel, narrower by 1x1, and a shortcut around it."""

    def __init__(self, depth=8, **options):
        super().__init__()
        self.stem, self.wider = nn.Conv2d(3, depth, 3), nn.Conv2d(depth, 24, 1, **options)
        self.each = nn.Conv2d(24, 24, 3, padding=1, groups=24)
        self.narrower, self.classifier = nn.Conv2d(24, depth, 1, bias=False), nn.Linear(depth, 10)

    def forward(self, pictures):
        values = nn.functional.relu6(self.stem(pictures))
        inner = nn.functional.relu6(self.wider(values))
        inner = self.narrower(nn.functional.relu6(self.each(inner)))
        if inner.shape == values.shape:
            inner = inner + values
        return self.classifier(inner.mean((2, 3)))


def converted(module, monkeypatch, *, rewritten=True):
    with monkeypatch.context() as patch:
        if not rewritten:
            patch.setattr(pt2e, "write_products", lambda graph_module: None)
        return quantized(pt2e.static(), copy.deepcopy(module), batches(), trains=False)


def calls(module):
    return Counter(node.target for node in module.graph_module.graph.nodes)


def test_pointwise_convolutions_become_products_and_compute_the_same(monkeypatch):
    module = Bottleneck().eval()
    before, after = (converted(module, monkeypatch, rewritten=rewritten) for rewritten in (False, True))
    assert (calls(before)[_CONV], calls(before)[_LINEAR]) == (4, 1)
    assert (calls(after)[_CONV], calls(after)[_LINEAR]) == (2, 3)
    assert coverage(module, after) == coverage(module, before)
    for size in (1, 2, 5):
        pictures = batches(1, size)[0]
        assert departure(after(pictures), before(pictures)) < 0.01


def test_compiled_they_are_kernels_of_integers_that_compute_the_same(monkeypatch):
    module, pictures = Bottleneck().eval(), batches(1)[0]
    before, after = (converted(module, monkeypatch, rewritten=rewritten) for rewritten in (False, True))
    expected = compiled(before)(pictures)
    counted = counters["inductor"].copy()
    outputs = compiled(after)(pictures)
    assert pt2e.fusion(counters["inductor"] - counted) == pt2e.Fusion(convolutions=2, linears=3, additions=0)
    assert departure(outputs, expected) < 0.01


@pytest.mark.parametrize("options", [{"stride": 2}, {"padding": 1}, {"groups": 2}, {"depth": 6}])
def test_what_is_no_product_of_whole_rows_stays_a_convolution(options, monkeypatch):
    module = Bottleneck(**options).eval()
    found = converted(module, monkeypatch)
    remaining = calls(found)[_CONV]
    assert remaining == 3, options
    assert coverage(module, found).quantized == 5


def test_a_weight_that_another_convolution_reads_is_still_there_for_it(monkeypatch):
    class Tied(Bottleneck):
        def __init__(self):
            super().__init__()
            self.again = nn.Conv2d(8, 24, 1, stride=2)
            self.again.weight = self.wider.weight

        def forward(self, pictures):
            values = torch.relu(self.stem(pictures))
            return self.wider(values).sum((2, 3)) + self.again(values).sum((2, 3))

    module = Tied().eval()
    before, after = (converted(module, monkeypatch, rewritten=rewritten) for rewritten in (False, True))
    assert calls(after)[_CONV] == 3
    assert departure(after(batches(1)[0]), before(batches(1)[0])) < 0.01


class Viewed(Bottleneck):
    def forward(self, pictures):
        values, count = torch.relu(self.wider(torch.relu(self.stem(pictures)))), pictures.shape[0]
        return values.contiguous().view(count, -1)[:, :24] + values.view(count, 24, -1).sum(2)


class Strided(Bottleneck):
    def forward(self, pictures):
        values = torch.relu(self.wider(torch.relu(self.stem(pictures))))
        return values.as_strided((4, 10), (9000, 2))


class Unbatched(Bottleneck):
    def forward(self, pictures):
        return self.wider(torch.relu(self.stem(pictures)).sum(0)).sum((1, 2))


@pytest.mark.parametrize(("model", "products"), [(Viewed, 1), (Strided, 0), (Unbatched, 0)])
def test_what_asks_how_values_lie_in_memory_gets_an_answer(model, products, monkeypatch):
    module = model().eval()
    before, after = (converted(module, monkeypatch, rewritten=rewritten) for rewritten in (False, True))
    assert calls(after)[_LINEAR] == products
    assert departure(after(batches(1)[0]), before(batches(1)[0])) < 0.01


class Headed(Bottleneck):
    def forward(self, pictures):
        values = super().forward(pictures)
        return values @ values.T


def test_other_products_than_of_calibrated_integers_have_kernels_of_torchs(monkeypatch):
    pictures = batches(1)[0]
    for make, model in ((pt2e.dynamic, Bottleneck), (pt2e.static, Headed)):
        module = model().eval()
        found = quantized(make(), copy.deepcopy(module), batches(), trains=False)
        assert found.inductor_options == {}
        assert departure(compiled(found)(pictures), found(pictures)) < 0.02


@pytest.mark.parametrize(
    ("capabilities", "depth", "expected"),
    [
        ({"avx512_vnni": True}, 8, True),
        ({"amx_int8": True}, 8, True),
        ({"avx512_vnni": True}, 6, False),
        ({}, 8, False),
    ],
)
def test_inductor_makes_its_own_kernels_where_the_processor_multiplies_bytes(
    capabilities, depth, expected, monkeypatch
):
    found = converted(Bottleneck(depth).eval(), monkeypatch)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert bool(found.inductor_options) is expected
    assert found.inductor_options == pt2e_products.inductor_options(nn.Sequential(found))
    assert pt2e_products.inductor_options(nn.Linear(8, 8)) == {}

from __future__ import annotations

import copy
import logging
import sys

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

from lowbit.deploy.artifact import compiled
from lowbit.quantization.coverage import coverage
from lowbit.quantization.flow import QuantizationError, calibrate, deployed, quantized
from lowbit.quantization.stage import Stage
from tests.lowbit.quantization.small import Small, batches, departure, trained

pytest.importorskip("torchao", reason="PT2E is quantized by torchao, an extra: pip install 'stepbench[pt2e]'")
from lowbit.quantization import pt2e


class Tiny(nn.Module):
    """Without batch norm, which takes PT2E half a minute to convert."""

    def __init__(self):
        super().__init__()
        self.stem, self.block = nn.Conv2d(3, 8, 3, stride=2), nn.Conv2d(8, 8, 3, padding=1)
        self.drop, self.classifier = nn.Dropout(0.2), nn.Linear(8, 10)

    def forward(self, pictures):
        values = torch.relu(self.stem(pictures))
        values = torch.relu(values + self.block(values))
        return self.classifier(self.drop(values.mean((2, 3))))


@pytest.mark.parametrize("make", [pt2e.static, pt2e.dynamic])
def test_every_layer_keeps_a_weight_of_integers_and_any_batch_fits(make):
    torch.manual_seed(0)
    module = Small().eval()
    found = quantized(make(), copy.deepcopy(module), batches(), trains=False)
    assert coverage(module, found).quantized == 3
    for size in (1, 2, 5):
        pictures = batches(1, size)[0]
        assert 0 < departure(found(pictures), module(pictures)) < 0.1
    weights = [value for value in found.state_dict().values() if value.dim() > 1]
    assert [value.dtype for value in weights] == [torch.int8] * 3


def test_training_and_the_converted_model_are_one():
    flow = pt2e.qat()
    module = trained(flow, Tiny)
    assert coverage(Tiny(), module).quantized == 3
    kinds = {type(child).__name__ for child in module.modules() if hasattr(child, "fake_quant_enabled")}
    assert kinds == {"FakeQuantize"}
    expected = module(batches(1)[0])
    found = deployed(flow, module)
    assert torch.equal(found(batches(1)[0]), expected)
    assert coverage(Tiny(), found).quantized == 3


def test_ranges_never_move_in_validation():
    for make in (pt2e.static, pt2e.qat):
        flow = make()
        module = flow.prepare(Tiny(), batches())
        calibrate(flow, module, batches())
        flow.enter(module, Stage.VALIDATION)
        before = copy.deepcopy(module.state_dict())
        module(batches(1)[0] * 9)
        assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
        flow.enter(module, Stage.CALIBRATION)
        module(batches(1)[0] * 9)
        assert any(not torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_modes_are_turned_and_what_stands_beside_them_is_kept():
    class Other(Small):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(8, eps=0.01, momentum=0.5)

    module = pt2e.Exported(torch.export.export(Other().eval(), (batches(1)[0],)).module())

    def modes():
        found = {"dropout": [], "batch_norm": []}
        for node in module.graph_module.graph.nodes:
            if node.target is torch.ops.aten.dropout.default:
                found["dropout"].append(node.args[1:3])
            elif node.target is torch.ops.aten.batch_norm.default:
                found["batch_norm"].append(node.args[5:8])
        return found

    assert modes() == {"dropout": [(0.2, False)], "batch_norm": [(False, 0.5, 0.01), (False, 0.1, 1e-05)]}
    module.train()
    assert module.training
    assert modes() == {"dropout": [(0.2, True)], "batch_norm": [(True, 0.5, 0.01), (True, 0.1, 1e-05)]}
    module.eval()
    assert not module.training
    assert torch.equal(module(batches(1)[0]), module(batches(1)[0]))


def test_batch_norm_that_torchao_would_change_is_refused():
    module = Small()
    module.norm = nn.BatchNorm2d(8, eps=0.01)
    with pytest.raises(
        QuantizationError, match="PT2E would train Small with the default momentum and epsilon of batch"
    ):
        pt2e.qat().prepare(module, batches())


def test_inductor_makes_integer_kernels_of_every_layer():
    torch.manual_seed(0)
    module = Tiny().eval()
    found = quantized(pt2e.static(), copy.deepcopy(module), batches(), trains=False)
    run, pictures, before = compiled(found), batches(1)[0], counters["inductor"].copy()
    outputs = run(pictures)
    assert pt2e.fusion(counters["inductor"] - before) == pt2e.Fusion(convolutions=2, linears=1, additions=1)
    assert departure(outputs, found(pictures)) < 0.02
    assert torch.equal(run(pictures), outputs)
    assert coverage(module, found).quantized == 3


def test_a_relu_that_is_no_module_belongs_to_its_layer_and_a_max_pool_stays_in_float():
    class Pooled(Tiny):
        def __init__(self):
            super().__init__()
            self.pool = nn.MaxPool2d(3, stride=1)

        def forward(self, pictures):
            values = self.pool(torch.relu(self.stem(pictures)))
            return self.classifier(torch.relu(values + self.block(values)).mean((2, 3)))

    graph = pt2e.static().prepare(Pooled().eval(), batches()).graph_module.graph
    pool = next(node for node in graph.nodes if node.target is torch.ops.aten.max_pool2d.default)
    stem, joined = (node for node in graph.nodes if node.target is torch.ops.aten.relu.default)
    # Quantized are the inputs of layers: no rounding between the sum and its ReLU, and none before the pool.
    assert [user.target for user in stem.users] == [pool.target]
    assert {user.op for user in pool.users} == {"call_module"}
    assert joined.meta["quantization_annotation"]._annotated
    assert not joined.all_input_nodes[0].meta["quantization_annotation"]._is_output_of_quantized_pattern


def test_counters_say_what_was_fused():
    counts = {"qconv_weight_prepack_matcher_count": 19, "qlinear_weight_prepack_matcher_count": 1, "other": 5}
    assert pt2e.fusion(counts) == pt2e.Fusion(convolutions=19, linears=1, additions=0)


class Branching(Tiny):
    def forward(self, pictures):
        return super().forward(pictures if pictures.sum() > 0 else -pictures)


class Counted(Tiny):
    def forward(self, pictures):
        return super().forward(pictures * int(pictures.sum().item()))


class Measured(Tiny):
    def forward(self, pictures):
        return super().forward(torch.from_numpy(pictures.numpy()))


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (Branching, "Could not guard on data-dependent expression.*; what it does depends on values: write it with "),
        (Counted, "from data-dependent expression.*: write it with torch.where or torch.cond, or use a k-bit flow"),
        (Measured, "; use a k-bit flow, which exports nothing$"),
    ],
)
def test_what_cannot_be_exported_has_a_remedy_that_fits_and_nothing_is_printed(model, says, capfd, caplog):
    with pytest.raises(QuantizationError, match=f"^{model.__name__} cannot be exported by torch.export: .*{says}"):
        pt2e.static().prepare(model(), batches())
    assert capfd.readouterr() == ("", "")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_what_a_model_that_is_exported_prints_is_printed(capsys):
    class Talking(Tiny):
        def forward(self, pictures):
            sys.stderr.write("here\n")
            return super().forward(pictures)

    pt2e.static().prepare(Talking(), batches())
    assert "here\n" in capsys.readouterr().err


def test_what_cannot_be_done_is_said_in_one_line(monkeypatch):
    class Counting(nn.Module):
        def forward(self, values):
            return values.reshape(len(values), -1)

    with pytest.raises(
        QuantizationError, match=r"^Counting cannot be exported by torch\.export: .*; write its forward"
    ):
        pt2e.static().prepare(Counting(), batches())
    monkeypatch.setitem(sys.modules, "torchao.quantization.pt2e.quantize_pt2e", None)
    with pytest.raises(QuantizationError, match=r"^PT2E needs torchao \(.*\): pip install 'stepbench\[pt2e\]'$"):
        pt2e.static().prepare(Tiny(), batches())

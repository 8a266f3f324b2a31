from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import nn
from torch.nn import functional

from lowbit.models.autoencoder import Autoencoder
from lowbit.models.mobilenetv2 import MobileNetV2
from lowbit.models.resnet20 import ResNet20
from lowbit.quantization.coverage import Coverage, coverage
from lowbit.quantization.f8net import FixedLayer
from lowbit.quantization.f8net_integer import IntegerLayer
from lowbit.quantization.f8net_model import flow
from lowbit.quantization.f8net_stream import Stream
from lowbit.quantization.flow import QuantizationError, calibrate, deployed
from lowbit.quantization.stage import Stage


class Every(nn.Module):
    """Everything that has a fixed-point form; it pools 5x5 pictures, 25 being no power of two."""

    def __init__(self):
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.pool = nn.MaxPool2d(2)
        self.expand, self.expand_norm, self.relu6 = nn.Conv2d(4, 8, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6()
        self.depthwise, self.depthwise_norm = nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.BatchNorm2d(8)
        self.project = nn.Conv2d(8, 4, 1)
        self.wide, self.wide_norm = nn.Conv2d(4, 8, 3, padding=1, stride=2), nn.BatchNorm2d(8, affine=False)
        self.average, self.drop = nn.AdaptiveAvgPool2d(1), nn.Dropout(0.1)
        self.hidden, self.classifier = nn.Linear(8, 16), nn.Linear(16, 10)

    def forward(self, pictures):
        x = self.pool(functional.relu(self.stem_norm(self.stem(pictures))))
        branch = self.relu6(self.expand_norm(self.expand(x)))
        branch = functional.relu6(self.depthwise_norm(self.depthwise(branch)))
        x = x + self.project(branch)
        shortcut = functional.avg_pool2d(functional.pad(x, (0, 0, 0, 0, 2, 2)), 2, ceil_mode=False)
        x = self.wide_norm(self.wide(x))
        x += shortcut
        x = self.drop(self.average(x.relu()).flatten(1))
        return self.classifier(functional.relu(self.hidden(x)))


PICTURES = torch.randn(6, 3, 20, 20, generator=torch.Generator().manual_seed(0))


def calibrated(model, pictures, **options):
    torch.manual_seed(0)
    module = model().train()
    # Batch norms with statistics that are not those of a new model.
    with torch.no_grad():
        for _ in range(3):
            module(pictures)
    chosen = flow(**options)
    plain = copy.deepcopy(module).eval()
    prepared = chosen.prepare(module, [pictures])
    calibrate(chosen, prepared, [pictures])
    return chosen, prepared, plain


def outputs_of(module, kind, convert):
    found = {}
    for name, child in module.named_modules():
        if isinstance(child, kind):
            child.register_forward_hook(
                lambda child, _, output, name=name: found.__setitem__(name, convert(child, output))
            )
    return found


def lengths_of(module):
    return {name: child.running.tolist() for name, child in module.named_modules() if isinstance(child, Stream)}


@pytest.mark.parametrize(
    ("model", "pictures", "options"),
    [
        (Every, PICTURES, {}),
        (Every, PICTURES, {"clips": False}),
        (Every, PICTURES, {"fraction": "search"}),
        *((model, torch.randn(2, 3, 32, 32), {}) for model in (ResNet20, MobileNetV2, Autoencoder)),
    ],
    ids=lambda value: getattr(value, "__name__", str(value) if isinstance(value, dict) else ""),
)
def test_integers_give_what_was_simulated_bit_for_bit_at_every_layer(model, pictures, options):
    chosen, module, _ = calibrated(model, pictures, **options)
    chosen.enter(module, Stage.VALIDATION)
    before = outputs_of(module, FixedLayer, lambda _, output: output)
    expected = module(pictures)
    integers = deployed(chosen, copy.deepcopy(module))
    after = outputs_of(integers, IntegerLayer, lambda layer, output: layer.reals(output))
    assert torch.equal(integers(pictures), expected)
    assert list(before) == list(after)
    assert set(before) == {name for name, child in model().named_modules() if isinstance(child, (nn.Conv2d, nn.Linear))}
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(before[name].dtype == after[name].dtype for name in before)


@pytest.mark.parametrize("options", [{}, {"fraction": "search"}, {"clips": False}], ids=str)
def test_calibration_is_float_and_validation_near_it(options):
    chosen, module, plain = calibrated(Every, PICTURES, **options)
    exact = plain(PICTURES).detach()
    assert torch.allclose(module(PICTURES), exact, atol=1e-5)
    chosen.enter(module, Stage.VALIDATION)
    error = (module(PICTURES) - exact).detach()
    assert 0 < float(error.norm() / exact.norm()) < 0.05


def test_nothing_but_bytes_biases_and_shifts_is_deployed():
    chosen, module, _ = calibrated(ResNet20, torch.randn(2, 3, 32, 32))
    weights = sum(child.layer.weight.numel() for child in module.modules() if isinstance(child, FixedLayer))
    chosen.enter(module, Stage.QAT)
    assert coverage(ResNet20(), module) == Coverage(quantized=20, eligible=20)
    integers = deployed(chosen, module)
    assert coverage(ResNet20(), integers) == Coverage(quantized=20, eligible=20)
    assert not list(integers.parameters())
    assert not integers.training
    kinds = {}
    for tensor in integers.buffers():
        kinds[tensor.dtype] = kinds.get(tensor.dtype, 0) + tensor.numel()
    assert kinds[torch.int8] == weights
    # The unit of the input and that of the output.
    assert kinds[torch.float64] == 2
    assert set(kinds) == {torch.int8, torch.int32, torch.int64, torch.float64}


def test_a_shortcut_shares_one_clip_and_every_reader_has_a_length_of_its_own():
    _, module, _ = calibrated(MobileNetV2, torch.randn(2, 3, 32, 32))
    layers = {name: child for name, child in module.named_modules() if isinstance(child, FixedLayer)}
    shared = layers["features.5.layers.0.0"].stream
    assert shared is layers["features.6.layers.0.0"].stream is layers["features.7.layers.0.0"].stream
    assert shared is layers["features.5.layers.2"].target is layers["features.4.layers.2"].target
    assert (shared.signed, len(shared.running)) == (True, 3)
    inner = layers["features.5.layers.2"].stream
    assert (inner.signed, float(inner.alpha.detach())) == (False, 6)
    assert float(layers["features.0.0"].stream.alpha.detach()) == 8


def test_training_moves_weights_clips_and_lengths_and_validation_nothing():
    chosen, module, _ = calibrated(Every, PICTURES)
    chosen.enter(module, Stage.QAT)
    optimizer = torch.optim.SGD(module.parameters(), 0.05)
    losses = []
    for _ in range(20):
        loss = functional.cross_entropy(module(PICTURES), torch.arange(6))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert all(bool(parameter.grad.any()) for parameter in module.parameters())
    assert sum(losses[-5:]) < sum(losses[:5]) * 0.95
    chosen.enter(module, Stage.VALIDATION)
    before, expected = lengths_of(module), module(PICTURES)
    module(PICTURES * 100)
    assert lengths_of(module) == before
    assert torch.equal(module(PICTURES), expected)
    assert torch.equal(deployed(chosen, module)(PICTURES), expected)


def test_a_saved_state_loads_into_a_fresh_model():
    chosen, module, _ = calibrated(Every, PICTURES)
    stream = io.BytesIO()
    torch.save(module.state_dict(), stream)
    stream.seek(0)
    fresh = chosen.prepare(Every(), [PICTURES])
    fresh.load_state_dict(torch.load(stream, weights_only=True))
    for each in (module, fresh):
        chosen.enter(each, Stage.VALIDATION)
    assert torch.equal(fresh(PICTURES), module(PICTURES))


def test_another_way_to_find_fraction_lengths_is_refused():
    with pytest.raises(QuantizationError, match=r"fraction='serch': must be one of formula, search, did you mean"):
        flow(fraction="serch")


def test_no_batch_is_refused():
    with pytest.raises(QuantizationError, match="there is no batch"):
        flow().prepare(Every(), [])


class Branching(torch.nn.Sequential):
    """A model whose forward asks a tensor for its sign: no graph shows what it does."""

    def forward(self, pictures):
        values = super().forward(pictures)
        return values if values.sum() > 0 else -values


def test_a_model_that_cannot_be_traced_is_refused():
    with pytest.raises(QuantizationError, match=r"Branching cannot be traced \(.*\); F8Net needs a forward without"):
        flow().prepare(Branching(torch.nn.Linear(8, 8)), [torch.randn(2, 8)])

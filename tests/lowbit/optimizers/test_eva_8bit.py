from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lowbit.data.digits import digits
from lowbit.models.autoencoder import Autoencoder
from lowbit.models.resnet20 import ResNet20
from lowbit.models.vit import ViT
from lowbit.optimizers import momentum_8bit, square_map
from lowbit.optimizers.eva import Eva
from lowbit.optimizers.eva_8bit import Eva8bit
from lowbit.optimizers.eva_8bit_cpu import Eva8bitCPU

DIGITS = digits()


def batches(count, size=1):
    generator = torch.Generator().manual_seed(0)
    return [DIGITS.sample(size, generator) for _ in range(count)]


def steps(model, optimizer, count, size=1):
    for inputs, targets in batches(count, size):
        torch.manual_seed(0)
        model.zero_grad()
        F.cross_entropy(model(inputs), targets).backward()
        optimizer.step()


@pytest.mark.parametrize("model", [Autoencoder, ViT])
@pytest.mark.parametrize("form", [Eva8bit, Eva8bitCPU])
def test_state_is_at_most_27_percent_of_that_in_fp32(model, form):
    totals = []
    for each in (Eva, form):
        torch.manual_seed(0)
        module = model()
        optimizer = each(module, 1e-3)
        steps(module, optimizer, 1)
        totals.append(sum(optimizer.state_bytes().values()))
        optimizer.close()
    assert totals[1] <= 0.27 * totals[0]


def test_state_is_reported_by_part_and_adds_up():
    torch.manual_seed(0)
    module = ResNet20()
    plain, low = Eva(module, 1e-3), Eva8bit(module, 1e-3)
    steps(module, plain, 1)
    steps(module, low, 1)
    # Sum of the lengths of all a (without bias slots) and g, in bytes.
    vectors = 6159 - 20 + 746
    assert plain.state_bytes() == {"statistics": 4 * vectors, "momentum": 4 * 305_114, "scales": 0}
    large = sum(p.numel() for p in module.parameters() if p.numel() >= 4096)
    parts = low.state_bytes()
    assert parts["statistics"] == vectors
    assert parts["momentum"] == large + 4 * (305_114 - large)
    assert parts["scales"] == sum(
        value.numel() * 4 for state in low.state.values() for key, value in state.items() if key.endswith("_scales")
    )


@pytest.mark.parametrize("part", ["quantize_statistics", "quantize_momentum"])
def test_each_part_can_be_kept_in_fp32(part):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
    optimizer = Eva8bit(module, 1e-3, **{part: False})
    steps(module, optimizer, 2)
    keys = set(optimizer.state[module[1].weight])
    vectors, momentum = {"a", "g"}, {"momentum_buffer"}
    coded_vectors = {"a_codes", "a_scales", "g_codes", "g_scales"}
    coded_momentum = {"momentum_codes", "momentum_scales"}
    assert keys == (vectors | coded_momentum if part == "quantize_statistics" else coded_vectors | momentum)


def test_without_quantization_it_is_eva_bit_for_bit():
    results = []
    for make in (Eva, lambda m, lr: Eva8bit(m, lr, quantize_statistics=False, quantize_momentum=False)):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Flatten(), nn.Linear(3072, 30), nn.Tanh(), nn.Linear(30, 10))
        steps(module, make(module, 1e-3), 5)
        results.append(module[1].weight.detach())
    assert torch.equal(*results)


def test_the_update_is_within_a_hundredth_of_evas_in_each_of_the_first_ten_steps():
    """Both see the same parameters and gradients at batch 1; what differs is the state each has kept.

    The update compared is the preconditioned gradient: momentum 0 and no decay leave nothing else in the step.
    """
    torch.manual_seed(0)
    module = Autoencoder()
    twin = copy.deepcopy(module)
    plain = Eva(module, 1e-3, momentum=0.0, weight_decay=0.0)
    low = Eva8bit(twin, 1e-3, momentum=0.0, weight_decay=0.0)
    for inputs, targets in batches(10):
        before = [p.detach().clone() for p in module.parameters()]
        for model, optimizer in ((module, plain), (twin, low)):
            model.zero_grad()
            F.cross_entropy(model(inputs), targets).backward()
            optimizer.step()
        with torch.no_grad():
            exact = torch.cat([(p - b).flatten() for p, b in zip(module.parameters(), before, strict=True)])
            found = torch.cat([(p - b).flatten() for p, b in zip(twin.parameters(), before, strict=True)])
            assert (found - exact).norm() <= 1e-2 * exact.norm()
            for q, p in zip(twin.parameters(), module.parameters(), strict=True):
                q.copy_(p)


def test_momentum_in_8_bits_follows_momentum_in_fp32():
    torch.manual_seed(0)
    module = Autoencoder()
    twin = copy.deepcopy(module)
    plain, low = Eva(module, 1e-4), Eva8bit(twin, 1e-4)
    start = torch.cat([p.detach().flatten() for p in module.parameters()])
    steps(module, plain, 10)
    steps(twin, low, 10)
    exact, found = (torch.cat([p.detach().flatten() for p in m.parameters()]) - start for m in (module, twin))
    assert (found - exact).norm() <= 3e-2 * exact.norm()


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_a_step_is_evas_step_between_decoding_and_encoding(kind):
    """Parity with a transcription: momentum decoded, blended with what Eva's own step adds to it, and encoded."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(3072, 30), nn.Tanh(), nn.Linear(30, 10)).to(kind)
    twin = copy.deepcopy(module)
    low = Eva8bit(module, 1e-2, quantize_statistics=False)
    plain = Eva(twin, 1e-2)
    weight, other = module[1].weight, twin[1].weight
    for inputs, targets in batches(5, 4):
        for model, optimizer in ((module, low), (twin, plain)):
            model.zero_grad()
            F.cross_entropy(model(inputs.to(kind)), targets).backward()
            optimizer.step()
        assert (weight - other).abs().max() <= (1e-6 if kind == torch.float32 else 1e-14)
        buffer = plain.state[other]["momentum_buffer"]
        codes, scales = square_map.quantize(buffer.view(-1, 256).float())
        mine = low.state[weight]
        # A value at the edge of two codes may fall to either.
        assert (codes.int() - mine["momentum_codes"].int()).abs().max() <= 1
        assert (codes != mine["momentum_codes"]).float().mean() <= 1e-3
        assert torch.allclose(scales, mine["momentum_scales"], rtol=1e-5)
        buffer.copy_(square_map.dequantize(mine["momentum_codes"], mine["momentum_scales"]).view_as(buffer))
        with torch.no_grad():
            for q, p in zip(twin.parameters(), module.parameters(), strict=True):
                q.copy_(p)


def test_a_state_of_the_earlier_codes_is_refused():
    module = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
    optimizer = Eva8bit(module, 1e-3)
    steps(module, optimizer, 1)
    saved = optimizer.state_dict()
    for state in saved["state"].values():
        if "momentum_codes" in state:
            state["momentum_codes"] = state["momentum_codes"].view(-1).view(torch.uint8)
    with pytest.raises(ValueError, match="codes of the square map; load the state with the version that saved it"):
        optimizer.load_state_dict(saved)


@pytest.mark.parametrize("model", [Autoencoder, ResNet20])
@pytest.mark.parametrize("every", [1, 2])
def test_on_the_host_the_parameters_are_the_same_bit_for_bit(model, every):
    results = []
    for form in (Eva8bit, Eva8bitCPU):
        torch.manual_seed(0)
        module = model()
        optimizer = form(module, 1e-3, stat_every=every)
        steps(module, optimizer, 5, size=2)
        results.append(
            (torch.cat([p.detach().flatten() for p in module.parameters()]), optimizer.state_dict()["state"])
        )
        optimizer.close()
    assert torch.equal(results[0][0], results[1][0])
    for number, state in results[0][1].items():
        for key, value in state.items():
            assert torch.equal(value, results[1][1][number][key]), key


@pytest.mark.parametrize("portion", [1, 20_000])
def test_taken_in_portions_the_parameters_are_the_same_bit_for_bit(monkeypatch, portion):
    found = []
    for size in (1 << 30, portion):
        monkeypatch.setattr(momentum_8bit, "PORTION", size)
        torch.manual_seed(0)
        module = ResNet20()
        steps(module, Eva8bit(module, 1e-3), 3)
        found.append(list(module.parameters()))
    for together, apart in zip(*found, strict=True):
        assert torch.equal(together, apart)

from __future__ import annotations

import pytest
import torch
from torch import nn

from lowbit.quantization.f8net_convert import convert
from lowbit.quantization.f8net_model import prepare
from lowbit.quantization.flow import QuantizationError


def test_shifts_become_constants_and_dropout_goes():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(4 * 9, 5))
    pictures = torch.randn(8, 3, 3, 3)
    prepared = prepare(model, [pictures])
    prepared(pictures)
    integers = convert(prepared)
    assert [name for name, _ in integers.named_children()] == ["fixed_point_entry", "0", "3", "4", "fixed_point_exit"]
    assert len(integers.get_submodule("4").places) == 4 * 9
    assert torch.equal(integers(pictures), prepared(pictures))


def test_a_model_that_was_not_prepared_is_refused():
    with pytest.raises(QuantizationError, match="Linear is no F8Net model: prepare it first"):
        convert(nn.Linear(3, 3))

from __future__ import annotations

import pytest
import torch

from lowbit.quantization.flow import QuantizationError, deployed
from tests.lowbit.quantization.test_dorefa_model import prepared


@pytest.mark.parametrize("bits", [1, 4])
def test_a_weight_that_is_not_finite_is_refused_by_the_name_of_its_layer(bits):
    chosen, module = prepared(bits, 4, 4)
    with torch.no_grad():
        module.two.layer.weight[0, 0, 0, 0] = torch.nan
    with pytest.raises(QuantizationError, match="two: the weight holds NaN or an infinity: train with a lower"):
        deployed(chosen, module)

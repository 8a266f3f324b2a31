from __future__ import annotations

import pytest
import torch
from torch import nn
from torch._inductor import config

from bench.run.compiled import compile_


class Asking(nn.Module):
    @property
    def inductor_options(self):
        return {"max_autotune_gemm": True}

    def forward(self, values):
        return values + 1


@pytest.mark.parametrize(
    ("module", "asked"), [(Asking(), True), (nn.Sequential(Asking()), True), (nn.Identity(), False)]
)
def test_a_module_that_infers_is_compiled_with_constants_and_with_what_it_or_a_part_asks_for(
    module, asked, monkeypatch
):
    seen = []

    def compiler(module):
        def run(values):
            seen.append((config.freezing, config.max_autotune_gemm, torch.is_grad_enabled()))

        return run

    monkeypatch.setattr(torch, "compile", compiler)
    made = compile_(module, torch.zeros(1), trains=False)
    assert seen == [(True, asked, False)]
    made(torch.zeros(1))
    assert seen[1] == (False, False, True)


def test_a_module_that_trains_is_compiled_by_its_first_step(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda module: module)
    module = Asking()
    assert compile_(module, torch.zeros(1), trains=True) is module

from __future__ import annotations

import torch

from lowbit.models.vit import Attention, ViT


def test_attention_is_softmax_of_scaled_products_per_head():
    torch.manual_seed(0)
    attention = Attention(dim=12, heads=3, head_dim=4, dropout=0.0).double()
    tokens = torch.randn(2, 5, 12, dtype=torch.float64)
    query, key, value = attention.to_qkv(attention.norm(tokens)).chunk(3, dim=-1)
    heads = []
    for head in range(3):
        part = slice(4 * head, 4 * head + 4)
        weights = torch.softmax(query[..., part] @ key[..., part].transpose(1, 2) / 2, dim=-1)
        heads.append(weights @ value[..., part])
    torch.testing.assert_close(attention(tokens), attention.to_out(torch.cat(heads, -1)), rtol=0, atol=1e-12)


def test_patches_are_read_in_order():
    module = ViT(dim=48, depth=0, heads=1, head_dim=48).double().eval()
    torch.nn.init.eye_(module.to_tokens.weight)
    seen = []
    module.drop.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0] - module.positions))
    picture = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    module(picture)
    expected = picture[0, :, 4:8, 8:12].flatten() + module.to_tokens.bias
    torch.testing.assert_close(seen[0][0, 1 + 8 + 2], expected)

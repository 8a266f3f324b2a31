"""A small vision transformer for 32x32 pictures."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    """Multi-head self-attention with one projection for query, key and value, without bias."""

    def __init__(self, dim: int, heads: int, head_dim: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.norm = nn.LayerNorm(dim)
        self.to_qkv = nn.Linear(dim, 3 * heads * head_dim, bias=False)
        self.to_out = nn.Linear(heads * head_dim, dim)
        self.drop = nn.Dropout(dropout)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Mixes tokens of shape [batch, tokens, dim]."""
        batch, count, _ = tokens.shape
        qkv = self.to_qkv(self.norm(tokens))
        query, key, value = qkv.view(batch, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=self.dropout if self.training else 0.0)
        output: torch.Tensor = self.drop(self.to_out(mixed.transpose(1, 2).reshape(batch, count, -1)))
        return output


class FeedForward(nn.Module):
    """Two linear layers with GELU between."""

    def __init__(self, dim: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, hidden)
        self.contract = nn.Linear(hidden, dim)
        self.drop = nn.Dropout(dropout)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Transforms each token by itself."""
        hidden = self.drop(F.gelu(self.expand(self.norm(tokens))))
        output: torch.Tensor = self.drop(self.contract(hidden))
        return output


class Block(nn.Module):
    """Attention and feed-forward, each normalized first and added to its input."""

    def __init__(self, dim: int, heads: int, head_dim: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(dim, heads, head_dim, dropout)
        self.feed_forward = FeedForward(dim, hidden, dropout)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Transforms tokens of shape [batch, tokens, dim]."""
        tokens = tokens + self.attention(tokens)
        output: torch.Tensor = tokens + self.feed_forward(tokens)
        return output


class ViT(nn.Module):
    """Patches of 4x4, learned positions, a class token, pre-norm blocks, and a linear head on the class token.

    Takes pictures of shape [batch, 3, 32, 32] and gives logits [batch, num_classes]. 9,523,722 parameters at the
    default sizes with 10 classes.
    """

    def __init__(
        self,
        num_classes: int = 10,
        *,
        patch: int = 4,
        dim: int = 512,
        depth: int = 6,
        heads: int = 8,
        head_dim: int = 64,
        hidden: int = 512,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        tokens = (32 // patch) ** 2
        self.patch = patch
        self.to_tokens = nn.Linear(3 * patch * patch, dim)
        self.class_token = nn.Parameter(torch.randn(1, 1, dim))
        self.positions = nn.Parameter(torch.randn(1, tokens + 1, dim))
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(dim, heads, head_dim, hidden, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, num_classes)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Classifies pictures of shape [batch, 3, 32, 32]."""
        patches = F.unfold(pictures, self.patch, stride=self.patch).transpose(1, 2)
        tokens = self.to_tokens(patches)
        tokens = torch.cat([self.class_token.expand(tokens.shape[0], -1, -1), tokens], dim=1)
        tokens = self.drop(tokens + self.positions)
        for block in self.blocks:
            tokens = block(tokens)
        output: torch.Tensor = self.head(self.norm(tokens[:, 0]))
        return output

"""Observers: from values that pass by to the range that a grid should cover."""

from __future__ import annotations

import torch
from torch import nn

from lowbit.quantization.affine import Grid, dequantize, quantize, scale_and_zero_point

# A moving average over batches keeps so much of what it was.
KEPT = 0.99
BINS = 2048
# How far a range is cut back in search of the least error, and in how many steps.
LEAST_PART, CANDIDATES = 0.2, 80


class MinMax(nn.Module):
    """The smallest and the largest value ever seen; for each channel of a dimension, where one is given."""

    low: torch.Tensor
    high: torch.Tensor

    def __init__(self, channel: int | None = None) -> None:
        super().__init__()
        self.channel = channel
        self.register_buffer("low", torch.tensor(float("inf")))
        self.register_buffer("high", torch.tensor(float("-inf")))

    def observe(self, values: torch.Tensor) -> None:
        """Takes in a batch; nothing else changes the range."""
        low, high = ends(values.detach(), self.channel)
        self.low, self.high = self.merged(low, high)

    def merged(self, low: torch.Tensor, high: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the range after a batch with the given ends."""
        return torch.minimum(self.low, low), torch.maximum(self.high, high)

    def range(self, grid: Grid, *, symmetric: bool) -> tuple[torch.Tensor, torch.Tensor]:  # noqa: ARG002 - others cut by it
        """Returns both ends; infinite ones if nothing was observed."""
        return self.low, self.high

    def _load_from_state_dict(self, state_dict: dict[str, torch.Tensor], prefix: str, *rest: object) -> None:
        # One end for each channel takes the place of the single ones that stand there before anything was observed.
        for name in ("low", "high"):
            if prefix + name in state_dict:
                setattr(self, name, torch.empty_like(state_dict[prefix + name]))
        super()._load_from_state_dict(state_dict, prefix, *rest)


class MovingAverage(MinMax):
    """The moving average of each batch's smallest and largest value: one wild batch does not set the range for good."""

    def merged(self, low: torch.Tensor, high: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the range after a batch; the first batch sets it.

        NaN and infinities are averaged too: such a range is never finite again, and is refused where it is used.
        """
        if bool((self.low > self.high).all()):
            # Only where nothing was observed are the ends upside down.
            return low, high
        return self.low + (1 - KEPT) * (low - self.low), self.high + (1 - KEPT) * (high - self.high)


class Histogram(MinMax):
    """The range with the least mean square error, by a histogram of everything seen; for a whole tensor only.

    Bins lie symmetric about zero. When a value lies outside, their width is doubled as often as it takes, and pairs of
    bins become one: nothing that was counted moves to another place.
    """

    counts: torch.Tensor
    reach: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("counts", torch.zeros(BINS))
        self.register_buffer("reach", torch.tensor(0.0))

    def observe(self, values: torch.Tensor) -> None:
        """Takes in a batch."""
        super().observe(values)
        flat = values.detach().flatten().to(torch.float32)
        most = flat.abs().max()
        if not bool(torch.isfinite(most)):
            return
        if float(self.reach) == 0.0:
            self.reach = most.clamp(min=torch.finfo(torch.float32).tiny)
        while bool(most > self.reach):
            inner = self.counts.view(-1, 2).sum(1)
            self.counts = nn.functional.pad(inner, (BINS // 4, BINS // 4))
            self.reach = self.reach * 2
        # The host's histogram counts in the values' own precision.
        bound = float(self.reach)
        self.counts = self.counts + torch.histc(flat, BINS, -bound, bound)

    def range(self, grid: Grid, *, symmetric: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the ends, cut back to where rounding and clamping together err least."""
        if not bool(torch.isfinite(self.low)):
            return self.low, self.high
        width = 2 * self.reach / BINS
        centers = (torch.arange(BINS, device=self.counts.device) + 0.5) * width - self.reach
        used = self.counts > 0
        return least_error(centers[used], self.counts[used], self.low, self.high, grid, symmetric=symmetric)


def ends(values: torch.Tensor, channel: int | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the smallest and the largest value, of everything or of each channel."""
    if values.numel() == 0:
        raise ValueError("nothing to calibrate with: the batch is empty")
    if channel is None:
        low, high = torch.aminmax(values)
    else:
        low, high = torch.aminmax(values.transpose(0, channel).flatten(1), dim=1)
    return low, high


def least_error(
    values: torch.Tensor,
    weights: torch.Tensor,
    low: torch.Tensor,
    high: torch.Tensor,
    grid: Grid,
    *,
    symmetric: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the part of a range, cut back on both ends alike, whose quantization has the least mean square error."""
    parts = torch.linspace(LEAST_PART, 1, CANDIDATES, device=values.device)
    errors = []
    for part in parts:
        scale, zero_point = scale_and_zero_point(low * part, high * part, grid, symmetric=symmetric)
        restored = dequantize(quantize(values, scale, zero_point, grid), scale, zero_point)
        errors.append(((values - restored).square() * weights).sum())
    best = parts[int(torch.stack(errors).argmin())]
    return low * best, high * best

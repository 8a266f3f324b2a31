"""What a model gets right, counted without changing it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from lowbit.data.images import ImageSet
from lowbit.quantization.flow import QuantizationError

# Of these many likeliest classes one must be right for Acc@5.
MANY = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """What a model gave for an image set.

    `right` is bool [count]: the examples whose likeliest class is the true one; `right5` counts those with the true
    class among five. `loss` is the mean cross entropy. `moved` names the buffers that changed once a first batch was
    seen: of a model that only validates, none.
    """

    right: torch.Tensor
    right5: int
    loss: float
    moved: tuple[str, ...]

    @property
    def examples(self) -> int:
        """How many were looked at."""
        return len(self.right)

    @property
    def correct(self) -> int:
        """How many were right."""
        return int(self.right.sum())


def evaluate(module: nn.Module, images: ImageSet, batch: int) -> Evaluation:
    """Runs a model over an image set, in the mode that it is in.

    Every batch has the same size: the last is filled up with examples of its own, whose answers are not counted, since
    a graph may have been exported for one size. Raises QuantizationError for logits that are not finite.
    """
    logits, moved = [], set()
    size, before = min(batch, len(images.labels)), None
    with torch.no_grad():
        if size == len(images.labels):
            # The first batch only counts as a start: with it ranges of weights follow the weights, which depends on no
            # input. Where there is no second one, a picture alone is the first.
            module(images.images[[0] * size])
            before = _buffers(module)
        for start in range(0, len(images.labels), batch):
            inputs = images.images[start : start + batch]
            filled = inputs[torch.arange(size) % len(inputs)]
            logits.append(module(filled)[: len(inputs)].float())
            if before is None:
                before = _buffers(module)
        assert before is not None
        after = _buffers(module)
        moved = {name for name, value in before.items() if name in after and not _same(value, after[name])}
        answers = torch.cat(logits)
        if not bool(torch.isfinite(answers).all()):
            raise QuantizationError("the model gives NaN or infinities on the test part: train it with a lower lr")
        likeliest = answers.topk(min(MANY, answers.shape[1]), dim=1).indices == images.labels[:, None]
        return Evaluation(
            right=answers.argmax(1) == images.labels,
            right5=int(likeliest.any(1).sum()),
            loss=float(functional.cross_entropy(answers.double(), images.labels)),
            moved=tuple(sorted(moved)),
        )


def _buffers(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.named_buffers()}


def _same(value: torch.Tensor, other: torch.Tensor) -> bool:
    return value.shape == other.shape and bool(((value == other) | (value.isnan() & other.isnan())).all())

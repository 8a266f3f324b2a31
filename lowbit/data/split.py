"""Image sets in two parts that share no picture: one to train on, one to count what was learned."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch

from lowbit.data import cifar10
from lowbit.data.digits import digit_bytes
from lowbit.data.images import CLASSES, ImageSet, NotAnImageSet
from lowbit.data.yuv import CENTER, centered_yuv_bytes

Bytes = tuple[torch.Tensor, torch.Tensor]
# A quarter is for the test where a set has no test part: 450 of the 1,797 digits.
PART_FOR_TEST = 0.25
DIGITS_FOR_TEST = 450
WHOLE_CIFAR10 = 60_000


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """A training and a test part in the form that a model takes, and words that say what they are."""

    train: ImageSet
    test: ImageSet
    name: str

    @property
    def description(self) -> str:
        """What the parts are, without the path that they came from."""
        return f"{self.name}, {len(self.train.labels):,} training and {len(self.test.labels):,} test images"

    def fingerprint(self) -> str:
        """Returns a SHA-256 of all pictures and labels: equal only for equal parts in equal form."""
        digest = hashlib.sha256()
        for part in (self.train.images, self.train.labels, self.test.images, self.test.labels):
            digest.update(part.contiguous().numpy().data)
        return digest.hexdigest()


def digits(seed: int = 0, *, camera: bool = False, yuv: bool = False) -> Split:
    """Splits scikit-learn's digits by a seed: 1,347 to train on, 450 to test; see `in_form`."""
    train, test = _by_seed(digit_bytes(), DIGITS_FOR_TEST, seed)
    return in_form(train, test, "digits", camera=camera, yuv=yuv)


def cifar10_at(path: str | Path, seed: int = 0, *, camera: bool = False, yuv: bool = False) -> Split:
    """Reads CIFAR-10 at a path, with its own test part; one without is split by a seed, a quarter for the test.

    Raises NotAnImageSet for a path that is no image set, and for one with too few pictures to split.
    """
    train, test = cifar10.training_bytes(path), cifar10.evaluation_bytes(path)
    count = len(train[1]) + (len(test[1]) if test is not None else 0)
    if test is None:
        if count < 2:
            raise NotAnImageSet(f"{path} holds {count} picture; a training and a test part need one each")
        train, test = _by_seed(train, max(1, round(PART_FOR_TEST * count)), seed)
    name = "cifar-10" if count == WHOLE_CIFAR10 else f"cifar-10 subset of {count:,} images"
    return in_form(train, test, name, camera=camera, yuv=yuv)


def in_form(train: Bytes, test: Bytes, name: str, *, camera: bool, yuv: bool) -> Split:
    """Returns parts of bytes in the form that a model takes.

    By default both are normalized by mean and standard deviation of the training part. `camera` gives
    (byte - 128) / 128, and `yuv` the same of centred YUV 4:4:4: multiples of 1/128, of which an input stub with that
    scale loses nothing.
    """
    if yuv:
        parts = [centered_yuv_bytes(images).to(torch.float32) / CENTER for images, _ in (train, test)]
        name += ", centred YUV"
    elif camera:
        parts = [(images.to(torch.float32) - CENTER) / CENTER for images, _ in (train, test)]
        name += ", centred RGB"
    else:
        scaled = [images.to(torch.float32) / 255 for images, _ in (train, test)]
        deviation, mean = torch.std_mean(scaled[0])
        parts = [(images - mean) / deviation.clamp_min(1e-6) for images in scaled]
    sets = [ImageSet(images=images, labels=labels) for images, (_, labels) in zip(parts, (train, test), strict=True)]
    return Split(train=sets[0], test=sets[1], name=name)


def stratified(labels: torch.Tensor, for_test: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the indices of a training and of a test part with as good as the same share of each class.

    `labels` is int64 [count] in 0..9. Each class gives its share rounded down, and those with the largest rests one
    more until `for_test` are found; which of its pictures, and the order of both parts, the seed decides.
    """
    generator = torch.Generator().manual_seed(seed)
    members = [torch.nonzero(labels == label).flatten() for label in range(CLASSES)]
    shares = [for_test * len(own) / len(labels) for own in members]
    counts = [int(share) for share in shares]
    by_rest = sorted(range(CLASSES), key=lambda label: counts[label] - shares[label])
    for label in by_rest[: for_test - sum(counts)]:
        counts[label] += 1
    mixed = [own[torch.randperm(len(own), generator=generator)] for own in members]
    test = torch.cat([own[:count] for own, count in zip(mixed, counts, strict=True)])
    train = torch.cat([own[count:] for own, count in zip(mixed, counts, strict=True)])
    return (
        train[torch.randperm(len(train), generator=generator)],
        test[torch.randperm(len(test), generator=generator)],
    )


def _by_seed(whole: Bytes, for_test: int, seed: int) -> tuple[Bytes, Bytes]:
    images, labels = whole
    train, test = stratified(labels, for_test, seed)
    return (images[train], labels[train]), (images[test], labels[test])

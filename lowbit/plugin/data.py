"""The names of image sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.errors import InvalidData
from bench.plugin import HeldOut, Registry, Sampler

if TYPE_CHECKING:
    from lowbit.data.split import Split


def register(registry: Registry) -> None:
    """Registers the sources of batches."""

    @registry.data("digits", held_out=_digits_in_parts)
    def digits() -> Sampler:
        """scikit-learn's handwritten digits as 3x32x32."""
        from lowbit.data.digits import digits as load

        return load().sample

    @registry.data("synthetic")
    def synthetic() -> Sampler:
        """Random pictures and labels."""
        from lowbit.data.synthetic import sample

        return sample

    @registry.data("cifar10", paths=True, held_out=_cifar10_in_parts)
    def cifar10(path: str) -> Sampler:
        """CIFAR-10 at a path: the binary version or an .npz."""
        from lowbit.data.cifar10 import cifar10 as load
        from lowbit.data.images import NotAnImageSet

        try:
            return load(path).sample
        except NotAnImageSet as error:
            raise InvalidData(f"--data {error}") from error


def _digits_in_parts(seed: int) -> HeldOut:
    from lowbit.data.split import digits

    return _in_parts(digits(seed))


def _cifar10_in_parts(path: str, seed: int) -> HeldOut:
    from lowbit.data.images import NotAnImageSet
    from lowbit.data.split import cifar10_at

    try:
        return _in_parts(cifar10_at(path, seed))
    except NotAnImageSet as error:
        raise InvalidData(f"--data {error}") from error


def _in_parts(split: Split) -> HeldOut:
    return HeldOut(train=split.train.sample, test=(split.test.images, split.test.labels))

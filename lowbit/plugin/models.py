"""The names of models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.plugin import Registry, Workload

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch


def register(registry: Registry) -> None:
    """Registers the models."""

    @registry.model("resnet20")
    def resnet20(device: torch.device, dtype: torch.dtype, seed: int) -> Workload:
        """ResNet-20, 305,114 parameters."""
        from lowbit.models.resnet20 import ResNet20

        return _classifier(ResNet20, device, dtype, seed)

    @registry.model("autoencoder")
    def autoencoder(device: torch.device, dtype: torch.dtype, seed: int) -> Workload:
        """Eight linear layers 3072-...-30-...-3072, 7,415,602 parameters."""
        from lowbit.models.autoencoder import Autoencoder

        return _classifier(Autoencoder, device, dtype, seed)

    @registry.model("vit")
    def vit(device: torch.device, dtype: torch.dtype, seed: int) -> Workload:
        """Vision transformer of six blocks, 9,523,722 parameters."""
        from lowbit.models.vit import ViT

        return _classifier(ViT, device, dtype, seed)

    @registry.model("mobilenetv2")
    def mobilenetv2(device: torch.device, dtype: torch.dtype, seed: int) -> Workload:
        """MobileNetV2 with ten classes, 2,236,682 parameters; needs batch 2 or more."""
        from lowbit.models.mobilenetv2 import MobileNetV2

        return _classifier(lambda: _settled(MobileNetV2()), device, dtype, seed, smallest_batch=2)


def _settled(module: torch.nn.Module) -> torch.nn.Module:
    """Gives batch norms the statistics of noise in place of none, as one batch of training would.

    With none, 52 layers that start small leave nothing of a picture: outputs are zeros to all that rounds.
    """
    import torch

    norms = [child for child in module.modules() if isinstance(child, torch.nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        module.train()(torch.randn(32, 3, 32, 32))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked.zero_()
    return module


def _classifier(
    make: Callable[[], torch.nn.Module], device: torch.device, dtype: torch.dtype, seed: int, **more: Any
) -> Workload:
    """Builds a model from its seed without touching the caller's random state; batches come from the image set."""
    import torch
    from torch.nn import functional

    # Parameters are drawn on the host, so that a model starts the same on every device.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = make()
    return Workload(module=module.to(device, dtype), loss=functional.cross_entropy, **more)

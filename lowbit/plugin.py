"""The names under which stepbench knows this library.

Every import of torch and of the library stands inside a factory: listing the names must cost nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.data.metric import PHASES
from bench.errors import InvalidData, StepbenchError
from bench.plugin import Coverage, HeldOut, Registry, Sampler, Use, Workload

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from lowbit.data.split import Split

# All rows of a table do the same optimization, so that their times differ by how it is done only. The learning rate
# is one at which each of them trains from the first step at batch 1.
LR = 3e-4
MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4
ADAMW_LR = 1e-3

_SIMULATED = (
    "it computes in float on rounded values, to show what few bits do to accuracy; the flows of torch (fx-static-x86, "
    "pt2e-static compiled) have kernels of integers"
)
_EVERY_LAYER = (
    "rounding after every layer weighs as much as small layers win by integers, most of all at batch 1; measure with a "
    "larger batch, and the other engines"
)
# What the name of a flow starts with -> why it may be slower than float, and what to do; the first that fits counts.
SLOWER = {
    **dict.fromkeys(("eager-dynamic", "fx-dynamic"), "only linear layers are quantized, and round their input anew "
                    "every time; use a static flow"),
    **dict.fromkeys((f"{mode}-{kind}-qnnpack" for mode in ("eager", "fx") for kind in ("static", "qat")),
                    "qnnpack is made for ARM; use x86 or onednn on this machine"),
    **dict.fromkeys(("eager-", "fx-"), _EVERY_LAYER),
    "pt2e-": "each rounding is a pass of its own over memory until the compiler fuses it; add @compiled=true",
    **dict.fromkeys(("kbit-", "dorefa-", "f8net"), _SIMULATED),
}  # fmt: skip


def register(registry: Registry) -> None:
    """Registers lowbit's models, optimizers, quantizations and image sets."""
    _models(registry)
    _baselines(registry)
    _eva(registry)
    _quantizations(registry)
    _data(registry)


def _models(registry: Registry) -> None:
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

        return _classifier(MobileNetV2, device, dtype, seed)


def _classifier(make: Callable[[], torch.nn.Module], device: torch.device, dtype: torch.dtype, seed: int) -> Workload:
    """Builds a model from its seed without touching the caller's random state; batches come from the image set."""
    import torch
    from torch.nn import functional

    # Parameters are drawn on the host, so that a model starts the same on every device.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = make()
    return Workload(module=module.to(device, dtype), loss=functional.cross_entropy)


def _baselines(registry: Registry) -> None:
    @registry.optimizer("sgd")
    def sgd(module: torch.nn.Module) -> torch.optim.Optimizer:
        """SGD with momentum of torch, fused."""
        import torch

        return torch.optim.SGD(module.parameters(), LR, MOMENTUM, weight_decay=WEIGHT_DECAY, fused=True)

    @registry.optimizer("sgd-foreach")
    def sgd_foreach(module: torch.nn.Module) -> torch.optim.Optimizer:
        """SGD with momentum of torch, foreach."""
        import torch

        return torch.optim.SGD(module.parameters(), LR, MOMENTUM, weight_decay=WEIGHT_DECAY, foreach=True)

    @registry.optimizer("sgd-8bit")
    def sgd_8bit(module: torch.nn.Module) -> torch.optim.Optimizer:
        """SGD with momentum stored in 8 bits."""
        from lowbit.optimizers.sgd_8bit import SGD8bit

        return SGD8bit(module.parameters(), LR, MOMENTUM, WEIGHT_DECAY)

    @registry.optimizer("adamw")
    def adamw(module: torch.nn.Module) -> torch.optim.Optimizer:
        """AdamW of torch, fused."""
        import torch

        return torch.optim.AdamW(module.parameters(), ADAMW_LR, fused=True)

    @registry.optimizer("adamw-foreach")
    def adamw_foreach(module: torch.nn.Module) -> torch.optim.Optimizer:
        """AdamW of torch, foreach."""
        import torch

        return torch.optim.AdamW(module.parameters(), ADAMW_LR, foreach=True)


def _eva(registry: Registry) -> None:
    same: dict[str, Any] = {"lr": LR, "momentum": MOMENTUM, "weight_decay": WEIGHT_DECAY}

    @registry.optimizer("eva")
    def eva(module: torch.nn.Module) -> torch.optim.Optimizer:
        """Eva with all state in fp32."""
        from lowbit.optimizers.eva import Eva

        return Eva(_takes_eva(module), **same)

    @registry.optimizer("eva-compiled")
    def eva_compiled(module: torch.nn.Module) -> torch.optim.Optimizer:
        """Eva in fp32 whose large layers are updated by compiled code; compiles for some seconds in the first step."""
        from lowbit.optimizers.eva import Eva

        return Eva(_takes_eva(module), compiled=_has_compiler("eva"), **same)

    @registry.optimizer("eva-8bit")
    def eva_8bit(module: torch.nn.Module) -> torch.optim.Optimizer:
        """Eva with statistics and momentum stored in 8 bits."""
        from lowbit.optimizers.eva_8bit import Eva8bit

        return Eva8bit(_takes_eva(module), **same)

    @registry.optimizer("eva-8bit-compiled")
    def eva_8bit_compiled(module: torch.nn.Module) -> torch.optim.Optimizer:
        """Eva in 8 bits whose large layers are decoded, updated and encoded by compiled code."""
        from lowbit.optimizers.eva_8bit import Eva8bit

        return Eva8bit(_takes_eva(module), compiled=_has_compiler("eva-8bit"), **same)

    @registry.optimizer("eva-8bit-cpu")
    def eva_8bit_cpu(module: torch.nn.Module) -> torch.optim.Optimizer:
        """Eva in 8 bits, its statistics kept and quantized on the host."""
        from lowbit.optimizers.eva_8bit_cpu import Eva8bitCPU

        return Eva8bitCPU(_takes_eva(module), **same)

    @registry.optimizer("eva-f")
    def eva_f(module: torch.nn.Module) -> torch.optim.Optimizer:
        """Eva by the inputs of layers alone (FOOF, vectorized), in fp32."""
        from lowbit.optimizers.eva_f import EvaF

        return EvaF(_takes_eva(module), **same)


def _has_compiler(instead: str) -> bool:
    """Returns True; raises StepbenchError where torch.compile would have nothing to compile with."""
    from lowbit.optimizers import compiled_descent

    if not compiled_descent.available():
        raise StepbenchError(
            f"{instead}-compiled needs a C++ compiler (g++ or clang++), and there is none; choose {instead}"
        )
    return True


def _takes_eva(module: torch.nn.Module) -> torch.nn.Module:
    """Returns a module whose layers Eva can see; raises StepbenchError for one that it would train as SGD does."""
    from lowbit.optimizers.eva_layers import find_layers

    quantized = any(
        hasattr(child, "quantizes_weight") or hasattr(child, "weight_fake_quant") for child in module.modules()
    )
    if quantized or not find_layers(module, ()):
        raise StepbenchError(
            "Eva would be plain SGD here: its hooks are on layers of class Linear and Conv2d, and in this model "
            "quantized ones stand in their place; choose sgd or adamw"
        )
    return module


def _quantizations(registry: Registry) -> None:
    from lowbit.quantization.flows import NAMES

    for listed in NAMES:
        phases = PHASES if listed.trains else ("forward",)
        slower = next((text for start, text in SLOWER.items() if listed.name.startswith(start)), "")
        register = registry.quantization(listed.name, phases=phases, coverage=_coverage, slower=slower)
        register(_quantizer(listed.name, listed.summary))


def _quantizer(name: str, summary: str) -> Callable[[torch.nn.Module, Use], torch.nn.Module]:
    def quantizer(module: torch.nn.Module, use: Use) -> torch.nn.Module:
        from lowbit.quantization.flow import QuantizationError, quantized
        from lowbit.quantization.flows import flow

        try:
            return quantized(flow(name), module, use.inputs, trains=use.trains)
        except QuantizationError as error:
            raise StepbenchError(str(error)) from error

    quantizer.__doc__ = summary
    return quantizer


def _coverage(before: torch.nn.Module, after: torch.nn.Module) -> Coverage:
    from lowbit.quantization.coverage import coverage

    found = coverage(before, after)
    return Coverage(quantized=found.quantized, eligible=found.eligible, cause=found.cause)


def _data(registry: Registry) -> None:
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

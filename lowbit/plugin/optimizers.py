"""The names of optimizers, and the rates that all of them step with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.errors import StepbenchError
from bench.plugin import Registry

if TYPE_CHECKING:
    import torch

# All rows of a table do the same optimization, so that their times differ by how it is done only. The learning rate
# is one at which each of them trains from the first step at batch 1.
LR = 3e-4
MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4
ADAMW_LR = 1e-3


def register(registry: Registry) -> None:
    """Registers torch's optimizers and ours."""
    _baselines(registry)
    _eva(registry)


def _baselines(registry: Registry) -> None:
    @registry.optimizer("sgd")
    def sgd(module: torch.nn.Module) -> torch.optim.Optimizer:
        """SGD with momentum of torch, fused; foreach where fused is wrong: in half precision on the CPU."""
        import torch

        from lowbit.optimizers.descent import fused_is_right

        how = "fused" if all(map(fused_is_right, module.parameters())) else "foreach"
        return torch.optim.SGD(module.parameters(), LR, MOMENTUM, weight_decay=WEIGHT_DECAY, **{how: True})

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

    @registry.optimizer("eva-eager")
    def eva_eager(module: torch.nn.Module) -> torch.optim.Optimizer:
        """Eva in fp32 of torch's operations alone, as where there is no C++ compiler."""
        from lowbit.optimizers.eva import Eva

        return Eva(_takes_eva(module), compiled=False, **same)

    @registry.optimizer("eva-bias-gradients")
    def eva_bias_gradients(module: torch.nn.Module) -> torch.optim.Optimizer:
        """Eva in fp32, with mean output gradients from gradients of biases."""
        from lowbit.optimizers.eva import Eva

        return Eva(_takes_eva(module), bias_gradients=True, **same)

    @registry.optimizer("eva-inductor")
    def eva_inductor(module: torch.nn.Module) -> torch.optim.Optimizer:
        """Eva in fp32, its update made by torch.compile."""
        from lowbit.optimizers.eva import Eva

        return Eva(_takes_eva(module), compiled="inductor", **same)

    @registry.optimizer("eva-8bit")
    def eva_8bit(module: torch.nn.Module) -> torch.optim.Optimizer:
        """Eva with statistics and momentum stored in 8 bits."""
        from lowbit.optimizers.eva_8bit import Eva8bit

        return Eva8bit(_takes_eva(module), **same)

    @registry.optimizer("eva-8bit-eager")
    def eva_8bit_eager(module: torch.nn.Module) -> torch.optim.Optimizer:
        """Eva in 8 bits of torch's operations alone."""
        from lowbit.optimizers.eva_8bit import Eva8bit

        return Eva8bit(_takes_eva(module), compiled=False, **same)

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

"""What all code in a process shares: torch's settings, functions and operators, and whether they were changed."""

from __future__ import annotations

from typing import Any

import torch

_NAMESPACES: tuple[tuple[str, Any], ...] = (
    ("torch", torch),
    ("torch.Tensor", torch.Tensor),
    ("torch.nn", torch.nn),
    ("torch.nn.functional", torch.nn.functional),
    ("torch.nn.init", torch.nn.init),
    ("torch.nn.Module", torch.nn.Module),
    ("torch.nn.Parameter", torch.nn.Parameter),
    ("torch.optim", torch.optim),
    ("torch.optim.Optimizer", torch.optim.Optimizer),
    ("torch.optim.SGD", torch.optim.SGD),
    ("torch.optim.AdamW", torch.optim.AdamW),
    ("torch.autograd", torch.autograd),
    ("torch.autograd.Function", torch.autograd.Function),
    ("torch.nn.Linear", torch.nn.Linear),
    ("torch.nn.Conv2d", torch.nn.Conv2d),
)
# Set while a module is first used, by torch itself.
_TORCH_SETS_ITSELF = frozenset({"__warningregistry__", "__annotations__", "__annotations_cache__", "__doc__"})

Fingerprint = dict[str, Any]


def fingerprint() -> Fingerprint:
    """Returns what is global: settings by value, functions and classes of torch by identity, operators by name."""
    found: Fingerprint = {f"setting {name}": value for name, value in _settings().items()}
    for place, namespace in _NAMESPACES:
        for name, value in vars(namespace).items():
            if name not in _TORCH_SETS_ITSELF and callable(value):
                found[f"patched {place}.{name}"] = id(value)
    for operator in torch._C._dispatch_get_all_op_names():  # noqa: SLF001 - torch has no public list
        found[f"operator {operator}"] = True
    return found


def changes(before: Fingerprint, after: Fingerprint) -> list[str]:
    """Returns what differs; a name that torch added to itself while it was first used is no change."""
    found = [name for name, value in before.items() if after.get(name) != value]
    return found + [name for name in after if name not in before and name.startswith("operator ")]


def _settings() -> dict[str, Any]:
    return {
        "default dtype": torch.get_default_dtype(),
        "default device": str(torch.get_default_device()),
        "threads": torch.get_num_threads(),
        "gradients": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "anomaly detection": torch.is_anomaly_enabled(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "float32 matmul precision": torch.get_float32_matmul_precision(),
        "quantized engine": torch.backends.quantized.engine,
        "mkldnn": torch.backends.mkldnn.enabled,
        "cudnn": torch.backends.cudnn.enabled,
        "cudnn benchmark": torch.backends.cudnn.benchmark,
        "cudnn tf32": torch.backends.cudnn.allow_tf32,
        "flush denormal": bool(torch.tensor([1e-310], dtype=torch.float64).mul_(1.0).item() == 0.0),
        "autocast on cpu": torch.is_autocast_enabled("cpu"),
    }

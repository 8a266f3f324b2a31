"""What all code in a process shares: torch's settings, functions and operators, and whether they were changed."""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from pathlib import Path
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

_PACKAGES = Path(torch.__file__).parents[1]

Fingerprint = dict[str, Any]


def fingerprint() -> Fingerprint:
    """Returns what is global: settings by value, functions and classes of torch by identity."""
    found: Fingerprint = {f"setting {name}": value for name, value in _settings().items()}
    for place, namespace in _NAMESPACES:
        for name, value in vars(namespace).items():
            if name not in _TORCH_SETS_ITSELF and callable(value):
                found[f"patched {place}.{name}"] = id(value)
    return found


def changes(before: Fingerprint, after: Fingerprint) -> list[str]:
    """Returns what differs; a name that torch added to itself while it was first used is no change."""
    return [name for name, value in before.items() if after.get(name) != value]


def operators() -> frozenset[str]:
    """Returns the names of all operators that torch's dispatcher knows."""
    return frozenset(torch._C._dispatch_get_all_op_names())  # noqa: SLF001 - torch has no public list


def registered(since: frozenset[str]) -> list[str]:
    """Returns the operators that were registered since, and not by an installed package when it was first used.

    A process takes each of them once: a second version raises, or takes the place of the first.
    """
    known = {name.partition("::")[0] for name in since}
    return [f"operator {name}" for name in sorted(operators() - since) if not _is_installed(name, known)]


def _is_installed(operator: str, known: AbstractSet[str]) -> bool:
    """Says whether an operator is of a package; `known` are the namespaces that there were before."""
    said = torch._C._dispatch_dump(operator)  # noqa: SLF001 - nothing else says where an operator is from
    found = re.search(r"registered at (.*?):\d+", said)
    # What is compiled names a file of whoever built it.
    place = Path(found[1]) if found else None
    if place is None or not place.exists():
        return True
    # Whoever uses torch.library.custom_op: that is where it registers, and so does torch itself.
    own = place.name != "custom_ops.py" or operator.partition("::")[0] in known
    return place.is_relative_to(_PACKAGES) and own


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
        "hooks of all modules": _global_hooks(),
        "kernels of torch's operators": _replaced_kernels(),
    }


def _global_hooks() -> tuple[int, ...]:
    places = vars(torch.nn.modules.module).items()
    found = (value for name, value in sorted(places) if name.startswith("_global_") and isinstance(value, dict))
    return tuple(id(hook) for hooks in found for hook in hooks.values())


def _replaced_kernels() -> frozenset[str]:
    """Returns the kernels of torch's own operators that were registered from Python; shapes alone change no result."""
    known: set[str] = getattr(torch.library, "_impls", set())
    return frozenset(name for name in known if name.startswith("aten/") and not name.endswith("/Meta"))

"""Which modules of a model Eva preconditions."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from lowbit.optimizers.kronecker import LAYERS


@dataclass(frozen=True, eq=False)
class Layer:
    """A preconditioned module under its name in the model; a grouped convolution is a block for each group."""

    name: str
    module: nn.Linear | nn.Conv2d

    @functools.cached_property
    def weight(self) -> torch.Tensor:
        """The parameter that is preconditioned and under which the layer's state is kept."""
        return self.module.weight

    @functools.cached_property
    def bias(self) -> torch.Tensor | None:
        """The parameter that is one more column of the weight."""
        return self.module.bias

    @functools.cached_property
    def groups(self) -> int:
        """Number of curvature blocks."""
        return self.module.groups if isinstance(self.module, nn.Conv2d) else 1


def find_layers(model: nn.Module, exclude: Iterable[nn.Module | str]) -> dict[str, Layer]:
    """Returns the layers of a model by name: modules whose class is exactly Linear or Conv2d, as published.

    A subclass such as the output projection of MultiheadAttention is left out, because it need not call what it
    inherits; so are layers of no inputs or no outputs, and what `exclude` names or contains. Raises ValueError for an
    unknown name in `exclude` and for a weight that two modules share.
    """
    names = {module: name for name, module in model.named_modules()}
    excluded: set[nn.Module] = set()
    for item in exclude:
        found = model if item == "" else next((m for m, name in names.items() if item is m or item == name), None)
        if found is None:
            raise ValueError(
                f"exclude={item!r}: the model has no such module; its modules: {', '.join(names.values())}"
            )
        excluded.update(found.modules())
    owners: dict[nn.Parameter, str] = {}
    layers: dict[str, Layer] = {}
    for module, name in names.items():
        layer = isinstance(module, LAYERS) and type(module) in LAYERS and module not in excluded
        for parameter in module.parameters(recurse=False):
            owner = owners.setdefault(parameter, name)
            if owner != name and (layer or owner in layers):
                raise ValueError(
                    f"modules {owner!r} and {name!r} share a parameter: Eva cannot tell whose inputs its gradient "
                    f"belongs to; give exclude=[{owner!r}, {name!r}]"
                )
        if layer and isinstance(module, LAYERS) and module.weight.numel():
            layers[name] = Layer(name, module)
    return layers

"""Loading and weighing an optimizer's state whose tensors have dtypes of their own."""

from __future__ import annotations

from typing import Any, ClassVar

import torch


class MixedStateOptimizer(torch.optim.Optimizer):
    """An optimizer whose state holds codes, scales and vectors beside buffers of the parameter's dtype.

    torch casts every loaded state tensor to the parameter's dtype, which would turn codes into floats; here each
    key has its rule. `STATE_KEYS` are the keys that a class can load.
    """

    STATE_KEYS: ClassVar[frozenset[str]] = frozenset()
    # Whether a graph may have been captured of its steps, which goes on with the tensors that there were.
    capturable = False

    def __getstate__(self) -> dict[str, Any]:
        """Raises TypeError: torch would copy the state alone, not what ties it to parameters or chooses kernels."""
        raise TypeError(
            f"{type(self).__name__} is tied to its parameters, and cannot be copied or pickled: copy the model, make a "
            "new optimizer for it, and load this one's state_dict()"
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Loads a state, also one saved on another device or with parameters of another floating dtype.

        With `capturable` it is written over what is there of the same kind, for graphs of steps.
        Raises ValueError for the state of another class of optimizer, and for groups that differ.
        """
        foreign = {key for values in state_dict["state"].values() for key in values} - self.STATE_KEYS
        if foreign:
            raise ValueError(
                f"state with {', '.join(sorted(foreign))} is not that of {type(self).__name__}, which keeps "
                f"{', '.join(sorted(self.STATE_KEYS))}; load it into the class that saved it"
            )
        before = {parameter: dict(values) for parameter, values in self.state.items() if self.capturable}
        super().load_state_dict({**state_dict, "state": {}})
        saved = [number for group in state_dict["param_groups"] for number in group["params"]]
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        self.state.clear()
        for number, parameter in zip(saved, parameters, strict=True):
            for key, value in state_dict["state"].get(number, {}).items():
                if key == "momentum_buffer" and value.shape != parameter.shape:
                    raise ValueError(
                        f"momentum {list(value.shape)} is not that of a parameter {list(parameter.shape)}: the state "
                        "is of another model"
                    )
                placed = self.place(key, value, parameter)
                there = before.get(parameter, {}).get(key)
                if there is not None and (there.shape, there.dtype, there.device) == (
                    placed.shape,
                    placed.dtype,
                    placed.device,
                ):
                    placed = there.copy_(placed)
                self.state[parameter][key] = placed

    def place(self, key: str, value: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
        """Returns a copy of a loaded tensor where and as this optimizer keeps it for a parameter."""
        if key.endswith(("_codes", "_scales")):
            return value.to(parameter.device, copy=True)
        dtype = parameter.dtype if key == "momentum_buffer" else torch.promote_types(parameter.dtype, torch.float32)
        # Kernels read it as it lies in memory.
        return value.to(parameter.device, dtype, copy=True, memory_format=torch.contiguous_format)

    def state_bytes(self) -> dict[str, int]:
        """Returns the bytes of state by part: statistics, momentum, and the scales of what is kept in 8 bits."""
        parts = {"statistics": 0, "momentum": 0, "scales": 0}
        for values in self.state_dict()["state"].values():
            for key, value in values.items():
                part = (
                    "scales" if key.endswith("_scales") else "momentum" if key.startswith("momentum") else "statistics"
                )
                parts[part] += value.numel() * value.element_size()
        return parts

"""What a gradient scaler did to the gradients that an optimizer is given, and to what its hooks saw."""

from __future__ import annotations

import torch


def scaling(
    optimizer: torch.optim.Optimizer, grad_scaler: torch.amp.GradScaler | None
) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
    """Returns whether gradients are finite, and the factors that unscale gradients and output vectors.

    Each is None where there is nothing to do. Raises RuntimeError for gradients that were unscaled by a scaler that
    the optimizer does not know: the vectors could not be unscaled with them.
    """
    found_inf, scale = getattr(optimizer, "found_inf", None), getattr(optimizer, "grad_scale", None)
    healthy = None if found_inf is None else found_inf == 0
    if scale is not None:
        return healthy, 1 / scale, 1 / scale
    if grad_scaler is not None and grad_scaler.is_enabled():
        one = torch.ones((), device=optimizer.param_groups[0]["params"][0].device)
        return healthy, None, 1 / grad_scaler.scale(one)
    if found_inf is not None:
        raise RuntimeError(
            "scaler.unscale_(optimizer) was called, but the output gradients that Eva's hooks saw are still "
            "scaled; give the optimizer grad_scaler=scaler"
        )
    return None, None, None

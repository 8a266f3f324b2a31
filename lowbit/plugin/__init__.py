"""The names under which stepbench knows this library.

Every import of torch and of the library stands inside a factory: listing the names must cost nothing.
"""

from __future__ import annotations

from bench.plugin import Registry
from lowbit.plugin import data, models, optimizers, quantizations


def register(registry: Registry) -> None:
    """Registers lowbit's models, optimizers, quantizations and image sets."""
    models.register(registry)
    optimizers.register(registry)
    quantizations.register(registry)
    data.register(registry)

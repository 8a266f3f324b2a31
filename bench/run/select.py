"""From what a person typed to variants: ids, globs and the sets of a catalog."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from typing import Any

from bench.data.variant import NONE, PART_AXES, Variant, parse_axes
from bench.errors import InvalidVariant, NothingMeasured
from bench.plugin import Registry

_WILD = frozenset("*?[")


def select(
    registry: Registry, patterns: Sequence[str], listed: Iterable[str] | None, axes: dict[str, Any]
) -> list[Variant]:
    """Returns the variants that a command asked for, each once, in the order they were named.

    Without patterns the `listed` ids are taken. With both, patterns pick from the listed ids; with patterns alone,
    an id stands for itself and a glob is matched against every combination of registered models, optimizers and
    quantizations. A pattern may be cut short: then every optimizer is meant, and no quantization. `axes` are then set
    on all of them.

    Raises UnknownName for a part nobody registered, InvalidVariant for what is no id, NothingMeasured for a glob
    that matches nothing.
    """
    pool = None if listed is None else [Variant.parse(text) for text in listed]
    if not patterns:
        chosen = pool or []
    else:
        chosen = [variant for pattern in patterns for variant in _matches(registry, pattern, pool)]
    variants = list(dict.fromkeys(variant.with_axes(**axes) for variant in chosen))
    for variant in variants:
        check(registry, variant)
    return variants


def check(registry: Registry, variant: Variant) -> None:
    """Raises UnknownName unless every part of a variant is registered, InvalidVariant for ranks that do not train."""
    for axis in PART_AXES:
        name = getattr(variant, axis)
        if axis == "model" or name != NONE:
            registry.get(axis, name)
    if variant.ranks > 1 and variant.optimizer == NONE:
        raise InvalidVariant(f"{variant}: ranks exchange gradients, and inference has none; give it an optimizer")


def _matches(registry: Registry, pattern: str, pool: list[Variant] | None) -> list[Variant]:
    path, at, settings = pattern.partition("@")
    given = path.split("/")
    if not path or len(given) > len(PART_AXES):
        raise InvalidVariant(
            f"{pattern!r} is no selection; write model, model/optimizer or model/optimizer/quantization, each a name "
            "or a glob, in quotes where it has a *: 'vit/*/none'"
        )
    globs = [*given, *("*", NONE)[len(given) - 1 :]]
    if at and not settings:
        raise InvalidVariant(f"{pattern!r} ends after '@'; write axis=value,... behind it, such as @batch=32")
    axes = parse_axes(settings)
    if pool is None and not any(_WILD & set(glob) for glob in globs):
        return [Variant.parse("/".join(globs)).with_axes(**axes)]
    for axis, glob in zip(PART_AXES, globs, strict=True):
        if not _WILD & set(glob) and (axis == "model" or glob != NONE):
            registry.get(axis, glob)
    candidates = pool if pool is not None else _combinations(registry, globs)
    found = [
        variant.with_axes(**axes)
        for variant in candidates
        if all(fnmatch.fnmatchcase(getattr(variant, axis), glob) for axis, glob in zip(PART_AXES, globs, strict=True))
    ]
    if not found:
        where = "the chosen set" if pool is not None else "the registered parts"
        raise NothingMeasured(f"{pattern!r} matches nothing in {where}; `stepbench list` shows what there is")
    return found


def _combinations(registry: Registry, globs: list[str]) -> list[Variant]:
    # A glob over optimizers means optimizers: inference is a row of its own that has to be named.
    optimizers = [NONE] if globs[1] == NONE else registry.names("optimizer")
    return [
        Variant(model=model, optimizer=optimizer, quantization=quantization)
        for model in registry.names("model")
        for optimizer in optimizers
        for quantization in (NONE, *registry.names("quantization"))
    ]

"""A variant: one part on every axis, and its textual id."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from bench.errors import InvalidVariant, UnknownName

NAME = re.compile(r"[a-z0-9][a-z0-9-]*\Z")
_FORM = "model/optimizer/quantization, then optional @axis=value,..."
# The name of "no part" on an axis: no optimizer is inference, no quantization leaves the model as it is.
NONE = "none"
DTYPES = ("float32", "float64", "bfloat16", "float16")
# How pictures and the weights of convolutions lie in memory.
MEMORY_FORMATS = ("contiguous", "channels_last")


@dataclass(frozen=True, kw_only=True, order=True)
class Variant:
    """One point of the measured space: a part or a value on every axis.

    Its id is `model/optimizer/quantization@axis=value,...`, where axes at their default are left out, so that
    `Variant.parse(str(v)) == v`. `batch` and `threads` are those of each rank. Raises InvalidVariant when a name or a
    value is out of its range.
    """

    model: str
    optimizer: str
    quantization: str = NONE
    batch: int = 1
    dtype: str = "float32"
    device: str = "cpu"
    threads: int = 1
    compiled: bool = False
    memory_format: str = "contiguous"
    ranks: int = 1

    def __post_init__(self) -> None:
        for axis in PART_AXES:
            name = getattr(self, axis)
            if not NAME.match(name):
                raise InvalidVariant(f"{axis} {name!r}: a name is lower case letters, digits and hyphens")
        for count in ("batch", "threads", "ranks"):
            if getattr(self, count) < 1:
                raise InvalidVariant(f"{count}={getattr(self, count)}: must be 1 or more")
        if self.dtype not in DTYPES:
            raise UnknownName("dtype", self.dtype, DTYPES)
        if self.memory_format not in MEMORY_FORMATS:
            raise UnknownName("memory format", self.memory_format, MEMORY_FORMATS)
        if not re.match(r"(cpu|cuda(:[0-9]+)?)\Z", self.device):
            raise InvalidVariant(f"device={self.device!r}: must be cpu, cuda or cuda:N")
        if self.ranks > 1 and ":" in self.device:
            raise InvalidVariant(f"device={self.device} with ranks={self.ranks}: each rank has its own; write cuda")

    def __str__(self) -> str:
        changed = [
            f"{axis}={_write(getattr(self, axis))}" for axis in VALUE_AXES if getattr(self, axis) != DEFAULTS[axis]
        ]
        return f"{self.model}/{self.optimizer}/{self.quantization}" + ("@" + ",".join(changed) if changed else "")

    @classmethod
    def parse(cls, text: str) -> Variant:
        """Reads an id back; raises InvalidVariant or UnknownName with the form that is allowed."""
        path, at, settings = text.partition("@")
        names = path.split("/")
        if len(names) != len(PART_AXES):
            raise InvalidVariant(f"{text!r} is not a variant id; write {_FORM}")
        if at and not settings:
            raise InvalidVariant(f"{text!r} ends after '@'; write {_FORM}")
        model, optimizer, quantization = names
        return cls(model=model, optimizer=optimizer, quantization=quantization, **parse_axes(settings))

    def with_axes(self, **values: Any) -> Variant:
        """Returns the same variant with some axes changed; None leaves an axis as it is."""
        return replace(self, **{axis: value for axis, value in values.items() if value is not None})


PART_AXES: tuple[Literal["model", "optimizer", "quantization"], ...] = ("model", "optimizer", "quantization")
VALUE_AXES = tuple(field.name for field in fields(Variant) if field.name not in PART_AXES)
DEFAULTS: dict[str, Any] = {field.name: field.default for field in fields(Variant) if field.name in VALUE_AXES}

# The axes that say how one and the same step is computed, at their defaults: rows that differ in them are rivals.
FLAVOR: dict[str, Any] = {axis: DEFAULTS[axis] for axis in ("dtype", "compiled", "memory_format")}


def parse_axes(settings: str) -> dict[str, Any]:
    """Reads `axis=value,...` into typed values; an empty text gives none."""
    values: dict[str, Any] = {}
    for setting in filter(None, settings.split(",")):
        axis, equals, value = setting.partition("=")
        if axis not in VALUE_AXES:
            raise UnknownName("axis", axis, VALUE_AXES)
        if axis in values:
            raise InvalidVariant(f"axis {axis!r} is given twice in {settings!r}")
        if not equals or not value:
            raise InvalidVariant(f"axis {axis!r} has no value in {settings!r}; write {axis}=value")
        values[axis] = _read(axis, value)
    return values


def _read(axis: str, value: str) -> Any:
    default = DEFAULTS[axis]
    if isinstance(default, bool):
        if value not in {"true", "false"}:
            raise InvalidVariant(f"{axis}={value!r}: must be true or false")
        return value == "true"
    if isinstance(default, int):
        if not re.fullmatch(r"[0-9]{1,9}", value):
            raise InvalidVariant(f"{axis}={value!r}: must be a whole number, 1 or more")
        return int(value)
    return value


def _write(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)

"""The one door for specimens: a plug-in is a module with `register(registry)`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from bench.data.metric import PHASES
from bench.data.variant import NAME, NONE
from bench.errors import DuplicateName, StepbenchError, UnknownName

if TYPE_CHECKING:
    import torch

Covers = Callable[["torch.nn.Module", "torch.nn.Module"], "Coverage"]
Kind = Literal["model", "optimizer", "quantization", "data"]
KINDS: tuple[Kind, ...] = ("model", "optimizer", "quantization", "data")
Sampler = Callable[[int, "torch.Generator"], tuple[Any, Any]]
Factory = TypeVar("Factory", bound=Callable[..., Any])


@dataclass(frozen=True)
class Workload:
    """What a model factory returns: a module, its loss, and where its batches come from.

    `loss(outputs, targets)` gives a scalar tensor. `sample(batch, generator)` gives the inputs and targets of one
    step on the host; without it the step takes its batches from the image set chosen by `--data`
    (inputs: float32 of shape [batch, 3, 32, 32]; targets: int64 of shape [batch]). It trains with batches of
    `smallest_batch` or more: some normalizations have nothing to normalize over with one.
    """

    module: torch.nn.Module
    loss: Callable[[Any, Any], torch.Tensor]
    sample: Sampler | None = None
    smallest_batch: int = 1


@dataclass(frozen=True)
class HeldOut:
    """A data source in two parts that share nothing: batches to train on, and what is counted on.

    `train` is a sampler; `test` holds the inputs and targets that are held out, all of them, on the host.
    """

    train: Sampler
    test: tuple[Any, Any]


@dataclass(frozen=True)
class Use:
    """What a quantized module is for: the inputs that it will see, on its device, and whether it will be trained."""

    inputs: tuple[Any, ...]
    trains: bool


@dataclass(frozen=True, kw_only=True)
class Ran:
    """How a quantized row ran, for whoever has to say why it took longer than float."""

    batch: int
    threads: int
    compiled: bool
    trains: bool


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How many layers a quantization has quantized, of those that it could; `cause` says why not all of them."""

    quantized: int
    eligible: int
    cause: str = ""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A named thing on an axis: its factory, where it was registered, and what it declares about itself."""

    kind: Kind
    name: str
    factory: Callable[..., Any]
    origin: str
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """First line of the factory's docstring, for lists."""
        return (inspect.getdoc(self.factory) or "").partition("\n")[0]


class Registry:
    """The parts of one load of plug-ins; there is no global one, so that two versions can live in one process."""

    def __init__(self) -> None:
        self._parts: dict[tuple[Kind, str], Part] = {}
        self._rules: list[Callable[[str], bool]] = []

    def model(self, name: str) -> Callable[[Factory], Factory]:
        """Registers a factory `(device, dtype, seed) -> Workload`."""
        return self._decorator("model", name)

    def optimizer(self, name: str) -> Callable[[Factory], Factory]:
        """Registers a factory `(module) -> torch.optim.Optimizer`."""
        return self._decorator("optimizer", name)

    def quantization(
        self,
        name: str,
        phases: tuple[str, ...] = PHASES,
        coverage: Covers | None = None,
        slower: str | Callable[[Ran], str] = "",
        *,
        own_kernels: bool = False,
    ) -> Callable[[Factory], Factory]:
        """Registers a factory `(module) -> module` or `(module, use) -> module`.

        `phases` are the ones that the result can run. `coverage(float_module, module)` counts the layers that were
        quantized; a variant of which it counts none has no right to the name, and fails. `slower` says, or is given how
        the row ran and returns, why it may be slower than float and what to do about it: a note for the rows that are.
        `own_kernels` says that layers compute with integers whether a compiler fuses them or not.
        """
        unknown = set(phases) - set(PHASES)
        if unknown:
            raise UnknownName("phase", min(unknown), PHASES)
        return self._decorator(
            "quantization", name, phases=tuple(phases), coverage=coverage, slower=slower, own_kernels=own_kernels
        )

    def quantizations(self, rule: Callable[[str], bool]) -> None:
        """Registers a rule for names that are too many to list: it registers the one it is given, or returns False.

        Lists and globs know only what is registered by name.
        """
        self._rules.append(rule)

    def data(
        self, name: str, *, paths: bool = False, held_out: Callable[..., HeldOut] | None = None
    ) -> Callable[[Factory], Factory]:
        """Registers a factory of a sampler: `() -> Sampler`, or `(path) -> Sampler` with `paths=True`.

        `held_out(seed)`, or `held_out(path, seed)`, splits the same source by a seed: without it accuracy cannot be
        counted on what was not trained on.
        """
        return self._decorator("data", name, paths=paths, held_out=held_out)

    def get(self, kind: Kind, name: str) -> Part:
        """Returns a part; raises UnknownName with the nearest names."""
        found = self._parts.get((kind, name))
        if found is None and kind == "quantization" and any(rule(name) for rule in self._rules):
            found = self._parts[kind, name]
        if found is None:
            absent = [NONE] if kind in {"optimizer", "quantization"} else []
            raise UnknownName(kind, name, [*absent, *self.names(kind)])
        return found

    def names(self, kind: Kind) -> list[str]:
        """Returns the names on one axis, in the order they were registered."""
        return [name for kind_, name in self._parts if kind_ == kind]

    def parts(self, kind: Kind) -> list[Part]:
        """Returns the parts on one axis, in the order they were registered."""
        return [part for part in self._parts.values() if part.kind == kind]

    def _decorator(self, kind: Kind, name: str, **options: Any) -> Callable[[Factory], Factory]:
        if not isinstance(name, str):
            raise StepbenchError(f'write @registry.{kind}("name") above the factory: the name is missing')

        if not NAME.match(name):
            raise StepbenchError(f"{kind} {name!r}: a name is lower case letters, digits and hyphens")

        def register(factory: Factory) -> Factory:
            part = Part(kind=kind, name=name, factory=factory, origin=_origin(factory), options=options)
            taken = self._parts.get((kind, name))
            if taken is not None:
                raise DuplicateName(kind, name, taken.origin, part.origin)
            self._parts[kind, name] = part
            return factory

        return register


def _origin(factory: Callable[..., Any]) -> str:
    code = getattr(inspect.unwrap(factory), "__code__", None)
    if code is None:
        return getattr(factory, "__module__", "?")
    return f"{code.co_filename}:{code.co_firstlineno}"

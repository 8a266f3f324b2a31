"""The names of flows: which there are, and the flow that a name stands for.

    {eager,fx}-dynamic-ENGINE                   weights of linear layers, ranges of inputs as they come
    {eager,fx}-static-ENGINE[-per-tensor]       after training, by observers
    {eager,fx}-qat-ENGINE[-per-tensor]          while training
    fx-static-x86-qint8                         the well-known recipe that quantizes nothing, as the example
    pt2e-static, pt2e-qat, pt2e-dynamic         on exported graphs, with torchao
    kbit-K, kbit-wKaK[OPTIONS]                  2 to 8 bits, after training or while it goes on
    dorefa-W-A-G[-sum]                          DoReFa-Net, 1 to 8 bits or 32; on branches, or on the sum of a shortcut
    f8net[-search]                              F8Net, fraction lengths by formula, or by search

ENGINE is x86, onednn, fbgemm or qnnpack. OPTIONS of k-bit, in this order: -per-tensor, -symmetric, -min-max or
-histogram, -reduce-range, -all-layers; without them weights are by channel, activations affine by a moving average,
and the first and the last layer stay in float.

Importing this needs no torch: listing names must cost nothing.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lowbit.quantization.flow import Flow, QuantizationError
    from lowbit.quantization.kbit_layers import Settings

ENGINES = ("x86", "onednn", "fbgemm", "qnnpack")
FLOAT = "float"


@dataclass(frozen=True, kw_only=True)
class Name:
    """A flow that is listed: its name, one line on what it is, and whether its prepared model can be trained."""

    name: str
    summary: str
    trains: bool


def _torch_names() -> list[Name]:
    found = []
    for mode, words in (("eager", "eager mode"), ("fx", "FX")):
        for engine in ENGINES:
            whole = f"{words} on {engine}"
            of_weights, of_all = f"{mode}-dynamic-{engine}", f"{mode}-static-{engine}"
            found += [
                Name(name=of_weights, summary=f"torch's dynamic flow in {whole}: linear layers only.", trains=False),
                Name(name=of_all, summary=f"torch's static flow in {whole}, by channel.", trains=False),
                Name(
                    name=f"{of_all}-per-tensor",
                    summary=f"torch's static flow in {whole}, one scale a weight.",
                    trains=False,
                ),
                Name(name=f"{mode}-qat-{engine}", summary=f"torch's QAT in {whole}, by channel.", trains=True),
                Name(
                    name=f"{mode}-qat-{engine}-per-tensor",
                    summary=f"torch's QAT in {whole}, one scale a weight.",
                    trains=True,
                ),
            ]
    qint8 = "FX on x86 with qint8 activations, a recipe that quantizes nothing and does not say so."
    return [
        *found,
        Name(name="fx-static-x86-qint8", summary=qint8, trains=False),
        Name(name="pt2e-static", summary="PT2E after training, torchao's quantizer for Inductor on x86.", trains=False),
        Name(name="pt2e-qat", summary="PT2E while training, torchao's quantizer for Inductor on x86.", trains=True),
        Name(name="pt2e-dynamic", summary="PT2E with ranges of inputs as they come.", trains=False),
    ]


def _own_names() -> list[Name]:
    kbit = {f"kbit-{bits}": f"Weights and activations of {bits} bits." for bits in range(8, 1, -1)}
    kbit |= {
        "kbit-w4a8": "Weights of 4 bits, activations of 8.",
        "kbit-8-per-tensor": "8 bits, one scale a weight.",
        "kbit-8-symmetric": "8 bits, activations symmetric about zero.",
        "kbit-8-min-max": "8 bits, activations by the ends of all that was seen.",
        "kbit-8-histogram": "8 bits, activations by the least mean square error.",
        "kbit-8-reduce-range": "8 bits, activations of 7 as some kernels need them.",
        "kbit-8-all-layers": "8 bits, the first and the last layer too.",
        "kbit-4-all-layers": "4 bits, the first and the last layer too.",
    }
    dorefa = {
        f"dorefa-{weight}-{activation}-{gradient}": (
            f"DoReFa-Net: weights, activations and gradients of {weight}, {activation} and {gradient} bits."
        )
        for weight, activation, gradient in (
            (8, 8, 8), (4, 4, 4), (4, 4, 32), (2, 2, 32), (1, 4, 32), (1, 2, 6), (1, 2, 4), (1, 1, 32),
        )
    }  # fmt: skip
    dorefa |= {f"{name}-sum": dorefa[name][:-1] + ", on the sum of a shortcut." for name in list(dorefa)[:2]}
    f8net = {
        "f8net": "F8Net: fixed point of 8 bits, fraction lengths by formula.",
        "f8net-search": "F8Net: fixed point of 8 bits, fraction lengths by search.",
    }
    return [Name(name=name, summary=text, trains=True) for name, text in (kbit | dorefa | f8net).items()]


# What is listed; `flow` knows every name of the grammar above.
NAMES: tuple[Name, ...] = (*_torch_names(), *_own_names())

_ENGINE_FLOW = re.compile(r"(eager|fx)-(dynamic|static|qat)-([a-z0-9]+)(-per-tensor|-qint8)?")
_BITS = r"(?:(?P<both>[0-9]{1,4})|w(?P<weight>[0-9]{1,4})a(?P<activation>[0-9]{1,4}))"
_OPTIONS = (
    r"(?P<tensor>-per-tensor)?(?P<symmetric>-symmetric)?(?:-(?P<range>min-max|histogram))?(?P<reduce>-reduce-range)?"
)
_KBIT = re.compile(rf"kbit-{_BITS}{_OPTIONS}(?P<all>-all-layers)?")
_SETTING = re.compile(rf"{_BITS}{_OPTIONS}")
_PT2E = re.compile(r"pt2e-(static|qat|dynamic)")
_DOREFA = re.compile(r"dorefa-([0-9]{1,4})-([0-9]{1,4})-([0-9]{1,4})(-sum)?")
_F8NET = re.compile(r"f8net(-search)?")


def flow(name: str, *, modules: Sequence[tuple[str, str]] = (), wide_output: str | None = None) -> Flow:
    """Returns the flow that a name stands for.

    `modules` are pairs of a module's name or glob and its setting, of which the last that matches counts: `float`, or
    bits and options as in a k-bit name, `w4a8-per-tensor`. `wide_output` is the name of a layer whose output is one of
    32 bits. Both are for k-bit flows.

    Raises QuantizationError for a name that is none, with the nearest that are, and for bits that cannot be.
    """
    kbit = _KBIT.fullmatch(name)
    if kbit is not None:
        return _kbit_flow(kbit, modules, wide_output)
    if modules or wide_output is not None:
        raise _error(f"flow {name!r} takes no settings of single modules and no 32-bit output; the k-bit flows do")
    for pattern, make in (
        (_ENGINE_FLOW, _engine_flow),
        (_PT2E, _pt2e_flow),
        (_DOREFA, _dorefa_flow),
        (_F8NET, _f8net_flow),
    ):
        match = pattern.fullmatch(name)
        if match is not None:
            return make(match)
    known = [listed.name for listed in NAMES]
    nearest = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, nearest))}?" if nearest else "`stepbench list` shows those there are"
    raise _error(f"unknown flow {name!r}; {hint}")


def _engine_flow(match: re.Match[str]) -> Flow:
    mode, kind, engine, option = match.groups(default="")
    if engine not in ENGINES:
        nearest = difflib.get_close_matches(engine, ENGINES, n=1, cutoff=0.5)
        hint = f", did you mean {nearest[0]!r}?" if nearest else "."
        raise _error(f"unknown engine {engine!r} in {match.group()!r}{hint} (known: {', '.join(ENGINES)})")
    if option == "-qint8" and match.group() != "fx-static-x86-qint8":
        raise _error(f"unknown flow {match.group()!r}: only fx-static-x86-qint8 is there, as the example that it is")
    if kind == "dynamic" and option:
        raise _error(
            f"unknown flow {match.group()!r}: a dynamic flow has no options; did you mean {mode}-dynamic-{engine}?"
        )
    from lowbit.quantization import eager, fx

    if kind == "dynamic":
        return eager.dynamic(engine) if mode == "eager" else fx.dynamic(engine)
    per_tensor = option == "-per-tensor"
    if kind == "qat":
        return eager.qat(engine, per_tensor=per_tensor) if mode == "eager" else fx.qat(engine, per_tensor=per_tensor)
    if mode == "eager":
        return eager.static(engine, per_tensor=per_tensor)
    return fx.static(engine, per_tensor=per_tensor, qint8_activations=option == "-qint8")


def _pt2e_flow(match: re.Match[str]) -> Flow:
    from lowbit.quantization import pt2e

    return {"static": pt2e.static, "qat": pt2e.qat, "dynamic": pt2e.dynamic}[match.group(1)]()


def _f8net_flow(match: re.Match[str]) -> Flow:
    from lowbit.quantization import f8net_model

    return f8net_model.flow(fraction="search" if match.group(1) else "formula")


def _dorefa_flow(match: re.Match[str]) -> Flow:
    weight, activation, gradient = (int(bits) for bits in match.groups()[:3])
    for bits in (weight, activation, gradient):
        if not 1 <= bits <= 8 and bits != 32:
            raise _error(
                f"{match.group()}: {bits} bits; weights, activations and gradients have 1 to 8, or 32 for float"
            )
    from lowbit.quantization import dorefa_model

    return dorefa_model.flow(weight, activation, gradient, place="sum" if match.group(4) else "branch")


def _kbit_flow(match: re.Match[str], modules: Sequence[tuple[str, str]], wide_output: str | None) -> Flow:
    from lowbit.quantization import kbit

    base = dataclasses.replace(_settings(match, kbit.Settings()), first_and_last=match["all"] is not None)
    own = {glob: _setting_of_module(glob, text, base) for glob, text in modules}
    return kbit.flow(base, own, wide_output=wide_output)


def _setting_of_module(glob: str, text: str, base: Settings) -> Settings | None:
    if text == FLOAT:
        return None
    match = _SETTING.fullmatch(text)
    if match is None:
        raise _error(
            f"setting {glob}={text}: write {glob}={FLOAT}, or bits and options as in a k-bit name: w4a8-per-tensor"
        )
    return _settings(match, base)


def _settings(match: re.Match[str], base: Settings) -> Settings:
    """Returns the settings that were written; what was not is as by default, only `first_and_last` is the base's."""
    bits = [int(match["both"] or match[part]) for part in ("weight", "activation")]
    for given in bits:
        if not 2 <= given <= 8:
            unit = "bit" if given == 1 else "bits"
            raise _error(f"{match.group()}: {given} {unit}; weights and activations have 2 to 8")
    changes: dict[str, Any] = {
        "weight_bits": bits[0],
        "activation_bits": bits[1],
        "per_channel": match["tensor"] is None,
        "symmetric_activations": match["symmetric"] is not None,
        "activation_range": match["range"] or "moving-average",
        "reduce_range": match["reduce"] is not None,
    }
    return dataclasses.replace(base, **changes)


def _error(message: str) -> QuantizationError:
    from lowbit.quantization.flow import QuantizationError

    return QuantizationError(message)

"""Performances whose figures are written down, without a model that was run."""

from __future__ import annotations

from lowbit.deploy.layers import LayerCost
from lowbit.deploy.performance import Performance, Row
from lowbit.deploy.roofline import Machine, bound
from lowbit.deploy.target import Target, predict
from lowbit.pipeline.statistics import Interval

# 100 Gop/s in fp32, 400 in integers, 10 GB/s.
MACHINE = Machine(peak={"float32": 1e11, "int8": 4e11}, bandwidth=1e10)


def cost(name="conv", **changes):
    """A layer of 2e6 operations on 1 kB of weights, 2 kB of inputs and 4 kB of outputs."""
    given = {
        "place": name, "name": name, "kind": "Conv2d", "is_between": False, "shape": (2, 4), "operations": 2_000_000,
        "weights": {"float32": 1000}, "inputs": {"float32": 2000}, "outputs": {"float32": 4000}, "external": 0,
        "arithmetic": "float32", "calls": {"aten::convolution": 1}, "uncounted": {},
    }  # fmt: skip
    return LayerCost(**given | changes)


def between(name="(between)"):
    return cost(name, is_between=True, operations=0, weights={}, arithmetic=None, kind="Model", calls={"aten::relu": 2})


def exact(seconds):
    return Interval(center=seconds, low=0.9 * seconds, high=1.1 * seconds)


def performance(costs, seconds, *, whole, glue=0.0, frames=32, on=None, name="model/none/none", **changes):
    """A performance of costs that take so many seconds each."""
    rows = tuple(
        Row(
            cost=each,
            time=exact(time),
            share=time / whole,
            bound=bound(each, MACHINE),
            predicted=None if on is None else predict(each, on),
        )
        for each, time in zip(costs, seconds, strict=True)
    )
    given = {
        "name": name, "frames": frames, "rows": rows, "whole": exact(whole), "cpu": whole, "marked": whole,
        "added_cpu": sum(seconds), "glue": exact(glue), "runs": 20, "peak": 1_000_000, "machine": MACHINE, "target": on,
        "weights": sum(each.weight_bytes for each in costs),
    }  # fmt: skip
    return Performance(**given | changes)


CHIP = Target(name="chip <b>", peak={"int8": 1e12, "float32": 1e10}, bandwidth=1e9, on_chip_bytes=10_000)


def two():
    """A float model and what became of it: the normalization is folded, the weights are integers."""
    norm = cost("norm", kind="BatchNorm2d", operations=0, arithmetic=None, calls={"aten::native_batch_norm": 1})
    whole = performance([cost("a"), norm, cost("b<i>"), between()], [2e-3, 1e-3, 3e-3, 5e-4], whole=6.5e-3, on=CHIP)
    small = {"weights": {"qint8": 250}, "inputs": {"quint8": 500}, "outputs": {"quint8": 1000}, "arithmetic": "quint8"}
    fused = performance(
        [cost("a", **small), cost("quantize", is_between=True, operations=0, arithmetic=None), cost("b<i>", **small)],
        [5e-4, 1e-4, 6e-4],
        whole=1.5e-3,
        glue=1e-4,
        name="model/none/int8",
        on=CHIP,
    )
    return fused, whole

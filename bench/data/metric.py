"""The table of metrics: what is measured, in which unit, which direction is better, and whether it is noisy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# `zero_grad` stands outside the three phases and inside the step: it is timed, shown by no column of its own, and
# counted when the sum of a phased step is compared with the plain step.
PHASES = ("forward", "backward", "optimize")
# What a step of several ranks has between them: waiting for what the others send.
COMMUNICATE = "communicate"
PHASES_OF_RANKS = ("forward", "backward", COMMUNICATE, "optimize")
SEGMENTS = ("zero_grad", *PHASES_OF_RANKS)
STEP = "step"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What a number means: its unit (SI), the direction that is better, and whether repetition changes it.

    `better` is None where nobody knows: of what another tool tracks, more may be either.
    """

    name: str
    unit: Literal["s", "B", "FLOP", "count", "nat", "1"]
    better: Literal["lower", "higher"] | None
    noise: Literal["noisy", "exact"]
    description: str

    @property
    def timed(self) -> bool:
        """Whether a measurement has samples of it; of any other metric it has one value."""
        return self.unit == "s"


_HOW = {
    STEP: "one plain step without inner synchronisation",
    COMMUNICATE: "waiting for other ranks, from the last gradient of this one to the last average",
}


def _rows() -> list[Metric]:
    rows = []
    for name in (*SEGMENTS, STEP):
        how = _HOW.get(name, f"{name}, synchronised at both edges")
        rows += [
            Metric(name=name, unit="s", better="lower", noise="noisy", description=f"wall time of {how}"),
            Metric(
                name=f"{name}.cpu",
                unit="s",
                better="lower",
                noise="noisy",
                description=f"CPU time of the calling thread in {how}",
            ),
        ]
    for name in PHASES:
        rows += [
            Metric(
                name=f"{name}.operations", unit="count", better="lower", noise="exact",
                description=f"aten operations dispatched in {name}, views left out",
            ),
            Metric(
                name=f"{name}.syncs", unit="count", better="lower", noise="exact",
                description=f"reads of a tensor's value by the host in {name}",
            ),
            Metric(
                name=f"{name}.flops", unit="FLOP", better="lower", noise="exact",
                description=f"floating point operations of matrix products, convolutions and attention in {name}",
            ),
        ]  # fmt: skip
    rows += [
        Metric(
            name=f"{COMMUNICATE}.messages", unit="count", better="lower", noise="exact",
            description="collective operations of one rank in a step",
        ),
        Metric(
            name=f"{COMMUNICATE}.bytes", unit="B", better="lower", noise="exact",
            description="bytes of the tensors that one rank gives to them, however many times the network moves them",
        ),
        Metric(
            name="saved_bytes", unit="B", better="lower", noise="exact",
            description="bytes that forward keeps for backward, parameters left out, each storage once",
        ),
        Metric(
            name="peak_bytes", unit="B", better="lower", noise="exact",
            description="highest memory allocated inside one step, above what is allocated before it",
        ),
        Metric(
            name="model_bytes", unit="B", better="lower", noise="exact",
            description="bytes of all tensors that the model keeps, packed weights included, each storage once",
        ),
        Metric(
            name="integer_bytes", unit="B", better="higher", noise="exact",
            description="those of them that are integers of one byte",
        ),
        Metric(
            name="quantized_layers", unit="count", better="higher", noise="exact",
            description="layers that the quantization has quantized",
        ),
        Metric(
            name="eligible_layers", unit="count", better="higher", noise="exact",
            description="layers of the float model that have a weight to quantize",
        ),
        Metric(
            name="fused_layers", unit="count", better="higher", noise="exact",
            description="quantized layers for which the compiler has put in a kernel of integers",
        ),
        Metric(
            name="output_error", unit="1", better="lower", noise="exact",
            description="distance of the outputs from those of the float model, as a share of their size, in L2",
        ),
        Metric(
            name="process_bytes", unit="B", better="lower", noise="noisy",
            description="highest memory of a whole process, as another tool saw it",
        ),
        Metric(
            name="object_bytes", unit="B", better="lower", noise="exact",
            description="size of an object, as another tool saw it",
        ),
        Metric(
            name="tracked", unit="1", better=None, noise="noisy",
            description="a value that another tool tracks, in the unit that the record's origin names",
        ),
        Metric(name="state_bytes", unit="B", better="lower", noise="exact", description="bytes of optimizer state"),
        Metric(
            name="loss", unit="nat", better="lower", noise="exact",
            description="loss on a fixed batch after a fixed number of steps from a fixed seed",
        ),
    ]  # fmt: skip
    return rows


METRICS: dict[str, Metric] = {metric.name: metric for metric in _rows()}

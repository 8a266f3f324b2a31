"""What a quantized row says against itself, beside the float rows of its run."""

from __future__ import annotations

from bench.analyze.row import Ratio
from bench.data.measurement import WHEN_SLOWER, Caveat, Measurement

NOT_SMALLER = 0.9


def caveats(measurement: Measurement, fastest: Ratio | None, plain: Measurement | None) -> tuple[Caveat, ...]:
    """Returns the recorded caveats that hold, with those on speed and size that follow from the rows beside it."""
    slower = fastest is not None and fastest.low is not None and fastest.low > 1
    own = [_slower(one, fastest) if one.code == WHEN_SLOWER and fastest else one for one in measurement.caveats]
    held = tuple(one for one in own if slower or one.code != WHEN_SLOWER)
    size = _not_smaller(measurement, plain)
    return held if size is None else (*held, size)


def _slower(caveat: Caveat, ratio: Ratio) -> Caveat:
    return Caveat(
        code=caveat.code,
        message=f"takes {ratio.center:.2f} times as long as the fastest float row: {caveat.message}",
    )


def _not_smaller(measurement: Measurement, plain: Measurement | None) -> Caveat | None:
    ours, theirs = measurement.counters.values, (plain.counters.values if plain else {})
    before, after, integers = theirs.get("model_bytes"), ours.get("model_bytes"), ours.get("integer_bytes")
    if "eligible_layers" not in ours or not before or not after or "optimize" in measurement.phases:
        return None
    if after < NOT_SMALLER * before:
        return None
    if integers:
        why = (
            f"{100 * integers / after:.0f} % of its bytes are integers, and floating-point copies of weights stand "
            "beside them; keep the converted module only, or choose a flow that packs weights (fx-static-x86)"
        )
    else:
        why = "its weights are numbers in floating point, rounded; a flow that packs weights is fx-static-x86"
    message = f"the model keeps {after / before:.2f} times the bytes of the float model: {why}"
    return Caveat(code="not-smaller", message=message)

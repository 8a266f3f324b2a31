"""Numbers for people: SI inside, scaled only here."""

from __future__ import annotations

import math

_PREFIXES = (
    (1e15, "P"),
    (1e12, "T"),
    (1e9, "G"),
    (1e6, "M"),
    (1e3, "k"),
    (1.0, ""),
    (1e-3, "m"),
    (1e-6, "µ"),
    (1e-9, "n"),
)
# Half a width beyond this says no more than that nothing is known.
_WIDEST = 999


def scaled(value: float, unit: str, digits: int = 3) -> str:
    """Returns a value with its unit and an SI prefix: `2.84 ms`, `29.7 MB`.

    Only seconds are divided: of bytes, FLOPs and counts there is no thousandth, and below 1,000 they are whole.
    """
    if value == 0 or not math.isfinite(value):
        return f"{value:g} {unit}".strip()
    factor, prefix = next(((f, p) for f, p in _PREFIXES if abs(value) >= f * (1 - 0.5 * 10.0**-digits)), _PREFIXES[-1])
    if unit != "s" and factor <= 1:
        return f"{value:.0f} {unit}".strip()
    return f"{significant(value / factor, digits)} {prefix}{unit}".strip()


def seconds(value: float) -> str:
    """Returns a time."""
    return scaled(value, "s")


def size(value: float) -> str:
    """Returns a number of bytes."""
    return scaled(value, "B")


def count(value: float) -> str:
    """Returns a whole number, in full up to 99,999."""
    return f"{value:,.0f}" if abs(value) < 1e5 else scaled(value, "")


def significant(value: float, digits: int = 3) -> str:
    """Returns a number with so many significant digits; one too small or too large for them in exponent form."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if not 1e-4 <= abs(value) < 1e6:
        return f"{value:.{digits - 1}e}"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, places)
    # Rounding up may have made one more digit: 9.996 is 10.0, not 10.00.
    places = digits - 1 - math.floor(math.log10(abs(rounded)))
    return f"{rounded:.{max(places, 0)}f}"


def spread(low: float | None, center: float, high: float | None) -> str:
    """Returns half the width of an interval in percent of its center: `±1.2%`; `±?` without an interval."""
    if low is None or high is None or center == 0:
        return "±?"
    percent = 50 * (high - low) / abs(center)
    if not percent < _WIDEST:
        return f"±>{_WIDEST}%"
    return f"±{percent:.0f}%" if percent >= 10 else f"±{percent:.1f}%"


def share(value: float) -> str:
    """Returns a share in percent: `2.1 %`."""
    return f"{significant(100 * value, 2)} %"


def times(value: float) -> str:
    """Returns a ratio: `1.408`; differences of a few tenths of a percent are what a ratio is read for."""
    return f"{value:.3f}" if 0.1 <= value < 9.9995 else significant(value, 4)

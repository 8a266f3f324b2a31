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


def scaled(value: float | None, unit: str, digits: int = 3) -> str:
    """Returns a value with its unit and an SI prefix: `2.84 ms`, `29.7 MB`; an absent one as an em dash."""
    if value is None:
        return "—"
    if value == 0 or not math.isfinite(value):
        return f"{value:g} {unit}".strip()
    factor, prefix = next(((f, p) for f, p in _PREFIXES if abs(value) >= f * (1 - 0.5 * 10.0**-digits)), _PREFIXES[-1])
    if unit == "B" and factor < 1:
        factor, prefix = 1.0, ""
    return f"{significant(value / factor, digits)} {prefix}{unit}".strip()


def seconds(value: float | None) -> str:
    """Returns a time."""
    return scaled(value, "s")


def size(value: float | None) -> str:
    """Returns a number of bytes."""
    return scaled(value, "B")


def count(value: float | None) -> str:
    """Returns a whole number, in full up to 99,999."""
    if value is None:
        return "—"
    return f"{value:,.0f}" if abs(value) < 1e5 else scaled(value, "")


def significant(value: float, digits: int = 3) -> str:
    """Returns a number with so many significant digits, and never in exponent form below 10**digits."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, places)
    # Rounding up may have made one more digit: 9.996 is 10.0, not 10.00.
    places = digits - 1 - math.floor(math.log10(abs(rounded)))
    return f"{rounded:.{max(places, 0)}f}"


def spread(low: float | None, center: float, high: float | None) -> str:
    """Returns half the width of an interval in percent of its center."""
    if low is None or high is None:
        return "± ?"
    return f"± {significant(50 * (high - low) / center, 2)} %"


def times(value: float) -> str:
    """Returns a ratio: `1.41`."""
    return f"{value:.2f}" if value < 10 else significant(value, 3)

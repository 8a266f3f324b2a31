"""Plain text: that of others, such as messages of plug-ins and names of machines, made safe to print, and counts."""

from __future__ import annotations


def one_line(text: str) -> str:
    """Returns a text on one line without what moves the cursor, turns the writing direction or cannot be encoded."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def plural(count: int, noun: str) -> str:
    """Returns a count with its noun."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def cut(text: str, longest: int) -> str:
    """Returns a text on one line, with an ellipsis at its end where it was longer than so many characters."""
    flat = one_line(text)
    return flat if len(flat) <= longest else flat[: longest - 1] + "…"

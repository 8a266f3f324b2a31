"""The progress bar of commands that take more than two seconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn


class Show(Protocol):
    """Moves a bar: what is being done, how much of it is done, and of how much where that has changed."""

    def __call__(self, text: str, done: float | None = None, total: float | None = None) -> None:
        """Moves the bar; what is left out stays."""
        ...


@contextmanager
def bar(total: float | None, *more: ProgressColumn) -> Iterator[Show]:
    """Shows a bar on a terminal and nothing elsewhere; a total of None is one that is not known yet."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda *_, **__: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), *more, TimeElapsedColumn())
    # Drawing twice a second costs the machine that is being measured next to nothing.
    with Progress(*columns, console=console, transient=True, refresh_per_second=2) as progress:
        task = progress.add_task("starting", total=total)

        def show(text: str, done: float | None = None, total: float | None = None) -> None:
            progress.update(task, description=text, completed=done, total=total)

        yield show

"""`stepbench profile`: a table of contents of its commands."""

from __future__ import annotations

import sys

import click

from .lazy import LazyGroup

COMMANDS = {
    "lines": "Print what each line of forward, step and hooks costs.",
    "diff": "Name the lines in which two profiles differ.",
    "stacks": "Sample the stacks of a step with py-spy: a flame graph.",
    "trace": "Run some steps under torch.profiler: a trace for Perfetto.",
}


class _Commands(LazyGroup):
    listed, modules = COMMANDS, {name: f"profile_{name}" for name in COMMANDS}


@click.group("profile", cls=_Commands)
def command() -> None:
    """Profile a step: which line, which function, which operation takes the time.

    Profiling is a mode of its own and never part of a measurement. `lines` prints what each line of the model's
    forward, the optimizer's step and the hooks costs, `diff` names the lines in which two profiles differ, `stacks`
    draws a flame graph, `trace` writes a trace for Perfetto.

    \b
    Examples:
      stepbench profile lines resnet20/eva/none
      stepbench profile diff resnet20/eva/none@@main resnet20/eva/none
      stepbench profile stacks vit/eva-8bit/none
      stepbench profile trace vit/eva-8bit/none
    """


if __name__ == "__main__":
    sys.exit(command.main(standalone_mode=False))

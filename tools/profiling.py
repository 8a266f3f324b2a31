"""`stepbench profile`: a table of contents of its commands."""

from __future__ import annotations

import sys

import click

from . import profile_diff, profile_lines, profile_stacks, profile_trace


@click.group("profile")
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


for one in (profile_lines, profile_diff, profile_stacks, profile_trace):
    command.add_command(one.command)

if __name__ == "__main__":
    sys.exit(command.main(standalone_mode=False))

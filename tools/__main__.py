"""The `stepbench` command: a table of contents of the others."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from bench.errors import StepbenchError
from bench.report.plain import one_line

from .lazy import LazyGroup

# name -> one line of help; the module of that name is imported only when its command runs.
COMMANDS = {
    "measure": "Measure forward, backward and optimize of variants.",
    "compare": "Measure two commits against each other: slower, faster, equivalent?",
    "profile": "Profile the lines of a step, its stacks and its trace; compare two profiles.",
    "quantize": "Take a model from float to quantized, with its accuracy at every stage.",
    "perf": "Show what each layer of a model costs, takes, and could take.",
    "deploy": "Check a model, compile it at several levels, and draw its graph.",
    "calibrate": "Compare identical or slowed versions again and again: how often are verdicts wrong?",
    "ingest": "Read results of asv and pytest-benchmark into records.",
    "history": "Show how a step's cost went over commits, and where it changed.",
    "report": "Show stored results again, in any format.",
    "list": "List models, optimizers, quantizations, data sources and sets.",
}
# A file profile.py in the folder of a script that is started would hide the standard library's module.
MODULES = {"profile": "profiling"}
INTERRUPTED = 130


class _Commands(LazyGroup):
    listed, modules = COMMANDS, MODULES


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="stepbench")
def cli() -> None:
    """Benchmark PyTorch training steps: how long forward, backward and optimize take.

    \b
    Examples:
      stepbench measure                          the 12 variants of the main job
      stepbench measure 'resnet20/*/none'        every optimizer on one model
      stepbench measure mlp/my-sgd/none --plugin my_specimens.py
      stepbench profile lines resnet20/eva/none  what each line of its functions costs
      stepbench report results/records           the newest results again
      stepbench list                             every name that can be measured

    \b
    Exit codes:
      0 fine  1 a regression  2 wrong usage  3 a variant failed
      4 nothing was measured  5 inconclusive where a conclusion was required
      130 interrupted
    """


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code; a user's mistake is one line on standard error."""
    try:
        code = cli.main(args=None if argv is None else list(argv), prog_name="stepbench", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as help_:
        help_.show()
        return help_.exit_code
    except click.ClickException as error:
        more = ""
        if isinstance(error, click.MissingParameter) and error.ctx is not None:
            more = f" `{error.ctx.command_path} --help` has examples."
        click.echo(f"error: {error.format_message()}{more}", err=True)
        return 2
    except StepbenchError as error:
        click.echo(f"error: {one_line(str(error))}", err=True)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough; nothing is left to flush to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    sys.exit(main())

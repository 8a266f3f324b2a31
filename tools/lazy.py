"""A group of commands that is listed without importing any of them."""

from __future__ import annotations

import importlib

import click

from bench.errors import UnknownName


class LazyGroup(click.Group):
    """Imports a command when it is asked for, so that `--help` costs nothing.

    `listed` has one line of help for each command; its module is `modules[name]`, or the one of its own name.
    """

    listed: dict[str, str]
    modules: dict[str, str]

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Returns the names in the order in which they are listed."""
        return list(self.listed)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Imports a command; None for a name that is none."""
        if cmd_name not in self.listed:
            return None
        module = importlib.import_module(f".{self.modules.get(cmd_name, cmd_name)}", __package__)
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Finds the command that arguments begin with; raises UnknownName, with the nearest ones, for none of them."""
        if args and args[0] not in self.listed and not args[0].startswith("-"):
            raise UnknownName("command", args[0], self.listed)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """Writes the list of commands."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self.listed.items()))

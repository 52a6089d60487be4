"""A command that refuses an option which is given twice: otherwise the last one would count, in silence."""

from collections import Counter
from typing import Any

import typer
from typer.core import TyperCommand, TyperOption


class Once(TyperCommand):
    """A command each of whose options is given at most once, but for those that are lists."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the command line; an option that is given twice ends the command."""
        _, _, given = self.make_parser(ctx).parse_args(args=list(args))
        for parameter, times in Counter(given).items():
            if times > 1 and isinstance(parameter, TyperOption) and not (parameter.multiple or parameter.is_flag):
                raise typer.BadParameter(
                    f"found {times} times, expected once", ctx, param_hint=max(parameter.opts, key=len)
                )
        return super().parse_args(ctx, args)


def each_once(app: typer.Typer) -> None:
    """Let all commands of an app, and of its groups, be such."""
    for command in app.registered_commands:
        command.cls = Once
    for group in app.registered_groups:
        if group.typer_instance is not None:
            each_once(group.typer_instance)

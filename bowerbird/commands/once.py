"""Commands that refuse an option given twice, of which the last would count in silence; groups that name commands."""

from collections import Counter
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption


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


class Groups(TyperGroup):
    """Commands, some of them in groups; the name of one that a group has names the group."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that the arguments begin with; one that is not there ends the command line."""
        name = args[0]
        if self.get_command(ctx, name) is None:
            groups = [group for group, each in self.commands.items() if name in getattr(each, "commands", {})]
            if groups:
                meant = " or ".join(f"'{ctx.command_path} {group} {name}'" for group in groups)
                ctx.fail(f"No such command '{name}'. Did you mean {meant}?")
        return super().resolve_command(ctx, args)


def each_once(app: typer.Typer) -> None:
    """Let all commands of an app, and of its groups, be such."""
    for command in app.registered_commands:
        command.cls = Once
    for group in app.registered_groups:
        if group.typer_instance is not None:
            each_once(group.typer_instance)

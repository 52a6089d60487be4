"""``bowerbird worker``, and ``bowerbird role`` of which it is made."""

from typing import Annotated

import typer

from bowerbird.commands.shared import WRONG_USE, ConfigFile, complain, errors_in_words, settings


def worker(
    roles: Annotated[
        str | None,
        typer.Option(
            metavar="ROLES",
            help="Some of decide, join, learn, archive; comma separated [default: all, archive where it has a url]",
        ),
    ] = None,
    config: ConfigFile = None,
) -> None:
    """Run roles, a process each; one that dies is started again.

    SIGTERM and Ctrl-C stop them all. Logs go to the standard error stream, a JSON object a line.

    Example: bowerbird worker --roles join,learn --config bowerbird.toml
    """
    import asyncio

    from stream.json_log import log_as_json

    loop_config = settings(config)
    log_as_json("supervisor")
    from bowerbird.supervisor import Supervisor

    wanted = None if roles is None else [role.strip() for role in roles.split(",")]

    async def supervise() -> int:
        return await Supervisor(loop_config, wanted, config).run()

    with errors_in_words(loop_config):
        raise typer.Exit(asyncio.run(supervise()))


def role(
    name: Annotated[str, typer.Argument()],
    config: ConfigFile = None,
    supervised: Annotated[bool, typer.Option("--supervised")] = False,
) -> None:
    """Run one role in this process.

    Example: bowerbird role join --config bowerbird.toml
    """
    if supervised:
        from bowerbird.supervised import become_supervised

        become_supervised()
    from stream.role import ROLES
    from stream.run import leave, run_role

    if name not in ROLES:
        complain(f"role: found {name}, expected one of {', '.join(ROLES)}")
        raise typer.Exit(WRONG_USE)
    leave(run_role(settings(config), name))

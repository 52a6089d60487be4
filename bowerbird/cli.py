"""The command ``bowerbird``.

Exit codes: 0 fine, 1 the thing asked for does not hold, 2 wrong use or configuration.
"""

from typing import Annotated

import typer

from bowerbird.commands import (
    asyncapi,
    check,
    dead_letters,
    demo,
    log,
    policy,
    recover,
    replay,
    request,
    send,
    status,
    topics,
    trace,
    up,
    verify,
    worker,
)
from bowerbird.commands.once import Groups, each_once
from bowerbird.commands.shared import say
from bowerbird.version import __version__

app = typer.Typer(
    cls=Groups,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Decisions that learn from what people do, on Kafka and Redis.

    Exit codes: 0 fine, 1 the thing asked for does not hold, 2 wrong use or configuration.

    Example: bowerbird demo
    """,
)
app.command()(demo.demo)
app.command()(up.up)
app.command()(request.request)
app.command()(send.send)
app.command()(trace.trace)
app.add_typer(dead_letters.app, name="dead-letters")
app.command()(worker.worker)
app.add_typer(topics.app, name="topics")
app.add_typer(policy.app, name="policy")
app.add_typer(replay.app, name="replay")
app.add_typer(log.app, name="log")
app.command()(verify.verify)
app.command()(recover.recover)
app.command()(check.check)
app.command()(status.status)
app.command()(asyncapi.asyncapi)
app.command(hidden=True)(worker.role)
each_once(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        say(f"bowerbird {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command."""
    app()

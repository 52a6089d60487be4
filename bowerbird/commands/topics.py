"""``bowerbird topics``."""

import typer

from bowerbird.commands.shared import DOES_NOT_HOLD, AsJson, ConfigFile, answer, run, say, settings

app = typer.Typer(
    no_args_is_help=True,
    help="""Create and check the topics of the loop.

    Example: bowerbird topics create --config bowerbird.toml
    """,
)


@app.command()
def create(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Create the topics that are missing, as the loop needs them.

    A topic that is there and contradicts is named, and nothing is created.

    Example: bowerbird topics create --config bowerbird.toml
    """
    from stream.kafka import topics

    loop_config = settings(config)
    created = run(loop_config, lambda: topics.create(loop_config))
    if as_json:
        answer({"created": created})
    else:
        for name in created:
            say(f"created {name}")
        if not created:
            say("every topic is there")


@app.command()
def check(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show which topics are missing or contradict what the loop needs.

    Example: bowerbird topics check --json
    """
    from stream.kafka import topics

    loop_config = settings(config)
    problems = run(loop_config, lambda: topics.problems(loop_config))
    if as_json:
        answer({"problems": [problem._asdict() for problem in problems]})
    else:
        for problem in problems:
            say(str(problem))
        if not problems:
            say("every topic is as needed")
    raise typer.Exit(DOES_NOT_HOLD if problems else 0)

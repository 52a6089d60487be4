"""``bowerbird up``."""

import secrets
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bowerbird.commands.shared import DOES_NOT_HOLD, WRONG_USE, AsJson, ConfigFile, answer, complain, say

if TYPE_CHECKING:
    from bowerbird.up import Up


def up(
    folder: Annotated[
        Path | None,
        typer.Option(
            "--dir", metavar="DIR", help="Keep data and settings here for the next start. [default: temporary]"
        ),
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Run Kafka, Redis and a worker of every role on this machine, until Ctrl-C.

    Prints when all is ready, where everything is, and what to copy to see a click change a decision. Kafka listens on
    127.0.0.1:9092 and Redis on 127.0.0.1:6379; if a port is taken, on another one, which is printed. The settings are
    those of bowerbird.toml where there is one, else good built-in ones with a policy named front; with --dir they are
    kept there, with the data, and used again.

    Example: bowerbird up --dir loop
    """
    from records.errors import BowerbirdError, WrongConfiguration, of_disk

    began_s = time.monotonic()

    def ready(running: "Up") -> None:
        if as_json:
            answer(_for_machines(running))
        else:
            _tell(running, time.monotonic() - began_s, folder is not None)
        sys.stdout.flush()

    def progress(line: str) -> None:
        if not as_json:
            say(line)
            sys.stdout.flush()

    try:
        from bowerbird.up import run

        run(folder, config, ready, progress)
    except BowerbirdError as error:
        complain(f"up: {error}")
        raise typer.Exit(WRONG_USE if isinstance(error, WrongConfiguration) else DOES_NOT_HOLD) from None
    except OSError as error:
        if error.filename is None:
            raise
        complain(f"up: {error.filename}: found {of_disk(error)}, expected what can be read and written")
        raise typer.Exit(WRONG_USE) from None
    if not as_json:
        say("Stopped; Kafka, Redis and the roles have ended.")


def _for_machines(running: "Up") -> dict[str, object]:
    config = running.config
    return {
        "brokers": config.brokers,
        "redis_url": config.redis_url,
        "config": str(running.file),
        "health": running.health,
        "log": str(running.log),
        "elsewhere": running.elsewhere,
        "policies": list(config.policies),
        "streams": list(config.streams),
        "pids": running.pids,
    }


def _tell(running: "Up", seconds: float, kept: bool) -> None:
    from bowerbird.settings.built_in import example
    from stream.preflight import redis_place

    config = running.config
    source = "built in" if running.source is None else f"those of {running.source}"
    say(f"Ready after {seconds:.1f} s: Kafka, Redis, {', '.join(running.pids)}.")
    say()
    say(f"  Kafka     {config.brokers}")
    say(f"  Redis     {redis_place(config).removeprefix('Redis at ')}")
    say(f"  settings  {running.file}" + ("" if running.source == running.file else f"  ({source})"))
    if config.archive.url is not None and "://" not in config.archive.url:
        say(f"  archive   {config.archive.url}")
    say(f"  health    {running.health}")
    say(f"  logs      {running.log}")
    if running.elsewhere:
        say()
        for sentence in running.elsewhere:
            say(sentence)
        say("Where an example names a usual port, write the one above.")
    say("\nIn another terminal, this line lets every command find these settings:\n")
    say(f"  export BOWERBIRD_CONFIG={shlex.quote(str(running.file))}")
    if (shown := example(config, f"visit-{secrets.token_hex(2)}")) is not None:
        command = _command()
        option = f"--config {shlex.quote(str(running.file))}"
        say("\nSee it learn. Ask what to show to a person:\n")
        say(f"  echo {shlex.quote(shown.request)} | {command} request - {option}")
        say(f"\nTell what the person did, an event of {shown.stream}:\n")
        say(f"  echo {shlex.quote(shown.feedback)} | {command} send {shown.stream} - {option}")
        say("\nWait two seconds, and ask for the next one: another version answers, by other probabilities.\n")
        say(f"  echo {shlex.quote(shown.next_request)} | {command} request - {option}")
    say(
        "\nCtrl-C stops everything"
        + ("; it goes on at the next start." if kept else ", and nothing stays (see --dir).")
    )


def _command() -> str:
    """Return how this command was called, so that a copied line calls the same in a terminal without this PATH."""
    if Path(sys.argv[0]).name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m bowerbird"
    import shutil

    return shlex.quote(str(Path(shutil.which(sys.argv[0]) or sys.argv[0]).absolute()))

"""``bowerbird request``."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bowerbird.commands.send import File
from bowerbird.commands.shared import DOES_NOT_HOLD, AsJson, ConfigFile, complain, errors_in_words, run, say, settings

if TYPE_CHECKING:
    from bowerbird.record_input import Records
    from stream.config import Config

REPLIES = "replies.command"
LONGEST_S = 60.0
BAR_CHARACTERS = 30


def request(
    file: File,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, max=LONGEST_S, help="How long to wait for the reply.")
    ] = 10.0,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse fields that nothing reads.")] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Ask what to show, and print the decision.

    With --json the reply as it came. Exit code 1: an error, or no reply in time.

    Example: echo '{"placement": "front", "actions": [{"id": "boots"}, {"id": "hat"}]}' | bowerbird request -

    Example: bowerbird request visit.json --json
    """
    import msgspec

    from bowerbird.record_input import read
    from records.codec import items

    loop_config = settings(config)
    with errors_in_words(loop_config):
        records = read(file)
        if strict:
            _refuse_unknown(loop_config, records)
    reply = run(loop_config, lambda: _ask(loop_config, records, timeout))
    if reply is None:
        complain(
            f"request: found no reply within {timeout:g} s, expected one on {loop_config.topic(REPLIES)};"
            " is a decide worker running? `bowerbird check` tells what is not right"
        )
        raise typer.Exit(DOES_NOT_HOLD)
    replies = [msgspec.json.decode(body) for body in items(reply)]
    if as_json:
        sys.stdout.write(reply.decode() + "\n")
    else:
        for each in replies:
            _show(each)
    raise typer.Exit(DOES_NOT_HOLD if any("error" in each for each in replies) else 0)


async def _ask(config: "Config", records: "Records", timeout_s: float) -> bytes | None:
    """Send requests as one message, and return the message that answers them; None: nothing came in time."""
    import asyncio
    from uuid import uuid4

    from stream.kafka.connection import Connection, array

    correlation = uuid4().hex
    value = records.bodies[0] if records.alone else array(records.bodies)
    async with Connection(config, config.topic(REPLIES)) as connection:
        await connection.ask(value, correlation, expires_ms=round(timeout_s * 1000))
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + timeout_s
        while loop.time() < ends_at:
            for message in await connection.replies(wait_ms=100):
                if dict(message.headers).get("correlation-id") == correlation.encode():
                    return message.value
    return None


def _refuse_unknown(config: "Config", records: "Records") -> None:
    """Refuse requests with fields that nothing reads; what is wrong otherwise is left to the reply."""
    from policies.decide import warnings_of
    from records.errors import BadInput, WrongConfiguration

    for number, body in enumerate(records.bodies, 1):
        try:
            warnings = warnings_of(body, config.limits)
        except BadInput:
            continue
        if warnings:
            place = "" if records.alone else f"request {number}: "
            raise WrongConfiguration("\n".join(f"{place}{warning}" for warning in warnings))


def _show(reply: dict[str, Any]) -> None:
    if "error" in reply:
        error = reply["error"]
        about = f" for {reply['event_id']}" if reply.get("event_id") else ""
        say(f"error{about}: {error['message']} ({error['code']})")
        return
    say(f"{reply['chosen']}  for {reply['event_id']}, by {reply['policy']} version {reply['policy_version']}")
    ids = [action["id"] for action in reply["actions"]]
    width = max(map(len, ids))
    for action, probability in zip(ids, reply["pmf"], strict=True):
        mark = ">" if action == reply["chosen"] else " "
        say(f"  {mark} {action:<{width}}  {probability:.4f}  {'█' * round(probability * BAR_CHARACTERS)}".rstrip())
    for warning in reply.get("warnings", []):
        complain(f"warning: {warning}")

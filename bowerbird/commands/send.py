"""``bowerbird send``."""

import contextlib
from typing import TYPE_CHECKING, Annotated

import typer

from bowerbird.commands.shared import AsJson, ConfigFile, answer, complain, errors_in_words, run, say, settings

if TYPE_CHECKING:
    from stream.config import Config

File = Annotated[str, typer.Argument(metavar="FILE|-", help="JSON: an object, one a line, or an array of them.")]


def send(
    stream: Annotated[str, typer.Argument(metavar="STREAM", help="A feedback stream of the configuration.")],
    file: File,
    unchecked: Annotated[
        bool, typer.Option("--unchecked", help="Send records that the join will put into the dead letters, too.")
    ] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Send feedback: what people did after a decision.

    Example: echo '{"event_id": "visit-1", "id": "click-1"}' | bowerbird send clicks -

    Example: bowerbird send purchases yesterday.jsonl
    """
    from bowerbird.record_input import read
    from rewards.outcome import pack
    from stream.kafka.send import Outgoing
    from stream.kafka.send import send as sent

    service = settings(config)
    with errors_in_words(service):
        _check_stream(service, stream)
        records = read(file)
        if not unchecked:
            _check(records.bodies, file)
    warn_of_worthless(service, stream, records.bodies)
    arrays = [array for _, array in pack(records.bodies)]
    messages = [Outgoing(service.topic(stream), value) for value in (records.bodies if records.alone else arrays)]
    places = run(service, lambda: sent(service, messages))
    if as_json:
        answer({"stream": stream, "records": len(records.bodies), "messages": [place._asdict() for place in places]})
    else:
        what = "1 record" if len(records.bodies) == 1 else f"{len(records.bodies)} records"
        where = ", ".join(f"{place.topic}[{place.partition}]@{place.offset}" for place in places[:3])
        say(f"sent {what} to {where}" + (" …" if len(places) > 3 else ""))


def _check_stream(config: "Config", stream: str) -> None:
    from records.errors import WrongConfiguration

    if stream not in config.streams:
        known = ", ".join(config.streams) or "none"
        raise WrongConfiguration(f"STREAM: found {stream}, expected one that a policy names ({known})")


def warn_of_worthless(config: "Config", stream: str, bodies: list[bytes]) -> None:
    """Say that records have no value where every placement that counts the stream takes their worth from it."""
    from records.errors import BadInput
    from records.feedback import feedback

    rewards = [placement.reward for placement in config.placements.values()]
    rules = [reward.streams[stream] for reward in rewards if stream in reward.streams]
    if not rules or not all(rule.value for rule in rules):
        return
    without = 0
    for body in bodies:
        with contextlib.suppress(BadInput):
            record = feedback(body)
            without += record.value is None and not record.activate
    if without:
        complain(f"warning: {without} of {len(bodies)} records have no value: by the settings, each is worth 0")


def _check(bodies: list[bytes], file: str) -> None:
    from records.errors import BadInput, WrongConfiguration
    from records.feedback import feedback

    for number, body in enumerate(bodies, 1):
        try:
            feedback(body)
        except BadInput as error:
            raise WrongConfiguration(
                f"{'standard input' if file == '-' else file}, record {number}: {error};"
                " correct it, or send it as it is with --unchecked"
            ) from None

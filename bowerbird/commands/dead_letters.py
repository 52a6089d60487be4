"""``bowerbird dead-letters``."""

import heapq
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bowerbird.commands.record_options import with_record_options
from bowerbird.commands.shared import (
    DOES_NOT_HOLD,
    WRONG_USE,
    AsJson,
    ConfigFile,
    answer,
    complain,
    moment,
    run,
    say,
    settings,
)
from stream.kafka.letter_choice import LetterChoice, ResendOptions

if TYPE_CHECKING:
    from stream.config import Config
    from stream.kafka.dead_letter_log import Letter
    from stream.kafka.resend import Resent

SHOWN_CHARACTERS = 600
NO_REASON = "no reason"
UNKNOWN = "an unknown place"

app = typer.Typer(
    no_args_is_help=True,
    help="""See what could not be used, and send it again after a repair.

    Example: bowerbird dead-letters list
    """,
)


@app.command("list")
def list_(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Count what could not be used, by reason and topic, with the newest of each.

    Example: bowerbird dead-letters list
    """
    service = settings(config)
    groups = run(service, lambda: _counted(service))
    if as_json:
        answer([asdict(group) for group in groups])
        return
    for group in groups:
        reason, topic = _safe(group.reason) or NO_REASON, _safe(group.topic) or UNKNOWN
        what = f"{group.count:>8}  {reason:<20} from {topic:<20}"
        harmless = group.reason == "late" and service.stream_of(group.topic) in service.weightless
        say(
            f"{what} newest {group.newest} at {_moment(group.newest_ms)}"
            + (": worth 0, so nothing is lost" if harmless else "")
        )
    if not groups:
        say("no dead letters")


@app.command()
@with_record_options()
def show(
    choice: LetterChoice,
    limit: Annotated[int, typer.Option(min=1, help="How many, the newest.")] = 10,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show dead letters: where each came from, why it could not be used, and its bytes, the newest last.

    Bytes that are no printable text are escaped; single letters are shown whole. In JSON, bytes that are not UTF-8
    stand under value_base64.

    Example: bowerbird dead-letters show --reason not_json

    Example: bowerbird dead-letters show 1@34 --json
    """
    service = settings(config)
    _check_known(service, choice)
    limit = len(choice.names) or limit
    shown, hidden = run(service, lambda: _newest(service, choice, limit))
    if as_json:
        answer([_for_machines(service, letter) for letter in shown])
    else:
        for letter in shown:
            _show(letter, whole=bool(choice.names))
        if hidden:
            say(f"{hidden} older ones are not shown (--limit)")
    if not shown:
        complain("show: found no such dead letter; `bowerbird dead-letters list` counts those that are there")
        raise typer.Exit(DOES_NOT_HOLD)


@app.command()
@with_record_options()
def resend(
    choice: LetterChoice,
    options: ResendOptions,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Send dead letters again to the topics from which they came, when what made them unusable is repaired.

    Each is marked by the header `resent` and sent once, however often this is run. Its log time is the new one, so late
    feedback only comes later; it is left out unless it is asked for by its reason or name.

    Example: bowerbird dead-letters resend --reason too_large --topic clicks
    """
    service = settings(config)
    if not (choice.names or choice.reason or choice.topic or everything):
        complain("resend: found nothing to choose by, expected LETTER, --reason, --topic or --all")
        raise typer.Exit(WRONG_USE)
    _check_known(service, choice)
    done = run(service, lambda: _resend(service, choice, options))
    if as_json:
        sent = [{"letter": letter.name, "source": str(letter.source), **place._asdict()} for letter, place in done.sent]
        skipped = [{"letter": letter.name, "why": why} for letter, why in done.skipped]
        answer({"sent": sent, "skipped": skipped})
    else:
        _say_sent(done, options.dry_run)
    if missing := sorted(set(choice.names) - {letter.name for letter, _ in (*done.sent, *done.skipped)}):
        complain(f"resend: found no dead letter {', '.join(missing)}; `bowerbird dead-letters show` names them")
        raise typer.Exit(DOES_NOT_HOLD)


def _say_sent(done: "Resent", dry_run: bool) -> None:
    for letter, place in done.sent:
        where = "would be sent" if dry_run else f"sent to {place.topic}[{place.partition}]@{place.offset}"
        say(f"{letter.name}  {letter.source}  {where}")
    for letter, why in done.skipped:
        say(f"{letter.name}  {_safe(str(letter.source))}  not sent: {_safe(why)}")
    say(f"{len(done.sent)} {'to be sent' if dry_run else 'sent'}, {len(done.skipped)} not sent")


def _check_known(config: "Config", choice: LetterChoice) -> None:
    """End the command where it asks for a reason or a topic that no dead letter has, or can have."""
    from bowerbird.error_codes import ERROR_CODES
    from stream.config import LOOP_TOPICS

    reason, topic = choice.reason, choice.topic
    topics = {*config.streams, *LOOP_TOPICS}
    if (reason is None or reason in ERROR_CODES) and (topic is None or topic in topics):
        return
    groups = run(config, lambda: _counted(config))
    for option, wanted, known in (
        ("reason", reason, {group.reason for group in groups}),
        ("topic", topic, {group.topic for group in groups}),
    ):
        possible = ERROR_CODES.keys() if option == "reason" else topics
        if wanted is not None and wanted not in known and wanted not in possible:
            there = ", ".join(sorted(map(_safe, known))) or "there is no dead letter"
            complain(f"--{option}: found {_safe(wanted)}, expected one that dead letters have: {there}")
            raise typer.Exit(WRONG_USE)


@dataclass(frozen=True, slots=True, order=True)
class _Group:
    """Dead letters with one reason from one topic."""

    reason: str
    topic: str
    count: int
    newest: str
    newest_ms: int


async def _counted(config: "Config") -> list[_Group]:
    from stream.kafka.dead_letter_log import letters
    from stream.kafka.log import LogReader

    groups: dict[tuple[str, str], _Group] = {}
    async with LogReader(config) as reader:
        async for letter in letters(config, reader):
            key = letter.reason, "" if letter.source is None else config.stream_of(letter.source.topic)
            group = groups.get(key, _Group(*key, 0, "", 0))
            if letter.time_ms >= group.newest_ms:
                group = replace(group, newest=letter.name, newest_ms=letter.time_ms)
            groups[key] = replace(group, count=group.count + 1)
    return sorted(groups.values(), key=lambda group: (-group.count, group))


async def _newest(config: "Config", choice: LetterChoice, limit: int) -> "tuple[list[Letter], int]":
    """Return the newest letters, rising, and how many older ones there are."""
    from stream.kafka.dead_letter_log import letters
    from stream.kafka.log import LogReader

    newest: list[tuple[int, int, int, Letter]] = []
    count = 0
    async with LogReader(config) as reader:
        async for letter in letters(config, reader):
            if letter.is_chosen(choice, config):
                count += 1
                heapq.heappush(newest, (letter.time_ms, letter.partition, letter.offset, letter))
                if len(newest) > limit:
                    heapq.heappop(newest)
    return [letter for *_, letter in sorted(newest, key=lambda each: each[:3])], count - len(newest)


async def _resend(config: "Config", choice: LetterChoice, options: ResendOptions) -> "Resent":
    from stream.kafka.log import LogReader
    from stream.kafka.resend import resend as sent_again

    async with LogReader(config) as reader:
        return await sent_again(config, reader, choice, options)


def _show(letter: "Letter", *, whole: bool) -> None:
    source = UNKNOWN if letter.source is None else _safe(str(letter.source))
    say(f"{letter.name}  {_moment(letter.time_ms)}  from {source}")
    say(f"  {_safe(letter.reason) or NO_REASON}: {_safe(letter.message) or 'nothing says why'}")
    if letter.problem:
        say(f"  {_safe(letter.problem)}")
    if letter.value is None:
        say("  a message without a value" if letter.problem else "  a tombstone")
        return
    text = _safe(letter.value.decode("utf-8", "backslashreplace"))
    size = len(letter.value) if letter.whole_bytes is None else letter.whole_bytes
    cut = len(text) > SHOWN_CHARACTERS and not whole
    say(f"  {text[:SHOWN_CHARACTERS] if cut else text}" + (f"… ({size} bytes)" if cut or letter.whole_bytes else ""))


def _for_machines(config: "Config", letter: "Letter") -> dict[str, Any]:
    import base64

    source = letter.source
    value: dict[str, Any] = {"value": None}
    if letter.value is not None:
        try:
            value = {"value": letter.value.decode()}
        except UnicodeDecodeError:
            value = {"value_base64": base64.b64encode(letter.value).decode()}
    return {
        "letter": letter.name,
        "time_ms": letter.time_ms,
        "source": None if source is None else {**source._asdict(), "topic": config.stream_of(source.topic)},
        "reason": letter.reason,
        "message": letter.message,
        "key": None if letter.key is None else letter.key.decode("utf-8", "backslashreplace"),
        "whole_bytes": letter.whole_bytes,
        "problem": letter.problem or None,
        **value,
    }


def _safe(text: str) -> str:
    """Return text that does nothing to a terminal: what is not printable is escaped."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _moment(time_ms: int) -> str:
    return moment(time_ms, "%Y-%m-%d %H:%M:%S UTC")

"""What a recovery of the join needs, and what is gone for good: from Kafka, and from the archive."""

from collections.abc import Iterator, Mapping

from bowerbird.recovery.join_recovered import moment
from bowerbird.recovery.logs import RecoveryLogs
from rewards.join_items import Input
from rewards.recovery import Frontiers, outcome_heads, windows_in
from stream.config import Config
from stream.kafka.topics import describe_topics
from stream.roles.join_settings import input_topics
from stream.roles.refeed import Ends


def never_read(logs: RecoveryLogs, ends: Ends, unread: Mapping[Input, int]) -> Iterator[str]:
    """Name what was removed before it was read, however old it is by now; ``unread``: where that begins."""
    for name, offset in sorted(unread.items()):
        held = logs.archived_offsets(name, ends.begins[name])
        if offset < ends.begins[name] and (held is None or held[0] > offset):
            yield f"{name[0]}[{name[1]}] offsets {offset} to {ends.begins[name] - 1}, never read"


async def gaps(config: Config, logs: RecoveryLogs, ends: Ends, from_ms: int) -> list[str]:
    """Name what is needed from a log time on, has been removed from Kafka, and is in no archive."""
    topics = await describe_topics(config, input_topics(config))
    gone: list[str] = []
    for name, begin in ends.begins.items():
        # What retention has removed is older than it: younger windows have lost nothing.
        kept_ms = int(topics[name[0]].settings["retention.ms"])
        if not begin or kept_ms < 0 or from_ms >= ends.tick_ms - kept_ms:
            continue
        first_ms = ends.tick_ms
        async for record in logs.reader.read(*name, begin, ends.readable[name]):
            first_ms = record.time_ms
            break
        held = logs.archived_offsets(name, begin)
        if first_ms > from_ms and (held is None or held[0] > 0):
            gone.append(f"{name[0]}[{name[1]}] from {moment(first_ms)} on, needed from {moment(from_ms)} on")
    return gone


async def outcomes_gone(config: Config, logs: RecoveryLogs, frontiers: Frontiers, since_ms: int) -> list[str]:
    """Say how many decisions since a log time had an outcome that is neither in Kafka nor in the archive.

    Without it they would get another one, and be learned twice.
    """
    if not frontiers.removed_after(since_ms):
        return []
    gone: dict[str, int] = {}
    async for message in logs.messages("decisions", since_ms):
        for window in windows_in(message.value, message.time_ms):
            if frontiers.removed(window, config.shard(window.event_id)):
                gone.setdefault(window.event_id, message.time_ms)
    async for message in logs.messages("rewards", since_ms):
        for head in outcome_heads(message.value):
            gone.pop(head.event_id, None)
    if not gone:
        return []
    first = moment(min(gone.values()))
    return [f"{config.topic('rewards')} without {len(gone)} outcomes, of decisions from {first} on"]

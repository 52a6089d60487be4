"""What a recovery of the join needs, and what is gone for good: from Kafka, and from the archive."""

from collections.abc import Iterator, Mapping

from bowerbird.recovery.join_recovered import moment
from bowerbird.recovery.logs import RecoveryLogs
from rewards.join_items import Input
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
    rewards = config.topic("rewards")
    outcomes = [(rewards, number) for number in await logs.reader.partitions(rewards)]
    begins = ends.begins | await logs.reader.beginning(outcomes)
    readable = ends.readable | await logs.reader.ends(outcomes)
    topics = await describe_topics(config, [*input_topics(config), rewards])
    gone: list[str] = []
    for name, begin in begins.items():
        # What retention has removed is older than it: younger windows have lost nothing.
        kept_ms = int(topics[name[0]].settings["retention.ms"])
        if not begin or kept_ms < 0 or from_ms >= ends.tick_ms - kept_ms:
            continue
        first_ms = ends.tick_ms
        async for record in logs.reader.read(*name, begin, readable[name]):
            first_ms = record.time_ms
            break
        held = logs.archived_offsets(name, begin)
        if first_ms > from_ms and (held is None or held[0] > 0):
            gone.append(f"{name[0]}[{name[1]}] from {moment(first_ms)} on, needed from {moment(from_ms)} on")
    return gone

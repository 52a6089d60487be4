"""Whether the join's state in Redis may be continued: compared with the logs, and nothing is changed."""

import time
from collections.abc import Collection, Iterable, Mapping

from records.limits import HOUR_MS, LARGEST_INTEGER
from rewards.store import NEEDED
from rewards.watermark import INPUTS, partition_name
from stream.config import Config
from stream.kafka.last_seqs import LastSeqs
from stream.kafka.log import LogReader, Partition
from stream.kafka.topic_ids import TopicNow
from stream.redis.spoilt import Unreadable, reading
from stream.redis.store import RedisStore
from stream.roles.join_settings import input_topics

AHEAD_MS = HOUR_MS
"""A watermark follows the broker's clock, and may be so far ahead of this machine's."""


def known_topics(config: Config) -> list[str]:
    """Return the topics from which the state was made, and into which it went: each must stay the same."""
    return [*input_topics(config), config.topic("rewards")]


async def inputs(config: Config, reader: LogReader) -> list[Partition]:
    """Return every partition that the join reads."""
    topics = await reader.topics(input_topics(config))
    return [(name, partition) for name, topic in topics.items() for partition in topic.partitions]


async def topic_ids(config: Config, reader: LogReader) -> dict[str, str]:
    """Return the ids that the topics of the state have now, where the broker gives them some."""
    topics = await reader.topics(known_topics(config))
    return {name: topic.id for name, topic in topics.items() if topic.id}


async def made_anew(store: RedisStore, topics: Mapping[str, TopicNow]) -> set[str]:
    """Return those of the topics of now that were deleted and created again since they were read first."""
    known = await store.topic_ids({})
    return {name for name, topic in topics.items() if topic.id and known.get(name, topic.id) != topic.id}


async def problems(
    config: Config, reader: LogReader, store: RedisStore, topics: Mapping[str, TopicNow] | None = None
) -> list[str]:
    """Say why the state may not be continued, a sentence each; none: it may.

    ``topics`` are those of :func:`known_topics`, where they have been asked for already.
    """
    if spoilt := await store.spoilt(config.shards):
        return list(spoilt.values())
    topics = await reader.topics(known_topics(config)) if topics is None else topics
    sentences = [f"topic {name} was deleted and made anew" for name in sorted(await made_anew(store, topics))]
    read = [(name, number) for name in input_topics(config) if name in topics for number in topics[name].partitions]
    inputs_now = set(input_topics(config))
    # In this order, since the state runs on meanwhile: what is acknowledged is stored, what is stored is in the log.
    acknowledged = await reader.committed(config.group("join"), read)
    tails = await LastSeqs(config, reader).last_seqs()
    shards = range(config.shards)
    begins = await reader.beginning(read)
    stored = [await store.offsets(shard) for shard in shards]
    seqs = [await store.outboxes(shard) for shard in shards]
    ends = await reader.written_ends(read)
    for shard in shards:
        hold = await store.held(shard)
        if hold not in ("", NEEDED):
            sentences.append(f"shard {shard} was left by a recovery that has not finished")
            continue
        if hold:
            sentences.append(f"shard {shard} waits: a transaction of the join was refused")
        watermarks = await store.watermarks(shard)
        former = {name.rpartition(" ")[0] for name in watermarks if name != INPUTS} - inputs_now
        if former:
            sentences.append(f"shard {shard} waits for {', '.join(sorted(former))}, which no setting names any more")
        sentences += await _unreadable(store, shard, seqs[shard])
        if impossible := await _impossible_deadlines(store, shard):
            sentences.append(f"shard {shard}: {impossible} windows have a deadline that no window can have")
        ahead_ms = max(watermarks.values(), default=0) - time.time_ns() // 1_000_000
        if ahead_ms > AHEAD_MS:
            sentences.append(
                f"shard {shard}: a watermark is {ahead_ms // 1000} s ahead of this machine's clock, so windows close"
                " before their feedback has come: see that the clocks of the broker and of this machine are right"
            )
        entries, bodies, due, pending = await store.sizes(shard)
        if not entries == bodies == due == pending:
            sentences.append(
                f"shard {shard}: of {entries} decisions that wait, {bodies} have their text, {due} a deadline, and"
                f" {pending} are counted"
            )
        for name in read:
            offset, where = stored[shard].get(partition_name(*name)), f"shard {shard}, {name[0]}[{name[1]}]"
            if name in acknowledged and (offset is None or offset < acknowledged[name]):
                sentences.append(f"{where}: stored up to {offset or 0}, acknowledged up to {acknowledged[name]}")
            elif offset is not None and offset > ends[name]:
                sentences.append(f"{where}: stored up to {offset}, the log ends at {ends[name]}")
            elif offset is not None and offset < begins[name]:
                sentences.append(f"{where}: stored up to {offset}, the log starts at {begins[name]}")
    marks = await store.marks()
    for topic, number in await reader.replaced(
        {name: marks[each] for name in read if (each := partition_name(*name)) in marks}
    ):
        sentences.append(f"{topic}[{number}]: the last message that was read is another now: the log has lost its tail")
    for (placement, shard), tail in sorted(tails.items()):
        if shard < config.shards and (given := seqs[shard].get(placement, 0)) < tail:
            sentences.append(f"shard {shard}, placement {placement}: seq {given}, rewards holds {tail}")
    return sentences


async def _impossible_deadlines(store: RedisStore, shard: int) -> int:
    """Return how many deadlines there are that no window can have."""
    key = store.key(shard, "due")
    with reading(key):
        below, above = (
            await store.redis.zcount(key, "-inf", "(0"),
            await store.redis.zcount(key, f"({LARGEST_INTEGER}", "+inf"),
        )
    return int(below) + int(above)


async def _unreadable(store: RedisStore, shard: int, outboxes: Iterable[str]) -> list[str]:
    """Say which outboxes begin with what the join has not written."""
    sentences = []
    for outbox in outboxes:
        try:
            await store.head(shard, outbox, 1)
        except Unreadable as refused:
            sentences.append(f"{refused.what} holds what cannot be read")
    return sentences


async def acknowledged_at_most(
    config: Config, reader: LogReader, store: RedisStore, read: Collection[Partition]
) -> dict[str, int]:
    """Return up to which offset a worker from before a recovery has acknowledged each input, or may still do so.

    By :func:`rewards.watermark.partition_name`.
    """
    acknowledged = await reader.committed(config.group("join"), read)
    ends, marks, voided = await reader.ends(read), await store.marks(), await store.voided()
    at_most: dict[str, int] = {}
    for where in read:
        name = partition_name(*where)
        marked = marks[name].offset + 1 if name in marks else 0
        at_most[name] = max(
            ends[where], acknowledged.get(where, 0), marked, voided[name].void_to if name in voided else 0
        )
    return at_most

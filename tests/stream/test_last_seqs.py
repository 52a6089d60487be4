"""What is known of the last outcomes: nothing of those that were removed before they were read."""

import json
from collections.abc import AsyncIterator
from typing import Any, NamedTuple, cast

from stream.config import Config, PolicyConfig
from stream.kafka.last_seqs import LastSeqs
from stream.kafka.log import LogReader

CONFIG = Config(policies={"front": PolicyConfig(), "side": PolicyConfig()})


class _Record(NamedTuple):
    offset: int
    value: bytes


class _Log:
    """``rewards``, of which the first records may be removed, and an empty ``versions``."""

    def __init__(self) -> None:
        self.records: list[_Record] = []
        self.begins = 0
        self.hidden = False

    def append(self, placement: str, seq: int) -> None:
        place = {"time_ms": 1, "topic": "decisions", "partition": 0, "offset": 0, "index": 0}
        head = {"placement": placement, "shard": 0, "outcome_seq": seq, "event_id": "e", "closed_ms": 1}
        value = json.dumps(head | {"decision_position": place}).encode()
        self.records.append(_Record(len(self.records), value))

    async def partitions_of(self, topic: str) -> list[tuple[str, int]]:
        return [(topic, number) for number in await self.partitions(topic)]

    async def partitions(self, topic: str) -> list[int]:
        return [0]

    async def beginning(self, partitions: list[tuple[str, int]]) -> dict[tuple[str, int], int]:
        return dict.fromkeys(partitions, 0 if partitions[0][0] == "versions" else self.begins)

    async def open_transactions(self, partitions: list[tuple[str, int]]) -> dict[tuple[str, int], tuple[int, int]]:
        return {partitions[0]: (1, 1)} if self.hidden else {}

    async def ends(self, partitions: list[tuple[str, int]]) -> dict[tuple[str, int], int]:
        return dict.fromkeys(partitions, 0 if partitions[0][0] == "versions" else len(self.records))

    async def read(self, topic: str, partition: int, start: int, end: Any = None) -> AsyncIterator[_Record]:
        for record in [] if topic == "versions" else self.records[max(start, self.begins) :]:
            yield record


def following(log: _Log) -> LastSeqs:
    return LastSeqs(CONFIG, cast(LogReader, log))


async def test_an_outbox_without_outcomes_begins_with_0() -> None:
    log = _Log()
    log.append("front", 1)
    last_seqs = following(log)
    assert (await last_seqs.last_seq("front", 0, 9), await last_seqs.last_seq("side", 0, 9)) == (1, 0)
    log.append("side", 1)
    assert await last_seqs.last_seq("side", 0, 9) == 1


async def test_of_an_outbox_whose_outcomes_may_have_been_removed_nothing_is_known() -> None:
    log = _Log()
    for placement, seq in (("side", 1), ("front", 1), ("front", 2)):
        log.append(placement, seq)
    log.begins = 1
    last_seqs = following(log)
    assert (await last_seqs.last_seq("front", 0, 9), await last_seqs.last_seq("side", 0, 9)) == (2, None)
    assert await last_seqs.last_seq("front", 0, 9) == 2


async def test_what_was_read_is_not_the_last_any_more_once_later_ones_were_removed_unread() -> None:
    log = _Log()
    log.append("front", 1)
    last_seqs = following(log)
    assert await last_seqs.last_seq("front", 0, 9) == 1
    for placement, seq in (("front", 2), ("side", 1)):
        log.append(placement, seq)
    log.begins = 2
    assert (await last_seqs.last_seq("front", 0, 9), await last_seqs.last_seq("side", 0, 9)) == (None, 1)
    log.append("front", 3)
    assert await last_seqs.last_seq("front", 0, 9) == 3


async def test_what_an_open_transaction_hides_is_unknown() -> None:
    log = _Log()
    log.append("front", 1)
    log.hidden = True
    last_seqs = following(log)
    assert await last_seqs.last_seq("front", 0, 9) is None
    log.hidden = False
    assert await last_seqs.last_seq("front", 0, 9) == 1

"""Where a recovery of the join goes on when an outbox has no outcome left in the log."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bowerbird.recovery import join_start
from rewards.recovery import Frontiers
from stream.config import Config
from tests.serving import served, tables

CONFIG = Config(**tables({"front": served()}))


class _Reader:
    """``rewards``, of which the first records were removed, and ``versions`` with a record for each offset."""

    async def partitions_of(self, topic: str) -> list[tuple[str, int]]:
        return [(topic, number) for number in await self.partitions(topic)]

    async def partitions(self, topic: str) -> list[int]:
        return [0]

    async def beginning(self, partitions: list[tuple[str, int]]) -> dict[tuple[str, int], int]:
        return dict.fromkeys(partitions, 5)

    async def read(self, topic: str, partition: int, start: int, end: int) -> AsyncIterator[Any]:
        yield SimpleNamespace(time_ms=1000 + start)


@pytest.mark.parametrize("seqs", [(3, 7), (7, 3)])
async def test_of_several_policies_that_learn_an_outbox_the_farthest_says_how_far_it_goes(
    monkeypatch: pytest.MonkeyPatch, seqs: tuple[int, int]
) -> None:
    """With the seq of another one, outcomes would get seqs that it takes for repeats."""
    by_policy = {
        f"policy-{offset}": SimpleNamespace(offset=offset, version=SimpleNamespace(last_seqs={"front/0": seq}))
        for offset, seq in enumerate(seqs)
    }

    async def tail(*_: object) -> Any:
        return SimpleNamespace(newest=lambda: SimpleNamespace(by_policy=by_policy))

    monkeypatch.setattr(join_start, "versions_tail", tail)
    frontiers = Frontiers()
    logs = cast(Any, SimpleNamespace(reader=_Reader()))
    await join_start._note_outboxes_without_outcomes(CONFIG, logs, frontiers)
    assert frontiers.last["front", 0] == (7, 1000 + seqs.index(7))
    assert frontiers.first["front", 0].outcome_seq == 8

"""The emitter over a store in memory: what leaves it in one turn."""

import json
from typing import Any, cast

from rewards.memory_store import MemoryStore
from rewards.store import ClosedWindow, Unusable
from stream.config import Config, PolicyConfig
from stream.roles.outbox import Emitter
from tests.laws.test_store import TTL_MS, Reader, decided
from tests.real.loop import decision


class _OneByOne(MemoryStore):
    """A store whose entries are so large that each is a head of its own."""

    async def lease(self, shard: int, owner: str) -> bool:
        return True

    async def head(
        self, shard: int, outbox: str, limit: int, limit_bytes: int = 1
    ) -> list[ClosedWindow] | list[Unusable]:
        return await super().head(shard, outbox, limit, 1)


class _Producer:
    def __init__(self) -> None:
        self.sent: list[list[str]] = []

    async def send_and_wait(self, topic: str, value: bytes, **_: Any) -> None:
        self.sent.append([outcome["event_id"] for outcome in json.loads(value)])


async def test_large_outcomes_leave_in_small_heads_and_in_one_turn() -> None:
    store, producer = _OneByOne(), _Producer()
    reader = Reader(store)
    bodies = {event_id: json.dumps(decision(event_id)).encode() for event_id in "abc"}
    await reader.apply(*(decided(event_id, 0, at, body=body) for at, (event_id, body) in enumerate(bodies.items())))
    await reader.read_to(TTL_MS)
    config = Config(policies={"front": PolicyConfig()})
    emitter = Emitter(cast(Any, store), cast(Any, producer), cast(Any, None), config, "me")
    await emitter._empty(0, "front", (await store.outboxes(0))["front"])
    assert producer.sent == [["a"], ["b"], ["c"]]
    assert await reader.closed() == []

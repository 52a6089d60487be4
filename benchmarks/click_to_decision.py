"""From a click's append to the first decision by the policy that learned it."""

import asyncio
import json
import time
from contextlib import suppress
from secrets import token_hex
from statistics import median

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from benchmarks.row import Others, Row, spread
from embedded.servers import EmbeddedKafka, EmbeddedRedis
from records.rule import Reward, StreamReward
from stream.config import Config
from tests.real.loop import Loop, loop_of
from tests.serving import served, tables

CLICKS = 30
PROBE_S = 0.02
BAR_S = 2.0


def run() -> list[Row]:
    """Click on decisions one after another, and ask on and on until a new version answers."""
    others = Others()
    with EmbeddedKafka() as kafka, EmbeddedRedis(unix_socket=True) as redis:
        reward = Reward(streams={"clicks": StreamReward(1.0)}, close_on=("clicks",))
        policy = served(kind="vw", arguments="--cb_explore_adf --epsilon 0.1 -q uA", window_s=600.0, reward=reward)
        config = Config(
            brokers=kafka.address, redis_url=redis.url, prefix=f"b-{token_hex(3)}-", **tables({"front": policy})
        )
        with others.measured():
            seconds = asyncio.run(_measure(config))
    return [
        Row(
            "from a click's append to the first decision by the policy that learned it, early close on click",
            "wall time, close grace included",
            f"p50 < {BAR_S:g} s",
            f"{spread(seconds)} s",
            median(seconds) < BAR_S,
            "the close grace (250 ms), a tick of every idle partition (200 ms), the publish cadence (500 ms)",
            others.median,
        )
    ]


def _request(number: int) -> dict[str, object]:
    actions = [{"id": f"a{action}", "features": {"item": {"kind": f"k{action}"}}} for action in range(10)]
    return {"event_id": f"e{number}", "placement": "front", "context": {"user": {"age": 30}}, "actions": actions}


class _Asking:
    """Requests on and on, and the newest reply."""

    def __init__(self, loop: Loop) -> None:
        self.loop, self.number = loop, 0
        self.version, self.answered_at, self.event_id = "", 0.0, ""
        self.changed = asyncio.Event()

    async def ask(self) -> None:
        while True:
            value = json.dumps(_request(self.number)).encode()
            self.number += 1
            headers = [("reply-topic", self.loop.config.topic("replies.bench").encode())]
            await self.loop.producer.send(self.loop.config.topic("decision-requests"), value, headers=headers)
            await asyncio.sleep(PROBE_S)

    async def hear(self) -> None:
        consumer = AIOKafkaConsumer(
            self.loop.config.topic("replies.bench"),
            bootstrap_servers=self.loop.config.brokers,
            auto_offset_reset="earliest",
        )
        await consumer.start()
        try:
            async for message in consumer:
                reply = json.loads(message.value)
                if "error" in reply:
                    continue
                if reply["policy_version"] != self.version:
                    self.version, self.answered_at = reply["policy_version"], time.time()
                    self.changed.set()
                self.event_id = reply["event_id"]
        finally:
            await consumer.stop()


async def _measure(config: Config) -> list[float]:
    async with loop_of(config) as loop:
        admin = AIOKafkaAdminClient(bootstrap_servers=config.brokers)
        await admin.start()
        await admin.create_topics([NewTopic(config.topic("replies.bench"), 1, 1)])
        await admin.close()
        for role in ("decide", "join", "learn"):
            loop.role(role)
        asking = _Asking(loop)
        tasks = [asyncio.create_task(asking.ask()), asyncio.create_task(asking.hear())]
        try:
            await asyncio.wait_for(asking.changed.wait(), 60)
            seconds: list[float] = []
            for _ in range(CLICKS + 1):
                asking.changed.clear()
                clicked_ms = await loop.send("clicks", {"event_id": asking.event_id, "id": "c"})
                await asyncio.wait_for(asking.changed.wait(), 30)
                seconds.append(asking.answered_at - clicked_ms / 1000)
        finally:
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        return seconds[1:]

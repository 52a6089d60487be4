"""Each dead letter is sent again once, even by two commands at once, and after its topic was made again."""

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from embedded.servers import EmbeddedKafka
from records.errors import StateRefused
from records.rule import Reward, StreamReward
from stream.config import Config
from stream.kafka import topics
from stream.kafka.dead_letters import DeadLetter
from stream.kafka.letter_choice import LetterChoice, ResendOptions
from stream.kafka.log import LogReader
from stream.kafka.resend import RESENT_HEADER, Resent, resend
from stream.kafka.send import Appended, Outgoing, append_all, send
from tests.serving import served, tables

LETTERS = 700
CLICKS = Reward(streams={"clicks": StreamReward(weight=1.0)})


@pytest.fixture
async def config(kafka: EmbeddedKafka, prefix: str) -> Config:
    made = Config(brokers=kafka.address, prefix=prefix, **tables({"front": served("uniform", reward=CLICKS)}))
    await topics.create(made)
    return made


async def bury(config: Config, said: str, count: int) -> None:
    """Write letters about the first messages of partition 0 of ``clicks``."""
    letters = [
        DeadLetter(config.topic("clicks"), 0, number, 0, "unknown_decision", "", f"{said} {number}".encode())
        for number in range(count)
    ]
    wired = [(letter.topic.encode(), *letter.wire(1000)) for letter in letters]
    await send(config, [Outgoing(config.topic("dead-letters"), value, key, headers) for key, value, headers in wired])


async def sent_again(config: Config) -> Counter[bytes]:
    """Return how often each value was sent again to ``clicks``."""
    found: Counter[bytes] = Counter()
    async with LogReader(config) as reader:
        for partition in range(config.partitions):
            async for message in reader.read(config.topic("clicks"), partition, 0):
                found[message.value or b""] += RESENT_HEADER in dict(message.headers)
    return found


async def _resend(config: Config) -> Resent | StateRefused:
    async with LogReader(config) as reader:
        try:
            return await resend(config, reader, LetterChoice(reason="unknown_decision"), ResendOptions())
        except StateRefused as refused:
            return refused


async def test_two_at_the_same_moment_send_each_once(config: Config) -> None:
    await bury(config, "click", LETTERS)
    await asyncio.gather(*(_resend(config) for _ in range(3)))
    last = await _resend(config)
    assert isinstance(last, Resent)
    assert {why for _, why in last.skipped} <= {"was sent again before"}
    assert await sent_again(config) == Counter({f"click {number}".encode(): 1 for number in range(LETTERS)})


async def test_who_is_overtaken_says_so_and_has_sent_nothing_twice(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bury(config, "click", LETTERS)
    overtaking: list[Resent | StateRefused] = []

    async def slow(producer: AIOKafkaProducer, messages: Sequence[Outgoing]) -> list[Appended]:
        done = await append_all(producer, messages)
        if not overtaking:
            monkeypatch.undo()
            overtaking.append(await _resend(config))
        return done

    monkeypatch.setattr("stream.kafka.resend.append_all", slow)
    refused = await _resend(config)
    assert isinstance(refused, StateRefused)
    assert "another `bowerbird dead-letters resend` that began later" in str(refused)
    (second,) = overtaking
    assert isinstance(second, Resent)
    assert len(second.sent) == LETTERS
    assert set((await sent_again(config)).values()) == {1}


async def test_a_topic_that_is_gone_is_named(config: Config) -> None:
    await bury(config, "click", 1)
    admin = AIOKafkaAdminClient(bootstrap_servers=config.brokers)
    await admin.start()
    try:
        await admin.delete_topics([config.topic("clicks")])
    finally:
        await admin.close()
    refused = await asyncio.wait_for(_resend(config), 30)
    assert isinstance(refused, StateRefused)
    assert "no such topic" in str(refused)


async def test_a_letter_of_a_topic_that_was_created_again_is_another_one(config: Config) -> None:
    await bury(config, "old", 3)
    first = await _resend(config)
    assert isinstance(first, Resent)
    assert len(first.sent) == 3
    admin = AIOKafkaAdminClient(bootstrap_servers=config.brokers)
    await admin.start()
    try:
        clicks = config.topic("clicks")
        await admin.delete_topics([clicks])
        while clicks in await admin.list_topics():
            await asyncio.sleep(0.05)
        await admin.create_topics([NewTopic(clicks, config.partitions, 1)])
    finally:
        await admin.close()
    await bury(config, "new", 3)
    again = await _resend(config)
    assert isinstance(again, Resent)
    # Those of the former topic may be sent again, too: what was sent of them is gone with it.
    assert len(again.sent) == 6
    values = [f"{said} {number}".encode() for said in ("old", "new") for number in range(3)]
    assert await sent_again(config) == Counter(values)
    last = await _resend(config)
    assert isinstance(last, Resent)
    assert last.sent == []

"""The topics that the loop needs: what each must be like, what is there, and making what is missing."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, UnknownTopicOrPartitionError, for_code

from records.errors import WrongConfiguration
from records.limits import HOUR_MS, INPUT_MESSAGE_BYTES
from stream import clients
from stream.clients import LARGE_MESSAGE_BYTES
from stream.config import Config
from stream.shutdown import closed, started

TICKS_RETENTION_MS = HOUR_MS
KEPT_FOR_EVER = -1
MISSING = "missing"
CREATE_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class TopicNeed:
    """What a topic must be like.

    Attributes
    ----------
    partitions
        How many ``create`` makes.
    used_partitions
        How many the loop uses, from 0 on: fewer are refused, and more are left alone. 0: any number is fine.
    retention_ms
        What ``create`` sets; -1: for ever.
    least_retention_ms
        Less than this is refused (-1: anything but for ever).
    message_bytes
        Size of the largest message that it must take.
    """

    name: str
    partitions: int
    used_partitions: int
    retention_ms: int
    least_retention_ms: int
    message_bytes: int

    def settings(self) -> dict[str, str]:
        """Return the settings of the topic as Kafka takes them."""
        return {
            "cleanup.policy": "delete",
            "max.message.bytes": str(self.message_bytes),
            "message.timestamp.type": "LogAppendTime",
            "retention.bytes": "-1",
            "retention.ms": str(self.retention_ms),
        }


class TopicFound(NamedTuple):
    """A topic as the broker describes it."""

    partitions: int
    settings: dict[str, str]


class TopicProblem(NamedTuple):
    """One setting of one topic that is not as the loop needs it."""

    topic: str
    setting: str
    found: str
    needed: str
    remedy: str

    def __str__(self) -> str:
        return f"topic {self.topic}: {self.setting} is {self.found}, needed is {self.needed}; {self.remedy}"


def needed(config: Config) -> list[TopicNeed]:
    """Return what every topic of the loop, and of the configured streams, must be like."""
    retention_ms = round(config.retention_s * 1000)
    window_s = max(config.longest_window_s, 0.0) + config.early_s
    least_ms = min(round((window_s + config.survive_outage_s) * 1000), retention_ms)

    def topic(name: str, partitions: int, message_bytes: int, *, used: int = 0) -> TopicNeed:
        return TopicNeed(config.topic(name), partitions, used, retention_ms, least_ms, message_bytes)

    one = (1, 1)
    return [
        topic("decision-requests", config.partitions, INPUT_MESSAGE_BYTES),
        topic("decisions", config.partitions, LARGE_MESSAGE_BYTES),
        *(topic(stream, config.partitions, INPUT_MESSAGE_BYTES) for stream in config.streams),
        topic("rewards", config.rewards_partitions, LARGE_MESSAGE_BYTES, used=config.rewards_partitions),
        TopicNeed(config.topic("versions"), *one, KEPT_FOR_EVER, KEPT_FOR_EVER, INPUT_MESSAGE_BYTES),
        TopicNeed(config.topic("ticks"), *one, TICKS_RETENTION_MS, 60_000, 1024),
        topic("dead-letters", config.partitions, LARGE_MESSAGE_BYTES),
    ]


def compare(need: TopicNeed, topic: TopicFound) -> list[TopicProblem]:
    """Return what contradicts the need in a topic that is there."""
    problems: list[TopicProblem] = []

    def set_it(setting: str, shown: str, needs: str, value: str) -> None:
        remedy = f"set it: kafka-configs --alter --topic {need.name} --add-config {setting}={value}"
        problems.append(TopicProblem(need.name, setting, shown, needs, remedy))

    if topic.partitions < need.used_partitions:
        remedy = f"add partitions: kafka-topics --alter --topic {need.name} --partitions {need.used_partitions}"
        problems.append(
            TopicProblem(need.name, "partitions", str(topic.partitions), f"at least {need.used_partitions}", remedy)
        )
    settings = topic.settings
    if (stamp := settings.get("message.timestamp.type", "CreateTime")) != "LogAppendTime":
        set_it("message.timestamp.type", stamp, "LogAppendTime", "LogAppendTime")
    if (cleanup := settings.get("cleanup.policy", "delete")) != "delete":
        set_it("cleanup.policy", cleanup, "delete", "delete")
    if (most := int(settings.get("max.message.bytes", "0"))) < need.message_bytes:
        set_it("max.message.bytes", str(most), f"at least {need.message_bytes}", str(need.message_bytes))
    retention_ms = int(settings.get("retention.ms", "0"))
    if retention_ms != KEPT_FOR_EVER and (
        need.least_retention_ms == KEPT_FOR_EVER or retention_ms < need.least_retention_ms
    ):
        needs = "-1 (for ever)" if need.least_retention_ms == KEPT_FOR_EVER else f"at least {need.least_retention_ms}"
        set_it("retention.ms", str(retention_ms), needs, str(need.retention_ms))
    if need.least_retention_ms == KEPT_FOR_EVER and (size := settings.get("retention.bytes", "-1")) != "-1":
        set_it("retention.bytes", size, "-1 (no limit)", "-1")
    return problems


def _missing(need: TopicNeed) -> TopicProblem:
    return TopicProblem(
        need.name, "the topic", MISSING, f"{need.partitions} partitions", "run `bowerbird topics create`"
    )


def contradictions(config: Config, topics: dict[str, TopicFound]) -> list[TopicProblem]:
    """Return what contradicts the needs in the topics that are there."""
    problems: list[TopicProblem] = []
    for need in needed(config):
        if need.name in topics:
            problems += compare(need, topics[need.name])
    requests, decisions = (topics.get(config.topic(name)) for name in ("decision-requests", "decisions"))
    if requests and decisions and decisions.partitions < requests.partitions:
        name = config.topic("decisions")
        remedy = (
            "a decision is in the partition of its request: add partitions:"
            f" kafka-topics --alter --topic {name} --partitions {requests.partitions}"
        )
        problems.append(
            TopicProblem(name, "partitions", str(decisions.partitions), f"at least {requests.partitions}", remedy)
        )
    return problems


async def problems(config: Config, admin: AIOKafkaAdminClient | None = None) -> list[TopicProblem]:
    """Return everything that is missing or that contradicts, in the order of :func:`needed`.

    Raises
    ------
    aiokafka.errors.KafkaError
        The broker did not answer.
    """
    if admin is None:
        async with _Admin(config) as own:
            return await problems(config, own)
    described = await describe(admin, [need.name for need in needed(config)])
    missing = [_missing(need) for need in needed(config) if need.name not in described]
    return missing + contradictions(config, described)


async def check(config: Config) -> list[str]:
    """Return a sentence for each problem of :func:`problems`."""
    return [str(problem) for problem in await problems(config)]


async def create(config: Config) -> list[str]:
    """Create the topics that are missing, and return their names.

    Raises
    ------
    WrongConfiguration
        A topic that is there contradicts the needs; then nothing was created.
    """
    async with _Admin(config) as admin:
        needs = needed(config)
        described = await describe(admin, [need.name for need in needs])
        if contradicting := contradictions(config, described):
            raise WrongConfiguration("\n".join(str(problem) for problem in contradicting))
        missing = [need for need in needs if need.name not in described]
        await _create(admin, config, missing)
        return [need.name for need in missing]


async def describe_topics(config: Config, names: Sequence[str]) -> dict[str, TopicFound]:
    """Return those of the named topics that are there; see :func:`describe`."""
    async with _Admin(config) as admin:
        return await describe(admin, names)


async def describe(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, TopicFound]:
    """Return those of the named topics that are there."""
    there = set(await admin.list_topics())
    names = [name for name in names if name in there]
    if not names:
        return {}
    partitions = {
        topic["topic"]: len(topic["partitions"])
        for topic in cast("list[dict[str, Any]]", await admin.describe_topics(list(names)))
    }
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    described_topics: dict[str, TopicFound] = {}
    for response in await admin.describe_configs(resources):
        for code, message, _kind, name, entries, *_ in response.resources:
            if code:
                raise for_code(code)(message)
            described_topics[name] = TopicFound(partitions[name], {entry[0]: entry[1] for entry in entries})
    return described_topics


async def _create(admin: AIOKafkaAdminClient, config: Config, needs: Sequence[TopicNeed]) -> None:
    if not needs:
        return
    topics = [
        NewTopic(need.name, need.partitions, config.replication_factor, topic_configs=need.settings()) for need in needs
    ]
    response = await admin.create_topics(topics)
    for name, code, *message in response.topic_errors:
        # Somebody else who was faster is no error.
        if code and for_code(code) is not TopicAlreadyExistsError:
            raise for_code(code)(f"topic {name} was not created: {message}")
    deadline = asyncio.get_running_loop().time() + CREATE_TIMEOUT_S
    names = {need.name for need in needs}
    while not names <= set(await admin.list_topics()):
        if asyncio.get_running_loop().time() > deadline:
            raise UnknownTopicOrPartitionError(f"created topics do not show up: {sorted(names)}")
        await asyncio.sleep(0.05)


class _Admin:
    """An admin client that is closed again."""

    def __init__(self, config: Config) -> None:
        self._client = clients.admin(config, "bowerbird-topics")

    async def __aenter__(self) -> AIOKafkaAdminClient:
        await started(self._client)
        return self._client

    async def __aexit__(self, *error: object) -> None:
        await closed(self._client)

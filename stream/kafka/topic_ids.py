"""The ids of topics (KIP-516): a topic that is deleted and created again has another one.

aiokafka speaks no version of the metadata request that holds them, so the version is spelled out here, after the
protocol's own description (https://kafka.apache.org/protocol, Metadata version 10; Kafka 2.8 and later).
"""

from collections.abc import Collection, Mapping
from io import BytesIO
from typing import Any, NamedTuple, cast
from uuid import UUID

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    AbstractType,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

UNKNOWN = UUID(int=0)
"""What a broker answers that gives its topics no ids."""
_text = CompactString("utf-8")


class _Uuid(AbstractType[UUID]):  # type: ignore[misc]
    @classmethod
    def encode(cls, value: UUID) -> bytes:
        return value.bytes

    @classmethod
    def decode(cls, data: BytesIO) -> UUID:
        return UUID(bytes=data.read(16))


class _MetadataResponse(Response):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(("node_id", Int32), ("host", _text), ("port", Int32), ("rack", _text), ("tags", TaggedFields)),
        ),
        ("cluster_id", _text),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", _text),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("authorized_operations", Int32),
        ("tags", TaggedFields),
    )


class _MetadataRequestStruct(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 10
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", _Uuid), ("name", _text), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _MetadataRequest(Request[_MetadataRequestStruct]):  # type: ignore[misc]
    API_KEY = 3

    def __init__(self, topics: Collection[str]) -> None:
        self._topics = topics

    def build(self, request_struct_class: type[_MetadataRequestStruct]) -> _MetadataRequestStruct:
        return request_struct_class([(UNKNOWN, topic, {}) for topic in self._topics], False, False, False, {})


class TopicNow(NamedTuple):
    """A topic as it is now: its id (None: the broker gives none) and its partitions, rising."""

    id: str | None
    partitions: list[int]


async def topics_now(admin: AIOKafkaAdminClient, topics: Collection[str]) -> dict[str, TopicNow]:
    """Ask for topics; those that are not there are left out.

    Raises
    ------
    KafkaError
        The broker does not answer.
    """
    answer = cast(Any, await admin._send_request(cast(Any, _MetadataRequest(topics))))
    return {
        name: TopicNow(None if topic_id == UNKNOWN else str(topic_id), sorted(part[1] for part in partitions))
        for code, name, topic_id, _, partitions, *_ in answer.topics
        if code == 0
    }


class Watched:
    """Notices that a topic was deleted and created again.

    Parameters
    ----------
    topic
        Its name.
    """

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self._id: str | None = None

    def made_anew(self, topics: Mapping[str, TopicNow]) -> bool:
        """Tell, given the topics of now, whether it has another id than when it was asked for first."""
        now = topics.get(self.topic)
        if now is None or now.id is None:
            return False
        self._id = self._id or now.id
        return self._id != now.id

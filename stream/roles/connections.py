"""What the join and the learner are connected to, and how they notice that it is another log."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Self

from aiokafka import AIOKafkaProducer
from redis.asyncio import Redis

from stream import clients
from stream.config import Config
from stream.kafka.log import LogReader, identify
from stream.kafka.topic_ids import TopicNow, Watched
from stream.run import PutRight
from stream.shutdown import Opened, closed, started


@dataclass(frozen=True, slots=True)
class Connections:
    """The servers of a role.

    Attributes
    ----------
    producer
        Not idempotent: what it writes may be written twice.
    log_name
        See :func:`stream.kafka.log.identify`.
    """

    producer: AIOKafkaProducer
    reader: LogReader
    redis: "Redis"
    log_name: str
    _versions: Watched

    @classmethod
    async def open(cls, config: Config, role: str, opened: Opened) -> Self:
        """Connect a role; what closes a connection is added to ``opened``.

        Raises
        ------
        StateRefused
            There is no topic ``versions``.
        """
        producer = await started(clients.producer(config, clients.client_id(role)))
        opened.add(partial(closed, producer))
        reader = await LogReader(config).__aenter__()
        opened.add(reader.close)
        redis = clients.redis_client(config)
        opened.add(redis.aclose)
        versions = Watched(config.topic("versions"))
        versions.made_anew(await reader.topics([versions.topic]))
        return cls(producer, reader, redis, await identify(reader, config, producer), versions)

    @property
    def versions_topic(self) -> str:
        """The full name of ``versions``, which holds the name of the log."""
        return self._versions.topic

    def refuse_new_log(self, topics: Mapping[str, TopicNow]) -> None:
        """End the process where ``versions`` was made anew, given the topics of now: the next one compares the logs.

        Raises
        ------
        PutRight
            It was made anew.
        """
        if self._versions.made_anew(topics):
            raise PutRight(f"topic {self.versions_topic} was made anew: starting anew, to compare the logs")

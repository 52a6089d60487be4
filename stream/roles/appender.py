"""Appends that are tried again until the broker has acknowledged them: decide's way of holding its input back."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from stream import clients, metrics, stopped
from stream.config import Config
from stream.kafka.renewable_producer import RenewableProducer
from stream.retry import say_server_refuses
from stream.role import DECIDE
from stream.shutdown import closed, started

log = logging.getLogger(__name__)

BATCH_BYTES = 1024 * 1024
FIRST_RETRY_S = 0.05
LAST_RETRY_S = 2.0


class ProducerRecord(NamedTuple):
    """What is to be appended."""

    partition: int
    key: bytes | None
    value: bytes


class _NoPartitionError(Exception):
    """A decision's partition is missing; the text is a sentence with the command that ends it."""


class Appender:
    """Appends to one topic with ``acks=all``.

    After a lost acknowledgement a message is appended again: the copy is identical, and the join takes it as a
    repeat. The producer is not idempotent, since one that is never gives up: replies share it, and one reply topic
    that cannot be written would delay all decisions for ever.

    Attributes
    ----------
    producer
        To be started and stopped by the owner. A failure replaces it.
    """

    def __init__(self, config: Config, topic: str) -> None:
        self._config, self._topic = config, topic
        self.producer = RenewableProducer(self._made)

    async def append(self, messages: Sequence[ProducerRecord]) -> list[Any | None]:
        """Append messages; return when all are acknowledged, however long that takes.

        Returns
        -------
        list
            For each message what the broker said (``offset``, ``timestamp``, ``timestamp_type``), or None for one
            that the topic refuses as too large.
        """
        answers: dict[int, Any | None] = {}
        retry_s, failures = FIRST_RETRY_S, 0
        while True:
            producer = self.producer.current
            left = [index for index in range(len(messages)) if index not in answers]
            failed = await self._try(producer, messages, left, answers)
            if failed is None:
                if failures:
                    stopped.go_on(DECIDE, self._topic)
                return [answers[index] for index in range(len(messages))]
            metrics.broker_failed(DECIDE)
            failures += 1
            if isinstance(failed, _NoPartitionError):
                if stopped.stop(DECIDE, self._topic, failed):
                    log.error("%s", failed)
            else:
                log.warning("appending to %s is tried again: %r", self._topic, failed)
                say_server_refuses(DECIDE, self._topic, failures, failed)
            await asyncio.sleep(retry_s)
            retry_s = min(2 * retry_s, LAST_RETRY_S)
            await self.producer.renew(producer)

    async def _try(
        self,
        producer: AIOKafkaProducer | None,
        messages: Sequence[ProducerRecord],
        left: Sequence[int],
        answers: dict[int, Any | None],
    ) -> BaseException | None:
        """Append what is left, note the answers, and return an error that calls for another attempt."""
        if producer is None:
            return ConnectionError("no connection to the broker")
        sent: list[asyncio.Future[Any]] = []
        failures: list[BaseException] = []
        indices: list[int] = []
        for index in left:
            partition, key, value = messages[index]
            try:
                sent.append(await producer.send(self._topic, value, key, partition))
                indices.append(index)
            except MessageSizeTooLargeError:
                answers[index] = None
            except AssertionError:
                # The client's way to say that there is no such partition.
                failures.append(await self._no_partition(producer))
                break
            except (KafkaError, OSError) as error:
                failures.append(error)
                break
        answered: list[Any] = await asyncio.gather(*sent, return_exceptions=True)
        for index, answer in zip(indices, answered, strict=True):
            if isinstance(answer, MessageSizeTooLargeError):
                answers[index] = None
            elif isinstance(answer, BaseException):
                failures.append(answer)
            else:
                answers[index] = answer
        return failures[0] if failures else None

    async def _no_partition(self, producer: AIOKafkaProducer) -> BaseException:
        """Return the sentence for requests whose partition the topic lacks."""
        requests = self._config.topic("decision-requests")
        try:
            there, needed = [len(await producer.partitions_for(name)) for name in (self._topic, requests)]
        except KafkaError:
            return ConnectionError("the broker did not name the partitions")
        return _NoPartitionError(
            f"topic {self._topic} has {there} partitions, {requests} has {needed}: requests in the others wait; add "
            f"partitions: kafka-topics --alter --topic {self._topic} --partitions {needed}"
        )

    async def _made(self) -> AIOKafkaProducer:
        producer = clients.producer(self._config, "bowerbird-decide", max_batch_size=BATCH_BYTES, retry_backoff_ms=50)
        await started(producer)
        try:
            await producer.partitions_for(self._topic)
        except BaseException:
            await closed(producer)
            raise
        return producer

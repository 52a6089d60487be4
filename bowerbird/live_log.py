"""The outcomes that a service's Kafka holds now, as replay reads them; nothing of the service is moved."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator

from stream.config import Config
from stream.kafka.log import LogReader, LogRecord

AT_ONCE = 50
"""So many messages are taken from the client between two turns of their reader."""


def live_outcomes(config: Config, progress: Callable[[int, int], None]) -> Iterator[LogRecord]:
    """Yield the messages of ``rewards``, partition after partition, up to where each ended when reading began.

    Parameters
    ----------
    config
        Of the service, which may be running.
    progress
        Called with the number of offsets passed and of all offsets.

    Raises
    ------
    LossDetected
        Retention removes what is being read.
    """
    with asyncio.Runner() as runner:
        messages = _messages(config, progress)
        try:
            while some := runner.run(_some(messages)):
                yield from some
        finally:
            runner.run(messages.aclose())


async def _some(messages: AsyncIterator[LogRecord]) -> list[LogRecord]:
    batch: list[LogRecord] = []
    async for message in messages:
        batch.append(message)
        if len(batch) == AT_ONCE:
            break
    return batch


async def _messages(config: Config, progress: Callable[[int, int], None]) -> AsyncGenerator[LogRecord, None]:
    async with LogReader(config) as reader:
        topic = config.topic("rewards")
        partitions = await reader.partitions_of(topic)
        starts, ends = await reader.beginning(partitions), await reader.ends(partitions)
        total = sum(ends[each] - starts[each] for each in partitions)
        passed = 0
        for each in partitions:
            async for message in reader.read(*each, starts[each], ends[each]):
                yield message
                progress(passed + message.offset - starts[each] + 1, total)
            passed += ends[each] - starts[each]

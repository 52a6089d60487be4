"""Reads a log from its end, in windows that grow."""

from collections.abc import AsyncIterator

from stream.kafka.log import LogReader, LogRecord

FIRST_WINDOW = 1_000
LARGEST_WINDOW = 16_000


async def newest_first(
    reader: LogReader,
    topic: str,
    window: int = FIRST_WINDOW,
    begin: int = 0,
    end: int | None = None,
) -> AsyncIterator[list[LogRecord]]:
    """Yield the records of a topic of one partition in windows, the newest first; each window in the order of the log.

    Parameters
    ----------
    window
        Offsets of the first window; each further one has twice as many, up to :data:`LARGEST_WINDOW`.
    begin
        The first offset that is read.
    end
        The first offset that is not read. Default: where the log ends now.
    """
    where = (topic, 0)
    begins = max(begin, (await reader.beginning([where]))[where])
    stop = (await reader.ends([where]))[where] if end is None else end
    while stop > begins:
        start = max(begins, stop - window)
        yield [record async for record in reader.read(*where, start, stop)]
        stop, window = start, min(2 * window, LARGEST_WINDOW)

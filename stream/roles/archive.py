"""The archive role: decisions, outcomes, versions and dead letters, into Parquet files, each record once.

What the names of the files hold is the truth; Kafka's acknowledged offsets only follow it. A message whose offset a
name covers is skipped; one that lies beyond what was taken before it makes the worker read from the log what
lies between; a file is named only where nobody archived its range meanwhile. So a worker that was killed, lost
its partitions or shares them with its successor for a moment repeats nothing and misses nothing.

A file is closed when the day changes or it is full (``_take``), and when it is old (``_look``). Its life until then is
in ``stream.roles.archive_partition``.
"""

import asyncio
import gc
import logging
import time
from collections.abc import AsyncIterable, Awaitable, Callable, Collection
from functools import partial
from typing import Any

import mode
from aiokafka.errors import KafkaError

from archive.schema import TOPICS
from archive.writer import ArchiveStore
from records.errors import LossDetected, StateRefused, WrongConfiguration, of_disk
from stream import clients, metrics, stopped
from stream.config import Config
from stream.kafka.faust_app import log_time_ms, make_app
from stream.kafka.log import LogReader, LogRecord, identify
from stream.kafka.shorter_logs import ShorterLogs
from stream.retry import REFUSED_PAUSE_S, refused_pause, retry_pause, until_recovered, until_there
from stream.role import ARCHIVE
from stream.roles.archive_partition import ArchivedPartition, beyond, made_anew
from stream.run import PutRight, RoleParts
from stream.shutdown import Opened, closed, ended, started

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.2
ENDS_EVERY_S = 2.0
CLOSE_WITHIN_S = 0.8
PLACE = "archive.url"


def build(config: Config) -> RoleParts:
    """Return the parts of the archive role (see ``stream.run``).

    Raises
    ------
    WrongConfiguration
        It has no place, or one that cannot be used.
    """
    if config.archive.url is None:
        raise WrongConfiguration("archive.url: found none, expected a folder or a URL: the archive role needs it")
    # Rows wait by the ten thousand and hold no cycles: looking for some again and again took a quarter of the time.
    gc.set_threshold(100_000, 50, 100)
    app = make_app(config, ARCHIVE)
    role = Archive(config, app, ArchiveStore(config.archive.url, config.prefix))

    @app.agent(app.topic(*map(config.topic, TOPICS)), name=ARCHIVE)
    async def archive(stream: Any) -> None:
        await role.consume(stream.noack().events())

    return RoleParts([role], app, role.ready, app.pulse, (app.dead, role.dead))


class Archive(mode.Service):
    """Fills the files of the partitions that this worker has, and closes them."""

    def __init__(self, config: Config, app: Any, store: ArchiveStore) -> None:
        super().__init__()
        self._config, self._app, self._store = config, app, store
        self._partitions: dict[tuple[str, int], ArchivedPartition] = {}
        # One thing at a time: a message, or files that are closed by the clock.
        self._lock = asyncio.Lock()
        self._compared = False
        self._looked_at_ends_s = 0.0
        self._shorter = ShorterLogs()
        self._ids: dict[str, str] = {}
        self._looking: list[asyncio.Future[None]] = []
        self._opened = Opened()

    async def on_start(self) -> None:
        """Connect; while the archive is another log's copy, or the broker is away, wait."""
        name = await until_there(ARCHIVE, "starting", self._connect)
        await until_recovered(ARCHIVE, partial(self._compare, name), waits_after=StateRefused, part=ARCHIVE)
        self._compared = True
        self._looking.append(self.add_future(self._look_forever()))

    async def _connect(self) -> str:
        """Return the name of the log."""
        config = self._config
        async with Opened() as opened:
            self._reader = await LogReader(config).__aenter__()
            opened.add(self._reader.close)
            producer = await started(clients.producer(config, "bowerbird-archive"))
            try:
                name = await identify(self._reader, config, producer)
            finally:
                await closed(producer)
            self._opened = opened.kept()
            return name

    async def _compare(self, name: str) -> None:
        """Refuse an archive that is not a copy of the log of that name."""
        while True:
            try:
                await asyncio.to_thread(self._store.belongs_to, name)
                await self._compare_topics()
                return
            except (KafkaError, OSError) as error:
                log.warning("cannot compare the archive with the log now: %r", error)
                await asyncio.sleep(REFUSED_PAUSE_S)

    async def on_stop(self) -> None:
        """Store the files that are open, if that can be done soon; what could not be stored is read again."""
        if any(part.file is not None for part in self._partitions.values()):
            try:
                await self._store_open_files()
            except Exception as error:
                log.warning("what was not stored is read again after the next start: %r", error)
        await ended(*self._looking)
        await self._opened.close()

    async def _store_open_files(self) -> None:
        # Where Kafka does not answer, what holds the lock waits for it, or the comparison does.
        async with asyncio.timeout(CLOSE_WITHIN_S), self._lock:
            await self._compare_topics()
            # All at once, since each is a write that is waited for.
            storing = [part.store_file() for part in self._partitions.values()]
            for result in await asyncio.gather(*storing, return_exceptions=True):
                if isinstance(result, BaseException):
                    raise result

    def ready(self) -> bool:
        """Tell whether this worker has its partitions, and the archive is this log's."""
        return self._compared and bool(self._app.joined)

    def dead(self) -> str | None:
        """Return what has died of the clients, None: nothing has."""
        return None if self.should_stop or not self._compared else self._reader.dead()

    async def consume(self, events: AsyncIterable[Any]) -> None:
        """Take every message in. Nothing escapes: Faust would take it as acknowledged."""
        async for event in events:
            async with self._lock:
                await self._until_done(partial(self._receive, event))

    async def _receive(self, event: Any) -> None:
        record = event.message
        part = await self._partition((record.topic, record.partition))
        if record.offset < part.stored:
            event.ack()
            return
        part.expect(event)
        await self._read(part, record.offset)
        time_ms, headers = log_time_ms(record.timestamp), tuple(record.headers or ())
        place = (record.topic, record.partition, record.offset, time_ms)
        await self._take(part, LogRecord(*place, record.key, record.value, headers))

    async def _partition(self, name: tuple[str, int]) -> ArchivedPartition:
        """Return a partition; a new one begins where the names of its files end."""
        if name in self._partitions:
            return self._partitions[name]
        stored = await asyncio.to_thread(self._store.begin, *name)
        begins = (await self._reader.beginning([name]))[name]
        ends = (await self._reader.ends([name]))[name]
        if stored is not None and stored > ends:
            raise beyond(name, stored, ends, with_log=name[0] == self._config.topic("versions"))
        start = begins if stored is None else stored
        part = ArchivedPartition(name, start, self._config, self._store)
        part.pass_over(begins)
        self._partitions[name] = part
        return part

    async def _read(self, part: ArchivedPartition, end: int) -> None:
        """Take from the log itself what lies before an offset: mostly nothing (markers)."""
        while part.taken < end:
            try:
                async for record in self._reader.read(*part.name, part.taken, end):
                    if not await self._take(part, record):
                        break
                else:
                    part.taken = max(part.taken, end)
            except LossDetected:
                await self._close(part)
                part.pass_over((await self._reader.beginning([part.name]))[part.name])

    async def _take(self, part: ArchivedPartition, record: LogRecord) -> bool:
        """Add a message to the file of its day, and close the file when it is full.

        Returns
        -------
        bool
            False where what was taken has to be read again from ``part.taken`` on.
        """
        if record.offset < part.taken:
            return True
        if part.is_of_another_day(record) and not await self._close(part):
            return False
        await part.add(record)
        return not part.full or await self._close(part)

    async def _close(self, part: ArchivedPartition) -> bool:
        """Store the file, if its topic still is the one that it was begun with."""
        if part.file is not None:
            await self._compare_topics()
        return await part.store_file()

    async def _look_forever(self) -> None:
        while not self.should_stop:
            await asyncio.sleep(LOOK_EVERY_S)
            if self._app.joined:
                async with self._lock:
                    await self._until_done(self._look)
                self._app.pulse.stepped()

    async def _look(self) -> None:
        """Forget what was given away, close what is old, and read what Kafka will not hand out again."""
        assigned = self._app.assigned
        for name in [name for name in self._partitions if name not in assigned]:
            del self._partitions[name]
            metrics.forget_lag(ARCHIVE, self._config.stream_of(name[0]), name[1])
        for name in sorted(assigned):
            part = await self._partition(name)
            if part.taken < part.seen:
                await self._read(part, part.seen)
            if part.old:
                await self._close(part)
        if time.monotonic() - self._looked_at_ends_s >= ENDS_EVERY_S:
            self._looked_at_ends_s = time.monotonic()
            await self._look_at_ends()

    async def _compare_topics(self) -> None:
        """Refuse a topic that is not the one whose copy the archive is: it was deleted and created again."""
        topics = await self._reader.topics([self._config.topic(name) for name in TOPICS])
        ids = {name: topic.id for name, topic in topics.items() if topic.id}
        if any(self._ids.get(name) != topic_id for name, topic_id in ids.items()):
            self._ids = await asyncio.to_thread(self._store.topic_ids, ids)
        for name, topic_id in ids.items():
            if self._ids[name] != topic_id:
                await self._let_go(name, made_anew=topics[name].partitions)
                raise made_anew(name, topic_id, self._ids[name], with_log=name == self._config.topic("versions"))

    async def _let_go(self, topic: str, made_anew: Collection[int] = ()) -> None:
        """Store what was taken of a topic that is gone, and take nothing more of it.

        ``made_anew``: the partitions of the topic that was made in its place. What was taken of that, before anybody
        noticed, is no older than its first message, and is not stored.
        """
        for name, part in [(name, part) for name, part in self._partitions.items() if name[0] == topic]:
            if part.file is not None and name[1] in made_anew and (first := await self._first(name)) is not None:
                await part.keep_before(first.time_ms)
            await part.store_file()
            del self._partitions[name]

    async def _first(self, name: tuple[str, int]) -> LogRecord | None:
        """Return the first message of a partition, None: it has none."""
        begins = (await self._reader.beginning([name]))[name]
        async for record in self._reader.read(*name, begins):
            return record
        return None

    async def _look_at_ends(self) -> None:
        if not await asyncio.to_thread(self._store.has_name):
            # What was taken goes on from what is no longer there.
            self._partitions.clear()
            await self.crash(PutRight("the folder of the archive was emptied: starting anew"))
            return
        await self._compare_topics()
        ends = await self._reader.ends(sorted(self._partitions))
        taken = {name: part.taken for name, part in self._partitions.items()}
        for name in self._shorter.look(taken, ends):
            await self._let_go(name[0])
            raise beyond(name, taken[name], ends[name])
        for name, end in ends.items():
            self._partitions[name].look_at_end(end)
        metrics.broker_answered(ARCHIVE)

    async def _until_done(self, work: Callable[[], Awaitable[None]]) -> None:
        """Try again what cannot be done now; the input is held back meanwhile."""
        attempt, was_refused = 0, False
        while not self.should_stop:
            try:
                await work()
                stopped.go_on(ARCHIVE, PLACE)
                if was_refused:
                    # What was fetched before the archive was put right may be of the topic that is gone.
                    self._partitions.clear()
                    await self.crash(PutRight("the archive can be continued: starting anew"))
                return
            except StateRefused as refused:
                was_refused = True
                await refused_pause(ARCHIVE, ARCHIVE, refused)
            except KafkaError as error:
                metrics.broker_failed(ARCHIVE)
                log.warning("cannot go on now: %r", error)
                await retry_pause(attempt)
            except OSError as error:
                metrics.ARCHIVE_ERRORS.inc()
                log.warning("cannot write into the archive now: %r", error)
                if attempt == stopped.SAID_AFTER and not isinstance(error, ConnectionError | TimeoutError):
                    stopped.stop(ARCHIVE, PLACE, cannot_write(self._config, of_disk(error)))
                await retry_pause(attempt)
            except Exception:
                metrics.UNEXPECTED_ERRORS.labels(ARCHIVE).inc()
                log.exception("cannot go on now")
                if attempt == stopped.SAID_AFTER:
                    stopped.stop(ARCHIVE, PLACE, cannot_write(self._config, "an unexpected error, which its log has"))
                await retry_pause(attempt)
            attempt += 1


def cannot_write(config: Config, why: str) -> StateRefused:
    """Return what to say while files cannot be stored; it is tried again and again."""
    return StateRefused(
        f"archive.url {config.archive.url}",
        why,
        "a place that takes files",
        "see that it has space, and gives its rights to who runs the role, and that `bowerbird check` agrees; the role"
        " then goes on by itself",
    )

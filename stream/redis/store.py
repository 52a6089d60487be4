"""The join's state in Redis: one hash tag a shard, one script call per transaction (``join.lua``)."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.resources import files
from typing import Any, NamedTuple, cast

import msgspec
from redis.asyncio import Redis

from records.errors import StateRefused
from records.position import LogPosition
from rewards.store import (
    DEAD_LETTERS,
    NEEDED,
    PORTION_BYTES,
    ClosedWindow,
    Closing,
    DecisionItem,
    Transaction,
    TransactionResult,
    Unusable,
    WindowFeedback,
    behind,
    not_free,
    other_log,
)
from rewards.watermark import partition_name
from stream import metrics
from stream.kafka.log import Mark
from stream.redis.spoilt import SERVICE_TYPES, TYPES, counts, reading, spoilt, whole

KEYS = tuple(
    "log offsets watermarks entries bodies due feedback waiting closed seq pending hold counted outbox:".split()  # noqa: SIM905
)

HEAD_SCRIPT = """\
local entries, size = {}, 0
while #entries < tonumber(ARGV[1]) and size < tonumber(ARGV[2]) do
  local entry = redis.call('ZRANGE', KEYS[1], #entries, #entries)[1]
  if not entry then break end
  entries[#entries + 1], size = entry, size + #entry
end
return entries
"""
"""Returns the entries at the head of an outbox up to a number and up to a size, at least one of those there are."""
EXPIRED = -2
"""The time to live of a key that is not there, as Redis says it."""
ONE_BUILD = "use one build of Bowerbird on all machines: `bowerbird --version` tells which it is"


def shard_key(prefix: str, shard: int | str, name: str) -> str:
    """Return the key of a part of a shard; a shard's keys share one hash tag.

    >>> shard_key("", 0, "offsets")
    '{join-0}:offsets'
    """
    return f"{{{prefix}join-{shard}}}:{name}"


class ReadOn(NamedTuple):
    """Where an input is read on after a recovery.

    A worker from before the recovery may still acknowledge, when it ends, what it had read, even of a log that no
    longer exists, and the consumer group keeps that.

    Attributes
    ----------
    offset
        The lowest offset that a shard has still to read.
    void_to
        What the group has acknowledged up to here says nothing.
    """

    offset: int
    void_to: int


class RedisStore:
    """See :class:`rewards.store.JoinStore`.

    ``compare`` is awaited with this store whenever the server is another than at the last call (first call,
    restart, failover): it compares the state with the tail of ``rewards`` and raises
    :class:`records.errors.StateRefused` where the server has forgotten.
    """

    def __init__(
        self,
        redis: "Redis",
        prefix: str,
        compare: "Callable[[RedisStore], Awaitable[None]] | None" = None,
    ) -> None:
        self.redis, self.prefix = redis, prefix
        self._compare = compare
        self._compared_run_id = ""
        self._script = redis.register_script(files("stream.redis").joinpath("join.lua").read_text())
        self._head_script = redis.register_script(HEAD_SCRIPT)

    def key(self, shard: int, name: str) -> str:
        """Return the key of a part of a shard."""
        return shard_key(self.prefix, shard, name)

    async def apply(self, shard: int, log: str, transaction: Transaction) -> TransactionResult:
        """See :meth:`rewards.store.JoinStore.apply`."""
        keys = [self.key(shard, name) for name in KEYS]
        arguments = _arguments(log, transaction)
        while True:
            with metrics.JOIN_CALL_SECONDS.time(), reading(self.key(shard, "*")):
                answer = await self._script(keys=keys, args=[self._compared_run_id, transaction.hold, *arguments])
            if answer != [b"unchecked"]:
                with reading(self.key(shard, "*")):
                    return _result(shard, log, transaction, answer)
            await self._check_server()

    async def _check_server(self) -> None:
        run_id = str((await self.redis.info("server"))["run_id"])
        if self._compare is not None:
            await self._compare(self)
        self._compared_run_id = run_id

    async def outboxes(self, shard: int) -> dict[str, int]:
        """See :meth:`rewards.store.JoinStore.outboxes`."""
        return await self._counts(shard, "seq")

    async def pending(self, shard: int) -> dict[str, int]:
        """See :meth:`rewards.store.JoinStore.pending`."""
        return {placement: count for placement, count in (await self._counts(shard, "pending")).items() if count}

    async def _counts(self, shard: int, name: str) -> dict[str, int]:
        key = self.key(shard, name)
        with reading(key):
            return counts(key, await cast("Awaitable[dict[bytes, bytes]]", self.redis.hgetall(key)))

    async def head(
        self, shard: int, outbox: str, limit: int, limit_bytes: int = PORTION_BYTES
    ) -> list[ClosedWindow] | list[Unusable]:
        """See :meth:`rewards.store.JoinStore.head`."""
        key = self.key(shard, f"outbox:{outbox}")
        with reading(key):
            entries = cast("list[bytes]", await self._head_script(keys=[key], args=[limit, limit_bytes]))
            if outbox == DEAD_LETTERS:
                return [_unusable(_netstrings(entry)) for entry in entries]
            return [_window(_netstrings(entry)) for entry in entries]

    async def trim(self, shard: int, outbox: str, seq: int) -> None:
        """See :meth:`rewards.store.JoinStore.trim`."""
        key = self.key(shard, f"outbox:{outbox}")
        with reading(key):
            await self.redis.zremrangebyscore(key, "-inf", seq)

    async def held(self, shard: int) -> str:
        """See :meth:`rewards.store.JoinStore.held`."""
        return await self._text(shard, "hold") or ""

    async def _text(self, shard: int, name: str) -> str | None:
        key = self.key(shard, name)
        with reading(key):
            value = cast("bytes | None", await self.redis.get(key))
        return value.decode("utf-8", "replace") if value is not None else None

    async def need_recovery(self, shard: int) -> None:
        """Hold a shard that has forgotten something, unless it is held already."""
        await self.redis.set(self.key(shard, "hold"), NEEDED, nx=True)

    async def topic_ids(self, now: Mapping[str, str], *, forget: bool = False) -> dict[str, str]:
        """Return the ids under which topics were read first; ``forget``: those of now count from here on."""
        key = shard_key(self.prefix, "s", "topics")
        pipeline: Any = self.redis.pipeline(transaction=True)
        for name, topic_id in now.items():
            (pipeline.hset if forget else pipeline.hsetnx)(key, name, topic_id)
        pipeline.hgetall(key)
        with reading(key):
            return {name.decode(): topic_id.decode() for name, topic_id in (await pipeline.execute())[-1].items()}

    async def mark(self, marks: Mapping[str, Mark]) -> None:
        """Note of inputs, by :func:`rewards.watermark.partition_name`, the last message that was read."""
        if marks:
            encoded = {name: f"{mark.offset} {mark.time_ms}" for name, mark in marks.items()}
            with reading(self._marks):
                await self.redis.hset(self._marks, mapping=cast(Any, encoded))

    async def marks(self) -> dict[str, Mark]:
        """Return what :meth:`mark` has noted."""
        with reading(self._marks):
            marks = await cast("Awaitable[dict[bytes, bytes]]", self.redis.hgetall(self._marks))
            return {name.decode(): Mark(*map(whole, mark.split())) for name, mark in marks.items()}

    async def forget_marks(self) -> None:
        """Forget what :meth:`mark` has noted."""
        await self.redis.unlink(self._marks)

    @property
    def _marks(self) -> str:
        return shard_key(self.prefix, "s", "marks")

    async def void_acknowledgements(self, read_on: Mapping[str, ReadOn]) -> None:
        """Note from where inputs are read on after a recovery."""
        if read_on:
            encoded = {name: f"{each.offset} {each.void_to}" for name, each in read_on.items()}
            await self.redis.hset(self._void, mapping=cast(Any, encoded))

    async def voided(self) -> dict[str, ReadOn]:
        """Return what :meth:`void_acknowledgements` has noted."""
        with reading(self._void):
            stored = await cast("Awaitable[dict[bytes, bytes]]", self.redis.hgetall(self._void))
            return {name.decode(): ReadOn(*map(whole, each.split())) for name, each in stored.items()}

    @property
    def _void(self) -> str:
        return shard_key(self.prefix, "s", "void")

    async def spoilt(self, shards: int) -> dict[str, str]:
        """Return the keys that somebody else has written, each with a sentence on what is wrong."""
        keys = {self.key(shard, name): name for shard in range(shards) for name in TYPES}
        return await spoilt(self.redis, keys | {shard_key(self.prefix, "s", name): name for name in SERVICE_TYPES})

    async def discard_spoilt(self, shards: int) -> list[str]:
        """Throw away what :meth:`spoilt` returns, with a shard's seqs its outboxes, and return the sentences."""
        found = await self.spoilt(shards)
        for shard in range(shards):
            if self.key(shard, "seq") in found:
                # Which there are, only the seqs tell.
                async for outbox in self.redis.scan_iter(match=self.key(shard, "outbox:*"), count=1000):
                    await self.redis.unlink(outbox)
        for key in found:
            await self.redis.unlink(key)
        return list(found.values())

    async def sizes(self, shard: int) -> tuple[int, int, int, int]:
        """Return how many decisions wait: their entries, bodies and deadlines, and how many are counted; all equal."""
        pipeline: Any = self.redis.pipeline(transaction=True)
        pipeline.hlen(self.key(shard, "entries")).hlen(self.key(shard, "bodies"))
        pipeline.zcard(self.key(shard, "due")).hvals(self.key(shard, "pending"))
        with reading(self.key(shard, "*")):
            entries, bodies, due, pending = await pipeline.execute()
            return entries, bodies, due, sum(map(whole, pending))

    async def discard_others(self, shards: int, log: str) -> bool:
        """Throw the state away where it was made from another log, and tell whether it was."""
        others = [shard for shard in range(shards) if await self.log_name(shard) not in (None, log)]
        for shard in others:
            outboxes = [f"outbox:{outbox}" for outbox in await self.outboxes(shard)]
            await self.redis.unlink(*(self.key(shard, name) for name in (*KEYS, *outboxes)))
        if others:
            await self.redis.unlink(*(shard_key(self.prefix, "s", name) for name in SERVICE_TYPES))
        return bool(others)

    async def next_closes(self, shard: int, most: int = 100) -> dict[str, int]:
        """Return when the next window of each placement closes, in log time, among the next ``most`` of a shard."""
        key, entries = self.key(shard, "due"), self.key(shard, "entries")
        with reading(key):
            found = cast("list[tuple[bytes, float]]", await self.redis.zrange(key, 0, most - 1, withscores=True))
            due = {name: int(deadline) for name, deadline in found}
        closes: dict[str, int] = {}
        if due:
            with reading(entries):
                headers = await cast("Awaitable[list[bytes | None]]", self.redis.hmget(entries, list(due)))
                for deadline, header in zip(due.values(), headers, strict=True):
                    if header is not None:  # None: it has closed meanwhile
                        closes.setdefault(str(msgspec.msgpack.decode(header)[1]), deadline)
        return closes

    async def log_name(self, shard: int) -> str | None:
        """Return the name of the log that a shard's state was made from; None: there is no state."""
        return await self._text(shard, "log")

    async def hold(self, shard: int, hold: str) -> None:
        """See :meth:`rewards.store.JoinStore.hold`."""
        if hold:
            await self.redis.set(self.key(shard, "hold"), hold)
        else:
            await self.redis.unlink(self.key(shard, "hold"), self.key(shard, "counted"))

    async def reset(self, shard: int, log: str, hold: str, seqs: Mapping[str, int]) -> None:
        """See :meth:`rewards.store.JoinStore.reset`."""
        await self.hold(shard, hold)
        outboxes = [f"outbox:{outbox}" for outbox in await self.outboxes(shard)]
        kept = {"hold", "outbox:"}
        pipeline: Any = self.redis.pipeline(transaction=True)
        pipeline.unlink(*(self.key(shard, name) for name in (*KEYS, *outboxes) if name not in kept))
        pipeline.set(self.key(shard, "log"), log)
        if seqs:
            pipeline.hset(self.key(shard, "seq"), mapping=dict(seqs))
        await pipeline.execute()

    async def remember(self, shard: int, closings: Sequence[Closing]) -> None:
        """See :meth:`rewards.store.JoinStore.remember`."""
        if not closings:
            return
        pipeline: Any = self.redis.pipeline(transaction=False)
        pipeline.zadd(self.key(shard, "closed"), {each.event_id: each.dedup_until_ms for each in closings})
        pipeline.hset(self.key(shard, "counted"), mapping={each.event_id: each.deadline_ms for each in closings})
        await pipeline.execute()

    async def offsets(self, shard: int) -> dict[str, int]:
        """Return up to where each input is stored in a shard, by :func:`rewards.watermark.partition_name`."""
        return await self._counts(shard, "offsets")

    async def lease(self, shard: int, owner: str, milliseconds: int = 3000) -> bool:
        """Take or keep the advisory lease of a shard's emission, so that not everything is sent twice."""
        if await self.held(shard):
            return False
        key = self.key(shard, "lease")
        if await self.redis.set(key, owner, nx=True, px=milliseconds):
            return True
        if await self._text(shard, "lease") == owner:
            await self.redis.pexpire(key, milliseconds)
            return True
        left_ms = await self.redis.pttl(key)
        if left_ms == EXPIRED or 0 <= left_ms <= milliseconds:
            return False
        # No emitter has written it: such a lease would never end.
        await self.redis.set(key, owner, px=milliseconds)
        return True

    async def watermarks(self, shard: int) -> dict[str, int]:
        """Return the watermark of every input of a shard."""
        return await self._counts(shard, "watermarks")


def _result(shard: int, log: str, transaction: Transaction, answer: Any) -> TransactionResult:
    match answer:
        case [b"held", hold]:
            raise not_free(shard, hold.decode("utf-8", "replace"))
        case [b"other_log", other]:
            raise other_log(shard, other.decode("utf-8", "replace"), log)
        case [b"behind", claim, stored]:
            raise behind(shard, transaction.claims[claim], int(stored) if stored else None)
        case [b"done", watermark, held_by, repeats, late, behind_watermark, more, counts]:
            closed = {name.decode(): count for name, count in zip(counts[::2], counts[1::2], strict=True)}
            return TransactionResult(
                int(watermark), held_by.decode(), closed, repeats, late, behind_watermark, bool(more)
            )
        case _:
            raise StateRefused("join.lua", repr(answer)[:80], "a known answer", ONE_BUILD)


def _arguments(log: str, transaction: Transaction) -> list[str | int | bytes]:
    arguments: list[str | int | bytes] = [
        log,
        transaction.close_limit,
        transaction.feedback_limit,
        transaction.close_bytes,
    ]
    if transaction.inputs is None:
        arguments += ["", 0]
    else:
        names = [partition_name(*partition) for partition in transaction.inputs.partitions]
        arguments += [transaction.inputs.watermark_ms, len(names), *names]
    numbers: dict[tuple[str, int], int] = {}
    arguments.append(len(transaction.claims))
    for number, claim in enumerate(transaction.claims, 1):
        numbers[claim.topic, claim.partition] = number
        watermark = "" if claim.watermark_ms is None else claim.watermark_ms
        name = partition_name(claim.topic, claim.partition)
        arguments += [name, claim.start, claim.end, watermark, int(claim.fresh)]
    for item in transaction.items:
        position = item.position
        head = (numbers[position.topic, position.partition], position.offset, item.event_id, position.key())
        if isinstance(item, DecisionItem):
            close_on = f" {' '.join(item.close_on)} "
            times = (item.opens_ms, item.deadline_ms, item.dedup_until_ms)
            arguments += ["d", *head, item.placement, item.fingerprint, *times, close_on, item.body]
        else:
            arguments += ["f", *head, item.waits_until_ms, item.body]
    return arguments


def _netstrings(packed: bytes) -> list[bytes]:
    parts: list[bytes] = []
    at = 0
    while at < len(packed):
        colon = packed.index(b":", at)
        end = colon + 1 + int(packed[at:colon])
        parts.append(packed[colon + 1 : end])
        at = end
    return parts


def _window(parts: Sequence[bytes]) -> ClosedWindow:
    seq, event_id, deadline, position, rival, body, *feedback = parts
    return ClosedWindow(
        int(seq),
        event_id.decode(),
        int(deadline),
        LogPosition.parse(position.decode()),
        int(rival) if rival else None,
        body,
        tuple(
            WindowFeedback(LogPosition.parse(at.decode()), event)
            for at, event in zip(feedback[::2], feedback[1::2], strict=True)
        ),
    )


def _unusable(parts: Sequence[bytes]) -> Unusable:
    seq, event_id, position, reason, body = parts
    return Unusable(int(seq), event_id.decode(), LogPosition.parse(position.decode()), reason.decode(), body)

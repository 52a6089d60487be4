"""Values in Redis that the join has not written: each is named with its key, and with the command that ends it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from bowerbird import check
from bowerbird.recovery.join_problems import _unreadable
from embedded.servers import EmbeddedRedis
from records.errors import StateRefused
from rewards.store import DEAD_LETTERS
from stream.config import Config, PolicyConfig
from stream.redis.policy_cache import PolicyCache
from stream.redis.spoilt import Unreadable, reading
from stream.redis.store import RedisStore, shard_key
from stream.stopped import REFUSED_KEPT_MS, _keep, kept
from tests.laws.test_store import WINDOW_MS, Reader, decided, happened
from tests.real.loop import until

pytestmark = pytest.mark.real

Ask = Callable[[RedisStore], Awaitable[Any]]
SMALL: list[tuple[str, str, bytes, bytes, Ask]] = [
    ("0", "offsets", b"t-decisions 0", b"abc", lambda store: store.offsets(0)),
    ("0", "offsets", b"t-decisions 0", b"9" * 40, lambda store: store.offsets(0)),
    ("0", "watermarks", b"t-clicks 0", b"1e5", lambda store: store.watermarks(0)),
    ("0", "seq", b"front", b"", lambda store: store.outboxes(0)),
    ("0", "seq", b"\xff\xfe", b"1", lambda store: store.outboxes(0)),
    ("0", "pending", b"front", b"\xff", lambda store: store.pending(0)),
    ("s", "void", b"t-clicks 0", b"x", lambda store: store.voided()),
    ("s", "marks", b"t-clicks 0", b"1", lambda store: store.marks()),
    ("s", "topics", b"t-clicks", b"\xff", lambda store: store.topic_ids({})),
]


@pytest.fixture
async def store(redis_server: EmbeddedRedis, prefix: str) -> AsyncIterator[RedisStore]:
    async with Redis.from_url(redis_server.url) as redis:
        yield RedisStore(redis, prefix)


@pytest.mark.parametrize(("shard", "name", "field", "value", "ask"), SMALL)
async def test_a_value_that_cannot_be_read_is_named_and_thrown_away(
    store: RedisStore, shard: str, name: str, field: bytes, value: bytes, ask: Ask
) -> None:
    reader = Reader(store)
    await reader.apply(decided("a", 0))
    await reader.advance_to(WINDOW_MS)
    assert await store.spoilt(1) == {}
    key = shard_key(store.prefix, shard, name)
    await store.redis.hset(key, field, value)
    with pytest.raises(Unreadable, match=rf"{name} in Redis: found what cannot be read.*`bowerbird recover`"):
        await ask(store)
    assert await store.discard_spoilt(1) == [f"{key} in Redis holds what cannot be read"]
    await ask(store)
    assert await store.spoilt(1) == {}


async def test_the_outboxes_of_a_shard_go_with_its_seqs(store: RedisStore) -> None:
    """Else outcomes of before would leave under seqs that are given again."""
    reader = Reader(store)
    await reader.apply(decided("a", 0), happened("a", WINDOW_MS + 1))
    await reader.advance_to(2 * WINDOW_MS)
    await store.redis.hset(store.key(0, "seq"), "front", "x")
    await store.discard_spoilt(1)
    assert await store.head(0, "front", 9) == await store.head(0, DEAD_LETTERS, 9) == []


async def test_the_number_of_shards_is_a_number(store: RedisStore) -> None:
    await store.redis.set(shard_key(store.prefix, "s", "count"), "many")
    assert len(await store.spoilt(1)) == 1


SPOILS: dict[str, Callable[[RedisStore], Awaitable[Any]]] = {
    "an offset": lambda store: store.redis.hset(store.key(0, "offsets"), "t-decisions 0", "abc"),
    "a the watermark": lambda store: store.redis.hset(store.key(0, "watermarks"), "t-decisions 0", "abc"),
    "a the watermark of another": lambda store: store.redis.hset(store.key(0, "watermarks"), "intruder", "abc"),
    "a seq": lambda store: store.redis.hset(store.key(0, "seq"), "front", "abc"),
    "a count": lambda store: store.redis.hset(store.key(0, "pending"), "front", "abc"),
    "a deadline of nothing": lambda store: store.redis.zadd(store.key(0, "due"), {"nobody": 1}),
    "an entry": lambda store: store.redis.hset(store.key(0, "entries"), "a", b"\xc1"),
    "an entry without its parts": lambda store: store.redis.hset(store.key(0, "entries"), "a", b"\x93"),
    "a body that is gone": lambda store: store.redis.delete(store.key(0, "bodies")),
    "feedback": lambda store: store.redis.zadd(store.key(0, "feedback"), {b"a\0x\0y\0z": 0}),
}


@pytest.mark.parametrize("spoil", SPOILS)
async def test_a_step_that_finds_what_it_cannot_read_says_so(store: RedisStore, spoil: str) -> None:
    reader = Reader(store)
    await reader.apply(decided("a", 0))
    await reader.advance_to(1)
    await SPOILS[spoil](store)

    async def go_on() -> None:
        await reader.apply(decided("b", 1, 1))
        await reader.advance_to(9 * WINDOW_MS)

    with pytest.raises((Unreadable, ResponseError)) as refused:
        await go_on()
    assert isinstance(refused.value, Unreadable)
    assert "found what cannot be read" in str(refused.value)


@pytest.mark.parametrize(
    "said",
    [
        "user_script:31: attempt to index a nil value script: 1, on @user_script:31.",
        "Error running script (call to f_1): @user_script:31: user_script:31: attempt to index a nil value",
    ],
)
def test_each_version_of_redis_says_that_a_script_cannot_read(said: str) -> None:
    with pytest.raises(Unreadable), reading("key"):
        raise ResponseError(said)


def test_other_errors_of_a_script_are_no_unreadable_values() -> None:
    for said in (
        "OOM command not allowed script: 1, on @user_script:31.",
        "Error running script (call to f_1): @user_script: 31: -OOM",
    ):
        with pytest.raises(ResponseError), reading("key"):
            raise ResponseError(said)


ASKED: dict[str, Callable[[RedisStore], Awaitable[Any]]] = {
    "0:log": lambda store: store.log_name(0),
    "0:hold": lambda store: store.held(0),
    "0:lease": lambda store: store.lease(0, "me"),
    "0:offsets": lambda store: store.offsets(0),
    "0:watermarks": lambda store: store.watermarks(0),
    "0:seq": lambda store: store.outboxes(0),
    "0:pending": lambda store: store.pending(0),
    "0:entries": lambda store: store.sizes(0),
    "0:due": lambda store: store.next_closes(0),
    "0:closed": lambda store: Reader(store).apply(decided("a", 0)),
    "0:outbox:front": lambda store: store.head(0, "front", 1),
    "s:topics": lambda store: store.topic_ids({"clicks": "1"}),
    "s:marks": lambda store: store.marks(),
    "s:void": lambda store: store.voided(),
}


@pytest.mark.parametrize("part", ASKED)
async def test_a_key_of_another_type_is_named(store: RedisStore, part: str) -> None:
    shard, _, name = part.partition(":")
    key = shard_key(store.prefix, shard, name)
    await store.redis.lpush(key, "of somebody else")
    with pytest.raises(Unreadable, match=r"found a key of another type.*`bowerbird recover`") as raised:
        await ASKED[part](store)
    assert raised.value.what in (f"{key} in Redis", f"{store.key(0, '*')} in Redis")


async def test_an_watermark_of_an_outbox_that_cannot_be_read_is_named(store: RedisStore) -> None:
    for outbox, entry in (("front", b"nonsense"), ("front", b"1:1,"), ("front", b"9:1"), (DEAD_LETTERS, b"1:1")):
        await store.redis.zadd(store.key(0, f"outbox:{outbox}"), {entry: 1})
        with pytest.raises(Unreadable, match="bowerbird recover"):
            await store.head(0, outbox, 9)
        assert len(await _unreadable(store, 0, ["front", DEAD_LETTERS])) == 1
        await store.trim(0, outbox, 1)


async def test_a_next_deadline_that_cannot_be_read_is_named(store: RedisStore) -> None:
    reader = Reader(store)
    await reader.apply(decided("a", 0))
    await store.redis.hset(store.key(0, "entries"), "a", b"\x93")
    with pytest.raises(Unreadable, match="entries in Redis"):
        await store.next_closes(0)


async def test_what_decide_reads_of_the_join_is_named(store: RedisStore) -> None:
    config = Config(prefix=store.prefix, policies={"front": PolicyConfig()})
    await store.redis.hset(store.key(0, "pending"), "front", "abc")
    with pytest.raises(StateRefused, match="bowerbird recover"):
        await PolicyCache(config, store.redis).ask()


# Leases.


async def test_a_lease_is_kept_and_not_taken_from_another(store: RedisStore) -> None:
    assert await store.lease(0, "me", 60_000)
    assert await store.lease(0, "me", 60_000)
    assert not await store.lease(0, "other", 60_000)


@pytest.mark.parametrize("milliseconds", [None, 3_600_000])
async def test_a_lease_that_no_emitter_can_have_is_taken_over(store: RedisStore, milliseconds: int | None) -> None:
    """Somebody has set the key: it would silence the emitters for good."""
    await store.redis.set(store.key(0, "lease"), "stranger", px=milliseconds)
    assert await store.lease(0, "me")
    assert 0 < await store.redis.pttl(store.key(0, "lease")) <= 3_000
    assert not await store.lease(0, "other")


async def test_another_type_where_stopped_parts_are_kept_hides_nothing(store: RedisStore) -> None:
    config = Config(prefix=store.prefix)
    await store.redis.lpush(f"{{{store.prefix}service}}:stopped", "x")
    assert await kept(store.redis, config) == []
    await _keep(store.redis, config, "join", {"shard 0": "stands still"}, REFUSED_KEPT_MS)
    assert [part.sentence for part in await kept(store.redis, config)] == ["stands still"]


@pytest.mark.parametrize(
    ("command", "undo", "found"),
    [
        ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", "is a replica and takes no writes"),
        (
            "CONFIG SET min-replicas-to-write 1",
            "CONFIG SET min-replicas-to-write 0",
            "refused a command (NOREPLICAS): start",
        ),
        ("ACL SETUSER default -eval -evalsha", "ACL SETUSER default +eval +evalsha", "lets its user not do all"),
        ("ACL SETUSER default -set", "ACL SETUSER default +set", "lets its user not do all"),
        ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", "refused a command (OutOfMemoryError): raise maxmemory"),
    ],
)
async def test_a_redis_that_takes_no_writes_fails_the_check(
    own_redis: Callable[..., EmbeddedRedis], command: str, undo: str, found: str
) -> None:
    server = own_redis(cluster=False)
    async with Redis.from_url(server.url) as redis:
        before = await failing(server)
        await redis.execute_command(*command.split())
        assert (await failing(server))[0].startswith(f"Redis at {address(server)} {found}")
        await redis.execute_command(*undo.split())
        assert await failing(server) == before


async def test_a_redis_that_cannot_write_its_files_fails_the_check(
    own_redis: Callable[..., EmbeddedRedis], tmp_path: Path
) -> None:
    server = own_redis(tmp_path, cluster=False)
    async with Redis.from_url(server.url) as redis:
        await redis.config_set("save", "3600 1")
        (tmp_path / "dump.rdb").mkdir()
        await redis.bgsave()

        async def save_failed() -> bool:
            return bool((await redis.info("persistence"))["rdb_last_bgsave_status"] == "err")

        await until(save_failed)
        sentence = "refused a command (MISCONF): it cannot write its files: see its log, and its disk"
        assert (await failing(server))[0] == f"Redis at {address(server)} {sentence}"


async def test_a_redis_that_works_on_a_long_script_fails_the_check(own_redis: Callable[..., EmbeddedRedis]) -> None:
    server = own_redis(cluster=False)
    async with Redis.from_url(server.url) as redis, Redis.from_url(server.url, socket_timeout=None) as busy:
        await redis.config_set("busy-reply-threshold", 10)
        script: asyncio.Future[Any] = asyncio.ensure_future(busy.eval("while true do end", 0))
        try:
            assert (await until(lambda: failing(server)))[0] == (
                f"Redis at {address(server)} refused a command (BUSY): it works on another call; "
                "try again, and see its log where that lasts"
            )
        finally:
            await redis.script_kill()
            with pytest.raises(ResponseError, match="killed"):
                await script


async def failing(server: EmbeddedRedis) -> list[str]:
    """Return what `bowerbird check` finds wrong with a server."""
    found = [each async for each in check._redis(Config(redis_url=server.url)) if not each.holds]
    return [f"{each.found}: {each.remedy}" for each in found]


def address(server: EmbeddedRedis) -> str:
    return server.url.removeprefix("redis://").partition("/")[0]

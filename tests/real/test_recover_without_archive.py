"""What a recovery does without an archive where the first outcomes are gone, and with a state that no join has left."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from archive.writer import ArchiveStore
from bowerbird.check import findings
from bowerbird.recovery.join import JoinRecovery
from bowerbird.recovery.options import RecoverOptions
from bowerbird.recovery.recover import recover
from bowerbird.status.alarms import alarms
from bowerbird.status.observer import Observer
from bowerbird.verification import verify
from embedded.servers import EmbeddedKafka, EmbeddedRedis
from records.codec import items
from records.errors import LossDetected, StateRefused
from stream.config import ArchiveConfig
from stream.stopped import kept
from tests.real.loop import loop_of, run_named, stop_sentence, until
from tests.real.test_archive import forget
from tests.real.test_recover import NOW_MS, POLICIES, Shop, published, shop_config

pytestmark = pytest.mark.real


SHORT_S = 10.0


@pytest.fixture
def dedup_horizon_s() -> float:
    return 120.0


@pytest.fixture
async def shop(
    kafka: EmbeddedKafka, own_redis: Callable[..., EmbeddedRedis], prefix: str, dedup_horizon_s: float
) -> AsyncIterator[Shop]:
    server = own_redis()
    async with loop_of(replace(shop_config(kafka, server, prefix), dedup_horizon_s=dedup_horizon_s)) as loop:
        yield Shop(loop, server)


async def trade_in_two_parts(shop: Shop) -> None:
    await shop.trade(60)
    await shop.joined(60)
    await until(lambda: published(shop))
    await shop.trade(20)
    await shop.joined(80)


async def keep_the_last_of_each_outbox(shop: Shop) -> None:
    """Remove the first outcomes, as retention does."""
    topic = shop.config.topic("rewards")
    last: dict[tuple[str, int], int] = {}
    async for message in shop.loop.reader.read_since(topic, 0):
        assert message.partition == 0
        for outcome in items(message.value):
            head = msgspec.json.decode(outcome)
            last[head["placement"], head["shard"]] = message.offset
    assert len(last) == len(POLICIES) * shop.config.shards
    assert min(last.values()) > 0
    await forget(shop.loop, "rewards", 0, min(last.values()))


async def forget_all_outcomes(shop: Shop) -> None:
    rewards = (shop.config.topic("rewards"), 0)
    await forget(shop.loop, "rewards", 0, (await shop.loop.reader.ends([rewards]))[rewards])


async def the_horizon_is_over(shop: Shop) -> None:
    """Wait until no outcome of before has to be remembered."""
    await asyncio.sleep(shop.config.early_s + SHORT_S + 1)


@pytest.mark.parametrize("remove", [keep_the_last_of_each_outbox, forget_all_outcomes])
async def test_no_decision_gets_a_second_outcome_where_the_first_was_removed_too_early(
    shop: Shop, remove: Callable[[Shop], Awaitable[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = shop.config
    await trade_in_two_parts(shop)
    await until(lambda: published(shop))
    given = Counter(each["event_id"] for each in await shop.loop.records("rewards"))
    await remove(shop)
    async with Redis.from_url(config.redis_url) as redis:
        await redis.flushall()
    await shop.trade(20)
    with pytest.raises(LossDetected, match=r"rewards without \d+ outcomes, of decisions from .*--accept-loss"):
        await recover(config, NOW_MS)

    async def killed(*_: Any) -> None:
        raise ConnectionError("killed")

    left = Counter(each["event_id"] for each in await shop.loop.records("rewards"))
    with monkeypatch.context() as patched:
        patched.setattr(JoinRecovery, "_feed", killed)
        with pytest.raises(ConnectionError):
            await recover(config, NOW_MS, RecoverOptions(accept_loss=True))
    await recover(config, NOW_MS, RecoverOptions(accept_loss=True))
    await shop.trade(20)

    async def later_ones() -> Counter[str]:
        shop.revive()
        given_now = Counter(each["event_id"] for each in await shop.loop.records("rewards")) - left
        return given_now if {f"e{number}" for number in range(100, 120)} <= set(given_now) else Counter()

    given += await until(later_ones)
    assert given.most_common(1)[0][1] == 1, given.most_common(5)


@pytest.mark.parametrize("dedup_horizon_s", [SHORT_S])
async def test_outcomes_that_are_gone_for_good_hold_up_learning_until_the_loss_is_accepted(
    shop: Shop, tmp_path: Path
) -> None:
    config = shop.config
    await trade_in_two_parts(shop)
    await keep_the_last_of_each_outbox(shop)
    await the_horizon_is_over(shop)
    left = len(await shop.loop.records("rewards"))
    await shop.trade(20)
    await shop.joined(left + 20)
    async with Redis.from_url(config.redis_url) as redis:
        await redis.flushall()
    # The archive is another log's too: that a policy is refused holds up nothing else.
    store = ArchiveStore(str(tmp_path), config.prefix)
    store.belongs_to("another/log")
    shop.config = config = replace(config, archive=ArchiveConfig(url=str(tmp_path)))
    await shop.trade(5)
    with pytest.raises(StateRefused, match="policy rebuild front --archive DIR`; where there is none, `") as refused:
        await recover(config, NOW_MS)
    assert store.other_log("another/log") is None
    assert list(tmp_path.rglob("_former"))
    said = await run_named(config, str(refused.value).partition("where there is none")[2], "--yes")
    assert "gone for good: what was learned from outcomes that are no longer there: the log from offset" in said
    async with Redis.from_url(config.redis_url) as redis:
        await redis.delete(f"{{{config.prefix}policy-front}}:position")
    done = await recover(config, NOW_MS, RecoverOptions(accept_loss=True))
    assert ["comes first" in done.rebuilt[policy].gone for policy in POLICIES] == [True, True]
    await shop.trade(40)

    async def learned() -> bool:
        shop.revive()
        verdicts = [await verify(config, policy) for policy in POLICIES]
        return all(not verdict.waiting and verdict.learned for verdict in verdicts)

    await until(learned)
    for policy in POLICIES:
        verdict = await verify(config, policy)
        assert (verdict.missing, verdict.doubled, verdict.wrong) == (0, 0, 0), verdict
        assert "live" not in verdict.found, verdict


async def test_a_log_that_has_lost_its_identity_and_its_first_outcomes_is_gone_on_with(shop: Shop) -> None:
    config = shop.config
    await trade_in_two_parts(shop)
    await keep_the_last_of_each_outbox(shop)
    versions = (config.topic("versions"), 0)
    await forget(shop.loop, "versions", 0, (await shop.loop.reader.ends([versions]))[versions])
    await shop.trade(60)
    await shop.joined(60)
    await until(lambda: published(shop))
    for role in (*shop.joins, shop.learner):
        role.stop()
        role.start()
    await stop_sentence(config, "join", "--discard-other-log")
    with pytest.raises(StateRefused, match="--accept-loss"):
        await recover(config, NOW_MS, RecoverOptions(discard_other_log=True))
    done = await recover(config, NOW_MS, RecoverOptions(discard_other_log=True, accept_loss=True))
    assert set(done.rebuilt) == set(POLICIES)
    await shop.trade(40)

    async def learned() -> bool:
        shop.revive()
        verdicts = [await verify(config, policy) for policy in POLICIES]
        return all(not verdict.waiting and verdict.learned > 0 for verdict in verdicts)

    await until(learned)


@pytest.mark.parametrize("dedup_horizon_s", [SHORT_S])
async def test_a_policy_of_whose_outcomes_none_is_left_does_not_begin_anew_unasked(shop: Shop) -> None:
    config = shop.config
    await trade_in_two_parts(shop)
    await forget_all_outcomes(shop)
    await the_horizon_is_over(shop)
    async with Redis.from_url(config.redis_url) as redis:
        await redis.flushall()
    versions = len(await shop.loop.records("versions"))
    with pytest.raises(StateRefused, match="without an outcome of the policy"):
        await recover(config, NOW_MS)
    assert len(await shop.loop.records("versions")) == versions


async def test_a_recovery_that_retention_overtakes_says_so(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    config, clicks = shop.config, (shop.config.topic("clicks"), 0)
    await trade_in_two_parts(shop)
    async with Redis.from_url(config.redis_url) as redis:
        await redis.flushall()
    await shop.trade(40)
    feed = JoinRecovery._feed

    async def overtaken(recovery: JoinRecovery, *arguments: Any) -> None:
        ends = await shop.loop.reader.ends([clicks])
        await forget(shop.loop, "clicks", 0, ends[clicks] - 1)
        await feed(recovery, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(JoinRecovery, "_feed", overtaken)
        with pytest.raises(LossDetected, match=r"clicks\[0\]: found the log's start .* run the command again"):
            await recover(config, NOW_MS)
    with pytest.raises(LossDetected, match="--accept-loss"):
        await recover(config, NOW_MS)


async def test_a_state_that_no_join_has_left_is_found_and_computed_again(shop: Shop) -> None:
    """Watermarks in the future close windows at once, and deadlines that are no times never close."""
    config = shop.config
    await shop.trade(10)
    await shop.joined(10)
    keys = [f"{{{config.prefix}join-{shard}}}" for shard in range(config.shards)]
    async with Redis.from_url(config.redis_url) as redis, Observer(config) as observer:
        for key in keys:
            await redis.zadd(f"{key}:due", {b"e-nobody": float("inf")})

        async def unreadable() -> bool:
            # Where decisions wait.
            await shop.trade(5)
            return any("what cannot be read" in each for each in alarms(config, await observer.look()))

        await until(unreadable)
        await shop.joined(shop.count)
        for key in keys:
            ahead = str(time.time_ns() // 1_000_000 + 10**9)
            await redis.hset(f"{key}:watermarks", mapping=dict.fromkeys(await redis.hkeys(f"{key}:watermarks"), ahead))
    found = [each.found for each in [each async for each in findings(config)] if not each.holds]
    assert sum("ahead of this machine's clock" in each for each in found) == config.shards, found
    assert sum("a deadline that no window can have" in each for each in found) == config.shards, found
    await recover(config, NOW_MS)
    await asyncio.sleep(1)
    await shop.trade(10)
    await shop.all_is_right()


async def test_a_count_of_windows_that_somebody_has_changed_is_found_and_computed_again(shop: Shop) -> None:
    """Requests are refused where it is too high."""
    config = shop.config
    await shop.trade(10)
    await shop.joined(10)
    async with Redis.from_url(config.redis_url) as redis:
        await redis.hset(f"{{{config.prefix}join-0}}:pending", "front", 99_999_999)
        found = [each.found for each in [each async for each in findings(config)] if not each.holds]
        assert any("99999999 are counted" in each for each in found), found
        await recover(config, NOW_MS)
        assert await redis.hget(f"{{{config.prefix}join-0}}:pending", "front") in (None, b"0")
    await shop.trade(10)
    await shop.all_is_right()


async def test_a_status_is_given_where_an_input_that_is_gone_holds_the_windows(shop: Shop) -> None:
    async with Redis.from_url(shop.config.redis_url) as redis, Observer(shop.config) as observer:
        await shop.trade(1)
        await shop.joined(1)
        await redis.hset(f"{{{shop.config.prefix}join-0}}:watermarks", "nobody 0", 1)
        status = await observer.look()
        assert [each.held_by for each in status.watermarks if each.shard == 0] == ["nobody 0"]


async def test_a_join_whose_redis_refuses_its_script_says_so_and_goes_on(shop: Shop) -> None:
    config = shop.config
    await shop.trade(5)
    await shop.joined(5)
    async with Redis.from_url(config.redis_url) as redis:
        await redis.execute_command("ACL", "SETUSER", "default", "-eval", "-evalsha")
        await shop.trade(5)
        sentence = await stop_sentence(config, "join", "Redis refuses it (NoPermissionError)")
        said = await run_named(config, sentence, code=1)
        assert "allow +@all" in said, said
        await redis.execute_command("ACL", "SETUSER", "default", "+eval", "+evalsha")

        async def over() -> bool:
            return not await kept(redis, config)

        await until(over)
    await shop.all_is_right()


async def test_outcomes_that_redis_has_forgotten_are_made_again_before_later_ones_leave(shop: Shop) -> None:
    """Somebody has deleted an outbox, or has set a seq forward: nothing leaves with a hole before it."""
    config = shop.config
    await shop.trade(10)
    await shop.joined(10)
    async with Redis.from_url(config.redis_url) as redis:
        for shard in range(config.shards):
            await redis.hincrby(f"{{{config.prefix}join-{shard}}}:seq", "front", 5)
    await shop.trade(10)
    sentence = await stop_sentence(config, "join", "forgotten")
    await run_named(config, sentence)
    await shop.trade(10)
    await shop.all_is_right()

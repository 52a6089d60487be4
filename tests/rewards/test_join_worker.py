"""What a join worker reads becomes transactions: work, claims, the hold line, and what is refused at the door."""

import json
from typing import Any
from zlib import crc32

import pytest

from rewards.join_items import NO_RECORD, Input, InputMessage, JoinSettings
from rewards.join_worker import FUTURE_MS, Fetched, JoinWorker, Work
from rewards.memory_store import MemoryStore
from rewards.store import PORTION_BYTES, Claim, DecisionItem, FeedbackItem, Transaction
from rewards.watermark import hold_line, input_watermark, shard_watermark

START_MS = 1_700_000_000_000
GRACE_MS = 50
CLICKS: Input = ("t-clicks", 0)
DECISIONS: Input = ("t-decisions", 0)


def join_worker(shards: int = 1, portion_items: int = 200) -> JoinWorker:
    settings = JoinSettings(
        decisions="t-decisions",
        prefix="t-",
        shards=shards,
        shard_of=lambda event_id: crc32(event_id.encode()) % shards,
        early_s=0.2,
        close_grace_ms=GRACE_MS,
        dedup_horizon_s=2.0,
        portion_items=portion_items,
    )
    return JoinWorker(settings)


def take(worker: JoinWorker, line_ms: int) -> Work | None:
    """Return the next work where messages up to a log time may be applied."""
    worker.watermark_ms = dict.fromkeys(worker.watermark_ms, line_ms - 1_000)
    return worker.next()


def click(event_id: str = "a", **fields: Any) -> dict[str, Any]:
    return {"v": 1, "event_id": event_id} | fields


def decided(event_id: str = "a", **fields: Any) -> dict[str, Any]:
    return {
        "v": 1,
        "event_id": event_id,
        "placement": "front",
        "policy": "front",
        "actions": [{"id": "x"}],
        "pmf": [1.0],
        "chosen": "x",
        "propensity": 1.0,
        "policy_version": "1-00000000",
        "rule": {"window_s": 0.5, "early_s": 0.2, "reward": {"close_on": ["clicks"]}},
    } | fields


def message(name: Input, offset: int, at_ms: int, body: Any) -> InputMessage:
    value = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    return InputMessage(*name, offset, START_MS + at_ms, value)


def claims_of(transaction: Transaction) -> dict[Input, Claim]:
    return {(claim.topic, claim.partition): claim for claim in transaction.claims}


def test_a_work_says_from_where_to_where_and_keeps_the_grace() -> None:
    worker = join_worker()
    worker.assign(*CLICKS, start=4, fresh=True)
    assert worker.offer(message(CLICKS, 6, 10, click()))
    assert worker.offer(message(CLICKS, 9, 20, [click("b"), click("c")]))
    work = take(worker, START_MS + 100)
    assert work is not None
    (part,) = work.parts
    assert part[0].claims == [Claim(*CLICKS, 4, 10, START_MS + 20 - GRACE_MS, True)]
    assert [(item.event_id, item.position.offset, item.position.index) for item in part[0].items] == [
        ("a", 6, 0),
        ("b", 9, 0),
        ("c", 9, 1),
    ]
    worker.done(work)
    assert worker.applied_to(*CLICKS) == 10
    assert take(worker, START_MS + 100) is None


def test_what_is_dated_far_beyond_the_clock_is_rejected_and_holds_nothing_up() -> None:
    """The producer of a topic that is not set to LogAppendTime may date a record as it likes."""
    worker = join_worker()
    worker.assign(*CLICKS, start=0, fresh=True)
    worker.offer(message(CLICKS, 0, FUTURE_MS + 2, click("future")))
    worker.offer(message(CLICKS, 1, 5, click()))
    # No tick yet: whether it is the future is not known.
    worker.watermark_ms = {0: START_MS}
    assert worker.next() is None
    tick = worker.tick(START_MS + 1, {CLICKS: 2}, {CLICKS: Fetched(2, 2)}, None)
    assert tick.parts[0][0].claims == [Claim(*CLICKS, 0, 0, None, True)], "what waits behind it may be older"
    work = worker.next()
    assert work is not None
    assert [(one.message.offset, one.error.code) for one in work.rejected] == [(0, "future_time")]
    ((transaction,),) = (part.values() for part in work.parts)
    assert [item.event_id for item in transaction.items] == ["a"]
    assert transaction.claims == [Claim(*CLICKS, 0, 2, input_watermark(START_MS + 5, GRACE_MS), True)]
    worker.done(work)
    # Alone it moves the offset, and says nothing of the time.
    worker.offer(message(CLICKS, 2, FUTURE_MS + 2, click("future")))
    work = worker.next()
    assert work is not None
    assert work.parts[0][0].claims == [Claim(*CLICKS, 2, 3, None, False)]
    # An hour is not too far.
    worker.done(work)
    worker.offer(message(CLICKS, 3, FUTURE_MS + 1, click()))
    work = take(worker, START_MS + FUTURE_MS + 1)
    assert work is not None
    assert work.rejected == []


async def test_grace_a_record_of_a_slower_clock_still_counts() -> None:
    """A decision's window ends at 500; at 530 another leader, 40 ms behind, appends what happened at 490."""
    store, worker = MemoryStore(), join_worker()
    for name in (CLICKS, DECISIONS):
        worker.assign(*name, start=0, fresh=True)
    worker.offer(message(DECISIONS, 0, 0, decided(rule={"window_s": 0.5})))

    async def apply() -> None:
        work = take(worker, START_MS + 1000)
        assert work is not None
        for part in work.parts:
            for shard, transaction in part.items():
                await store.apply(shard, "log", transaction)
        worker.done(work)

    async def tick(at_ms: int) -> None:
        ends = {CLICKS: worker.applied_to(*CLICKS) or 0, DECISIONS: 1}
        fetched = {name: Fetched(end, end) for name, end in ends.items()}
        work = worker.tick(START_MS + at_ms, ends, fetched, [CLICKS, DECISIONS])
        for shard, transaction in work.parts[0].items():
            await store.apply(shard, "log", transaction)

    await apply()
    await tick(530)
    worker.offer(message(CLICKS, 0, 490, click()))
    await apply()
    await tick(600)
    (frozen,) = await store.head(0, "front", 9)
    assert len(frozen.feedback) == 1  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("fetched", "end", "claims_the_tick"),
    [
        (Fetched(3, 3), 3, True),
        (Fetched(5, 3), 5, True),
        (Fetched(3, 3), 5, False),
        (Fetched(5, 5), 5, False),
        (Fetched(5, 4), 5, False),
        (Fetched(9, 9), 5, False),
        (Fetched(3, -1), 3, True),
        (None, 3, False),
    ],
)
def test_an_idle_tick_is_claimed_only_where_nothing_fetched_waits(
    fetched: Fetched | None, end: int, claims_the_tick: bool
) -> None:
    worker = join_worker(shards=2)
    worker.assign(*CLICKS, start=3, fresh=False)
    (transactions,) = worker.tick(START_MS, {CLICKS: end}, {CLICKS: fetched} if fetched else {}, None).parts
    assert set(transactions) == {0, 1}
    claimed_ms = START_MS - GRACE_MS if claims_the_tick else None
    # What no message comes of are markers of transactions: they count as read.
    end_offset = end if claims_the_tick else 3
    assert [transaction.claims for transaction in transactions.values()] == [
        [Claim(*CLICKS, 3, end_offset, claimed_ms)]
    ] * 2


def test_what_waits_is_claimed_up_to_its_own_time() -> None:
    worker = join_worker()
    worker.assign(*CLICKS, start=0, fresh=True)
    worker.offer(message(CLICKS, 0, 300, click()))
    assert take(worker, START_MS + 299) is None
    tick = worker.tick(START_MS + 900, {CLICKS: 1}, {CLICKS: Fetched(1, 1)}, None)
    (transaction,) = tick.parts[0].values()
    assert transaction.claims == [Claim(*CLICKS, 0, 0, START_MS + 300 - GRACE_MS, True)]
    worker.done(tick)
    assert take(worker, START_MS + 300) is not None


def test_no_partition_runs_ahead_of_the_others_by_more_than_half_the_memory() -> None:
    worker = join_worker(shards=2)
    worker.assign(*CLICKS, start=0, fresh=True)
    worker.offer(message(CLICKS, 0, 1_000, click()))
    worker.watermark_ms = {0: START_MS + 7, 1: START_MS - 1}
    assert worker.next() is None
    worker.watermark_ms[1] = START_MS
    assert worker.next() is not None
    assert hold_line([START_MS + 7, START_MS], 2_000) == START_MS + 1_000
    assert shard_watermark({"*": 9, "a 0": 4, "b 0": 4}) == (4, "a 0")
    assert input_watermark(20, 50) == 0


def test_an_array_that_needs_several_calls_moves_the_offset_with_the_last() -> None:
    worker = join_worker(shards=2, portion_items=2)
    worker.assign(*CLICKS, start=0, fresh=True)
    worker.offer(message(CLICKS, 0, 0, [click(f"e{number}") for number in range(5)]))
    work = take(worker, START_MS)
    assert work is not None
    assert len(work.parts) == 3
    for number, part in enumerate(work.parts):
        assert set(part) == {0, 1}, "every batch calls every shard"
        assert sum(len(transaction.items) for transaction in part.values()) == (2, 2, 1)[number]
        for transaction in part.values():
            claim = claims_of(transaction)[CLICKS]
            assert (claim.start, claim.end) == (0, int(number == 2))
            assert (claim.watermark_ms is None) == (number < 2)


def test_what_is_applied_together_is_bounded_in_bytes() -> None:
    worker = join_worker()
    worker.assign(*CLICKS, start=0, fresh=True)
    for offset in range(3):
        worker.offer(message(CLICKS, offset, 0, b" " * (PORTION_BYTES // 2)))
    work = take(worker, START_MS)
    assert work is not None
    assert [each.offset for each in work.messages] == [0, 1]


def test_nothing_is_taken_in_that_was_applied_or_given_away() -> None:
    worker = join_worker()
    assert not worker.offer(message(CLICKS, 0, 0, click()))
    worker.assign(*CLICKS, start=5, fresh=False)
    assert not worker.offer(message(CLICKS, 4, 0, click()))
    assert worker.offer(message(CLICKS, 5, 0, click()))
    assert not worker.offer(message(CLICKS, 5, 0, click()))
    work = take(worker, START_MS)
    assert work is not None
    worker.revoke(*CLICKS)
    worker.done(work)
    assert worker.applied_to(*CLICKS) is None
    assert take(worker, START_MS) is None


def test_a_work_of_a_former_assignment_moves_nothing_of_the_next() -> None:
    worker = join_worker()
    worker.assign(*CLICKS, start=3, fresh=False)
    worker.offer(message(CLICKS, 3, 0, click()))
    work = take(worker, START_MS)
    assert work is not None
    worker.revoke(*CLICKS)
    worker.assign(*CLICKS, start=0, fresh=True)
    worker.offer(message(CLICKS, 0, 0, click()))
    worker.done(work)
    assert worker.applied_to(*CLICKS) == 0


@pytest.mark.parametrize(
    ("name", "body", "code"),
    [
        (CLICKS, None, "tombstone"),
        (CLICKS, b"\xff", "not_utf8"),
        (CLICKS, b"nonsense", "not_json"),
        (CLICKS, b"[1", "not_json"),
        (CLICKS, {"v": 1}, "invalid_field"),
        (CLICKS, click("x" * 200), "bad_event_id"),
        (DECISIONS, click(), "invalid_field"),
        (DECISIONS, decided(rule={"window_s": 1.5}), "window_too_long"),
        (DECISIONS, decided(propensity=0), "invalid_field"),
    ],
)
def test_what_cannot_be_used_is_rejected_and_passed(name: Input, body: Any, code: str) -> None:
    worker = join_worker()
    worker.assign(*name, start=0, fresh=True)
    worker.offer(message(name, 0, 0, body))
    worker.offer(message(name, 1, 0, decided() if name == DECISIONS else click()))
    work = take(worker, START_MS)
    assert work is not None
    (rejected,) = work.rejected
    assert (rejected.error.code, rejected.message.offset) == (code, 0)
    ((transaction,),) = (part.values() for part in work.parts)
    assert len(transaction.items) == 1
    assert claims_of(transaction)[name].end == 2


def test_of_an_array_only_what_is_bad_is_rejected_with_its_index() -> None:
    worker = join_worker()
    worker.assign(*CLICKS, start=0, fresh=True)
    worker.offer(message(CLICKS, 0, 0, [click("a"), 3, click("b"), {"v": 1}]))
    work = take(worker, START_MS)
    assert work is not None
    assert [(each.item, each.value) for each in work.rejected] == [(1, b"3"), (3, b'{"v": 1}')]
    assert [item.event_id for item in work.parts[0][0].items] == ["a", "b"]


def test_a_decision_carries_its_own_window_and_closing_streams() -> None:
    worker = join_worker()
    worker.assign(*DECISIONS, start=0, fresh=True)
    worker.assign(*CLICKS, start=0, fresh=True)
    worker.offer(message(DECISIONS, 0, 1000, decided()))
    worker.offer(message(CLICKS, 0, 1000, click()))
    work = take(worker, START_MS + 1000)
    assert work is not None
    first, second = sorted(work.parts[0][0].items, key=lambda item: item.position.topic)
    assert isinstance(second, DecisionItem)
    assert isinstance(first, FeedbackItem)
    assert (second.opens_ms, second.deadline_ms, second.dedup_until_ms) == (
        START_MS + 800,
        START_MS + 1500,
        START_MS + 3000,
    )
    assert second.close_on == ("t-clicks",)
    assert first.waits_until_ms == START_MS + 1200


def test_a_work_is_bounded_by_its_items_whether_or_not_they_can_be_used() -> None:
    worker = join_worker(portion_items=10)
    worker.assign(*CLICKS, start=0, fresh=True)
    for offset in range(8):
        worker.offer(message(CLICKS, offset, offset, [0] * 5))
    work = take(worker, START_MS + 100)
    assert work is not None
    assert (len(work.messages), len(work.rejected)) == (2, 10)


def test_an_array_of_more_items_than_a_message_may_have_is_one_rejection() -> None:
    worker = join_worker()
    worker.assign(*CLICKS, start=0, fresh=True)
    worker.offer(message(CLICKS, 0, 0, b"[" + b",".join([b"0"] * 450_000) + b"]"))
    work = take(worker, START_MS + 100)
    assert work is not None
    assert [(rejected.error.code, rejected.item) for rejected in work.rejected] == [("too_many_items", -1)]
    assert "an array of 450000 in 900001 bytes" in str(work.rejected[0].error)


def test_of_a_long_array_what_is_shorter_than_any_record_is_rejected_and_the_rest_is_taken() -> None:
    worker = join_worker()
    worker.assign(*CLICKS, start=0, fresh=True)
    worker.offer(message(CLICKS, 0, 0, [0] * 50 + [{"event_id": "a"}]))
    work = take(worker, START_MS + 100)
    assert work is not None
    assert [rejected.item for rejected in work.rejected] == list(range(50))
    assert {rejected.error for rejected in work.rejected} == {NO_RECORD}
    assert [item.event_id for part in work.parts for item in part[0].items] == ["a"]

"""Laws of the join's store, each naming the mechanism that it protects; they hold for every store.

``StoreLaws`` runs here over the store in memory, and under ``tests/real`` over the script in Redis. All times are
log times of the past: a store that asked a wall clock would close everything at once.
"""

import pytest

from records.errors import LossDetected, StateRefused
from records.position import LogPosition
from rewards.memory_store import MemoryStore
from rewards.store import (
    DEAD_LETTERS,
    NEEDED,
    PORTION_BYTES,
    Claim,
    ClosedWindow,
    Closing,
    DecisionItem,
    FeedbackItem,
    Inputs,
    JoinStore,
    Transaction,
    TransactionResult,
    Unusable,
)

START_MS = 1_700_000_000_000
WINDOW_MS = 500
EARLY_MS = 200
TTL_MS = 2_000
DECISIONS, CLICKS, VIEWS = "t-decisions", "t-clicks", "t-views"
INPUTS = tuple((topic, partition) for topic in (DECISIONS, CLICKS, VIEWS) for partition in range(3))


def decided(
    event_id: str,
    at_ms: int,
    offset: int = 0,
    partition: int = 0,
    *,
    placement: str = "front",
    fingerprint: str = "same",
    window_ms: int = WINDOW_MS,
    close_on: tuple[str, ...] = (),
    body: bytes = b"{}",
) -> DecisionItem:
    """Return a decision whose times count from the start of these logs."""
    time_ms = START_MS + at_ms
    return DecisionItem(
        LogPosition(time_ms, DECISIONS, partition, offset, 0),
        event_id,
        placement,
        fingerprint,
        time_ms - EARLY_MS,
        time_ms + window_ms,
        time_ms + TTL_MS,
        close_on,
        body,
    )


def happened(
    event_id: str,
    at_ms: int,
    offset: int = 0,
    partition: int = 0,
    *,
    topic: str = CLICKS,
    index: int = 0,
    body: bytes = b"{}",
) -> FeedbackItem:
    """Return a feedback."""
    time_ms = START_MS + at_ms
    return FeedbackItem(LogPosition(time_ms, topic, partition, offset, index), event_id, time_ms + EARLY_MS, body)


class Reader:
    """One worker that reads everything: it knows where it stands, and says so in every call."""

    def __init__(self, store: JoinStore) -> None:
        self.store = store
        self.next: dict[tuple[str, int], int] = {}

    async def apply(
        self,
        *items: DecisionItem | FeedbackItem,
        close_limit: int = 500,
        feedback_limit: int = 1000,
        close_bytes: int = PORTION_BYTES,
    ) -> TransactionResult:
        """Apply items that follow each other in their partitions."""
        claims: dict[tuple[str, int], Claim] = {}
        for item in items:
            name = item.position.topic, item.position.partition
            start = self.next.get(name, 0)
            claims[name] = Claim(*name, start, max(start, item.position.offset + 1), None, name not in self.next)
        for name, claim in claims.items():
            self.next[name] = claim.end
        transaction = Transaction(list(claims.values()), items, None, close_limit, feedback_limit, "", close_bytes)
        return await self.store.apply(0, "log", transaction)

    async def advance_to(
        self,
        at_ms: int,
        inputs: tuple[tuple[str, int], ...] = INPUTS,
        close_limit: int = 500,
        but: tuple[str, int] | None = None,
        close_bytes: int = PORTION_BYTES,
        feedback_limit: int = 1000,
    ) -> TransactionResult:
        """Claim that all inputs (``but`` one) were read to a time, as an idle tick does."""
        claims = []
        for name in inputs:
            if name != but:
                start = self.next.setdefault(name, 0)
                claims.append(Claim(*name, start, start, START_MS + at_ms, True))
        inputs_read = Inputs(inputs, START_MS + at_ms)
        transaction = Transaction(claims, (), inputs_read, close_limit, feedback_limit, close_bytes=close_bytes)
        return await self.store.apply(0, "log", transaction)

    async def closed(self, placement: str = "front") -> list[ClosedWindow]:
        """Return what the outbox of a placement holds."""
        if placement not in await self.store.outboxes(0):
            return []
        return [entry for entry in await self.store.head(0, placement, 1000) if isinstance(entry, ClosedWindow)]

    async def unused(self) -> list[tuple[str, int, str]]:
        """Return event id, time and reason of the feedback that no window took."""
        if DEAD_LETTERS not in await self.store.outboxes(0):
            return []
        letters = await self.store.head(0, DEAD_LETTERS, 1000)
        return [
            (letter.event_id, letter.position.time_ms - START_MS, letter.reason)
            for letter in letters
            if isinstance(letter, Unusable)
        ]


def times(window: ClosedWindow) -> list[int]:
    """Return when the feedback of a closed window happened."""
    return [kept.position.time_ms - START_MS for kept in window.feedback]


class StoreLaws:
    """What holds for every store; who inherits gives the fixture ``store``."""

    @pytest.fixture
    def reader(self, store: JoinStore) -> Reader:
        return Reader(store)

    # Offsets go with the state.

    async def test_offsets_what_was_applied_is_skipped_even_when_its_event_id_is_forgotten(
        self, reader: Reader
    ) -> None:
        await reader.apply(decided("a", 0))
        await reader.advance_to(TTL_MS + 1)
        await reader.advance_to(9 * TTL_MS)
        zombie = Transaction([Claim(DECISIONS, 0, 0, 1)], [decided("a", 0)])
        assert (await reader.store.apply(0, "log", zombie)).repeats == 1
        await reader.advance_to(10 * TTL_MS)
        assert [window.seq for window in await reader.closed()] == [1]

    async def test_offsets_a_state_that_lies_behind_the_worker_is_refused_and_nothing_is_applied(
        self, reader: Reader
    ) -> None:
        await reader.apply(decided("a", 0, offset=0))
        ahead = Transaction(
            [Claim(CLICKS, 0, 0, 1, None, True), Claim(DECISIONS, 0, 5, 6)], [decided("b", 0, offset=5)]
        )
        with pytest.raises(LossDetected, match="t-decisions partition 0"):
            await reader.store.apply(0, "log", ahead)
        assert await reader.store.pending(0) == {"front": 1}
        await reader.store.hold(0, "")
        with pytest.raises(LossDetected):
            await reader.store.apply(0, "log", Transaction([Claim(CLICKS, 0, 1, 1)]))
        await reader.store.hold(0, "")
        await reader.apply(decided("b", 0, offset=1))
        assert await reader.store.pending(0) == {"front": 2}

    async def test_offsets_a_shard_that_has_lost_something_is_stepped_by_nobody(self, reader: Reader) -> None:
        await reader.apply(decided("a", 0, offset=0))
        with pytest.raises(LossDetected, match="offset 1"):
            await reader.store.apply(0, "log", Transaction([Claim(DECISIONS, 0, 5, 6)]))
        with pytest.raises(LossDetected, match="bowerbird recover"):
            await reader.apply(decided("b", 0, offset=1))
        assert await reader.store.held(0) == NEEDED
        assert await reader.store.pending(0) == {"front": 1}

    async def test_recovery_only_who_holds_a_shard_steps_it(self, reader: Reader) -> None:
        await reader.apply(decided("a", 0))
        await reader.store.reset(0, "log", "mine", {"front": 7})
        for hold in ("", "theirs"):
            with pytest.raises(StateRefused, match="recovery"):
                await reader.store.apply(0, "log", Transaction([Claim(DECISIONS, 0, 0, 1, None, True)], hold=hold))
        await reader.store.apply(
            0, "log", Transaction([Claim(DECISIONS, 0, 0, 1, None, True)], [decided("b", 0)], hold="mine")
        )
        await reader.store.hold(0, "")
        with pytest.raises(StateRefused, match="found no recovery"):
            await reader.store.apply(0, "log", Transaction(hold="mine"))
        assert await reader.store.pending(0) == {"front": 1}
        await reader.advance_to(WINDOW_MS + 1)
        assert [window.seq for window in await reader.closed()] == [8]

    async def test_recovery_what_an_outcome_has_counted_is_no_late_feedback(self, reader: Reader) -> None:
        await reader.store.reset(0, "log", "mine", {})
        await reader.store.remember(0, [Closing("a", START_MS + TTL_MS, START_MS + 10)])
        transaction = Transaction(
            [Claim(CLICKS, 0, 0, 3, None, True)],
            [happened("a", 10, offset=0), happened("a", 11, offset=1), happened("b", 11, offset=2)],
            hold="mine",
        )
        assert (await reader.store.apply(0, "log", transaction)).late == 1
        await reader.store.hold(0, "")
        assert await reader.unused() == [("a", 11, "late")]
        late = Transaction([Claim(CLICKS, 0, 3, 4)], [happened("a", 10, offset=3)])
        assert (await reader.store.apply(0, "log", late)).late == 1

    async def test_offsets_a_state_that_knows_nothing_takes_only_who_began_at_the_start(self, reader: Reader) -> None:
        with pytest.raises(LossDetected):
            await reader.store.apply(0, "log", Transaction([Claim(DECISIONS, 0, 0, 1)], [decided("a", 0)]))
        await reader.store.hold(0, "")
        assert await reader.store.pending(0) == {}
        await reader.apply(decided("a", 0))
        assert await reader.store.pending(0) == {"front": 1}

    async def test_offsets_a_fresh_worker_may_not_go_on_above_what_is_stored(self, reader: Reader) -> None:
        await reader.apply(decided("a", 0))
        with pytest.raises(LossDetected):
            await reader.store.apply(0, "log", Transaction([Claim(DECISIONS, 0, 4, 4, None, True)]))

    async def test_offsets_never_go_back(self, reader: Reader) -> None:
        await reader.apply(*(decided("a", 0, offset=offset) for offset in range(6)))
        await reader.store.apply(0, "log", Transaction([Claim(DECISIONS, 0, 0, 2)]))
        await reader.store.apply(0, "log", Transaction([Claim(DECISIONS, 0, 1, 1)]))
        await reader.store.apply(0, "log", Transaction([Claim(DECISIONS, 0, 6, 6)]))

    async def test_offsets_with_gaps_are_no_loss(self, reader: Reader) -> None:
        await reader.apply(decided("a", 0, offset=7))
        await reader.apply(decided("b", 0, offset=12))
        assert await reader.store.pending(0) == {"front": 2}

    async def test_offsets_of_a_part_of_an_array_do_not_move(self, reader: Reader) -> None:
        part = Transaction([Claim(CLICKS, 0, 0, 0, None, True)], [happened("a", 1, index=0)])
        rest = Transaction([Claim(CLICKS, 0, 0, 1, None, True)], [happened("a", 1, index=1)])
        await reader.apply(decided("a", 0))
        for transaction in (part, part, rest, part, rest):
            await reader.store.apply(0, "log", transaction)
        await reader.advance_to(WINDOW_MS + 1)
        assert times((await reader.closed())[0]) == [1, 1]
        assert await reader.unused() == []

    async def test_the_state_of_another_log_is_refused(self, reader: Reader) -> None:
        await reader.apply(decided("a", 0))
        with pytest.raises(StateRefused, match="another"):
            await reader.store.apply(0, "another", Transaction())
        with pytest.raises(StateRefused, match="another"):
            await reader.store.apply(
                0, "another", Transaction([Claim(DECISIONS, 0, 1, 2)], [decided("b", 0, offset=1)])
            )
        assert await reader.store.pending(0) == {"front": 1}

    async def test_shards_are_apart(self, reader: Reader) -> None:
        await reader.apply(decided("a", 0))
        assert await reader.store.pending(1) == {}
        with pytest.raises(LossDetected):
            await reader.store.apply(1, "log", Transaction([Claim(DECISIONS, 0, 1, 1)]))

    # Watermark.

    async def test_watermark_a_window_closes_strictly_after_its_deadline(self, reader: Reader) -> None:
        await reader.apply(decided("a", 0))
        result = await reader.advance_to(WINDOW_MS)
        assert result.watermark_ms == START_MS + WINDOW_MS
        assert result.closed == {}
        assert (await reader.advance_to(WINDOW_MS + 1)).closed == {"front": 1}

    @pytest.mark.parametrize("but", INPUTS)
    async def test_watermark_waits_for_every_partition_and_names_it(self, reader: Reader, but: tuple[str, int]) -> None:
        await reader.apply(decided("a", 0))
        result = await reader.advance_to(10 * WINDOW_MS, but=but)
        assert (result.watermark_ms, result.held_by, result.closed) == (0, f"{but[0]} {but[1]}", {})
        assert (await reader.advance_to(10 * WINDOW_MS)).closed == {"front": 1}

    async def test_watermark_is_0_while_the_list_of_inputs_is_unknown(self, reader: Reader) -> None:
        await reader.apply(decided("a", 0))
        claims = [Claim(*name, int(name == (DECISIONS, 0)), 1, START_MS + 10 * WINDOW_MS, True) for name in INPUTS]
        result = await reader.store.apply(0, "log", Transaction(claims))
        assert (result.watermark_ms, result.held_by, result.closed) == (0, "*", {})

    async def test_watermark_does_not_pass_the_time_at_which_the_inputs_were_listed(self, reader: Reader) -> None:
        await reader.advance_to(100)
        claims = [Claim(*name, 0, 0, START_MS + 900) for name in INPUTS]
        result = await reader.store.apply(0, "log", Transaction(claims))
        assert (result.watermark_ms, result.held_by) == (START_MS + 100, "*")

    async def test_watermark_waits_for_an_added_partition(self, reader: Reader) -> None:
        await reader.advance_to(100)
        await reader.apply(decided("a", 0))
        added = (CLICKS, 3)
        result = await reader.advance_to(10 * WINDOW_MS, (*INPUTS, added), but=added)
        assert (result.held_by, result.closed) == ("t-clicks 3", {})
        assert (await reader.advance_to(10 * WINDOW_MS, (*INPUTS, added))).closed == {"front": 1}

    async def test_watermark_list_shrinks_for_nobody(self, reader: Reader) -> None:
        await reader.advance_to(100, (*INPUTS, (CLICKS, 3)))
        assert (await reader.advance_to(900, INPUTS)).held_by == "t-clicks 3"

    async def test_watermark_entries_never_go_back(self, reader: Reader) -> None:
        await reader.advance_to(900)
        assert (await reader.advance_to(100)).watermark_ms == START_MS + 900

    async def test_watermark_nothing_is_claimed_by_a_call_without_a_time(self, reader: Reader) -> None:
        await reader.advance_to(100)
        assert (await reader.apply(decided("a", 5000))).watermark_ms == START_MS + 100

    async def test_watermark_an_older_record_is_counted_and_still_applied(self, reader: Reader) -> None:
        await reader.advance_to(100)
        assert (await reader.apply(decided("a", 100))).behind_watermark == 0
        assert (await reader.apply(decided("b", 99, offset=1))).behind_watermark == 1
        assert await reader.store.pending(0) == {"front": 2}

    # The order of closing.

    async def test_order_of_closing_is_deadline_then_event_id_by_its_bytes(self, reader: Reader) -> None:
        ids = ["é", "b", "a", "B", "a-b", "a b", "10", "9", "日", "a\x7f", "{a}"]
        late = [decided(event_id, 0, offset) for offset, event_id in enumerate(ids)]
        soon = decided("z", 0, len(ids), window_ms=100)
        await reader.apply(*late, soon)
        await reader.advance_to(WINDOW_MS + 1)
        closed = await reader.closed()
        assert [window.event_id for window in closed] == ["z", *sorted(ids, key=str.encode)]
        assert [window.seq for window in closed] == list(range(1, len(ids) + 2))

    async def test_order_of_closing_is_not_the_order_of_reading(self, reader: Reader) -> None:
        await reader.apply(decided("b", 30, 0), decided("a", 20, 1), decided("c", 10, 2))
        await reader.advance_to(2 * WINDOW_MS)
        assert [window.event_id for window in await reader.closed()] == ["c", "a", "b"]

    async def test_order_of_closing_holds_when_a_call_closes_only_some(self, reader: Reader) -> None:
        ids = ["c", "a", "d", "b", "e"]
        await reader.apply(*(decided(event_id, 0, offset) for offset, event_id in enumerate(ids)))
        answers = [await reader.advance_to(2 * WINDOW_MS, close_limit=2) for _ in range(3)]
        assert [answer.closed for answer in answers] == [{"front": 2}, {"front": 2}, {"front": 1}]
        assert [answer.more for answer in answers[:1]] == [True]
        assert answers[2].more is False
        assert [window.event_id for window in await reader.closed()] == sorted(ids)

    async def test_while_windows_are_due_the_watermark_is_no_later_than_the_first(self, reader: Reader) -> None:
        """Else a worker would apply a reused event id that meets its predecessor still pending."""
        await reader.apply(*(decided(event_id, at, at) for at, event_id in enumerate("abc")))
        result = await reader.advance_to(TTL_MS, close_limit=1)
        assert result.more
        assert result.watermark_ms <= START_MS + 1 + WINDOW_MS
        assert (await reader.store.apply(0, "log", Transaction())).watermark_ms == START_MS + TTL_MS

    async def test_each_policy_has_its_own_seq(self, reader: Reader) -> None:
        await reader.apply(
            decided("a", 0, 0),
            decided("b", 0, 1, placement="side"),
            decided("c", 0, 2),
            decided("d", 0, 3, placement="side"),
        )
        assert await reader.store.pending(0) == {"front": 2, "side": 2}
        await reader.advance_to(2 * WINDOW_MS)
        assert [(each.seq, each.event_id) for each in await reader.closed("front")] == [(1, "a"), (2, "c")]
        assert [(each.seq, each.event_id) for each in await reader.closed("side")] == [(1, "b"), (2, "d")]
        assert await reader.store.pending(0) == {}

    # Of several decisions the first by position.

    @pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
    async def test_conflict_the_first_by_place_decides_and_the_first_that_differs_is_its_rival(
        self, reader: Reader, order: tuple[int, ...]
    ) -> None:
        copies = [
            decided("a", 10, partition=0, body=b"first", fingerprint="x", placement="front"),
            decided("a", 20, partition=1, body=b"second", fingerprint="y", placement="side"),
            decided("a", 30, partition=2, body=b"third", fingerprint="z", placement="front"),
        ]
        for number in order:
            await reader.apply(copies[number])
        assert await reader.store.pending(0) == {"front": 1}
        await reader.advance_to(2 * WINDOW_MS)
        (window,) = await reader.closed()
        assert (window.body, window.position, window.rival_ms) == (b"first", copies[0].position, START_MS + 20)
        assert window.deadline_ms == copies[0].deadline_ms
        assert await reader.closed("side") == []

    @pytest.mark.parametrize("order", [(0, 1), (1, 0)])
    async def test_conflict_a_copy_that_says_the_same_is_none(self, reader: Reader, order: tuple[int, ...]) -> None:
        copies = [decided("a", 10, partition=0), decided("a", 20, partition=1)]
        for number in order:
            await reader.apply(copies[number])
        await reader.advance_to(2 * WINDOW_MS)
        (window,) = await reader.closed()
        assert (window.position, window.rival_ms) == (copies[0].position, None)

    async def test_conflict_of_two_at_one_time_the_place_decides(self, reader: Reader) -> None:
        await reader.apply(decided("a", 10, partition=1, body=b"second", fingerprint="y"))
        await reader.apply(decided("a", 10, partition=0, body=b"first", fingerprint="x"))
        await reader.advance_to(2 * WINDOW_MS)
        (window,) = await reader.closed()
        assert (window.body, window.rival_ms) == (b"first", START_MS + 10)

    async def test_a_decision_of_the_same_place_is_there_once(self, reader: Reader) -> None:
        part = Transaction([Claim(DECISIONS, 0, 0, 0, None, True)], [decided("a", 0, fingerprint="x")])
        for _ in range(3):
            await reader.store.apply(0, "log", part)
        assert await reader.store.pending(0) == {"front": 1}
        await reader.advance_to(2 * WINDOW_MS)
        (window,) = await reader.closed()
        assert window.rival_ms is None

    # Which feedback a window takes.

    async def test_feedback_counts_from_opens_to_deadline_in_the_order_of_places(self, reader: Reader) -> None:
        ats = [WINDOW_MS, WINDOW_MS + 1, -EARLY_MS, -EARLY_MS - 1, 3, 1, 2]
        await reader.apply(*(happened("a", at, offset) for offset, at in enumerate(ats[:3])))
        await reader.apply(decided("a", 0))
        await reader.apply(*(happened("a", at, offset) for offset, at in enumerate(ats[3:], 3)))
        await reader.apply(happened("a", 2, topic=VIEWS))
        assert (await reader.advance_to(2 * WINDOW_MS)).late == 1
        (window,) = await reader.closed()
        assert times(window) == [-EARLY_MS, 1, 2, 2, 3, WINDOW_MS]
        assert [kept.position for kept in window.feedback] == sorted(kept.position for kept in window.feedback)
        assert sorted(await reader.unused()) == [("a", -EARLY_MS - 1, "early"), ("a", WINDOW_MS + 1, "late")]

    async def test_feedback_of_others_stays_with_them(self, reader: Reader) -> None:
        ids = ["a", "a b", "a\x7f", "aa", "b"]
        await reader.apply(*(happened(event_id, 1, offset) for offset, event_id in enumerate(ids)))
        await reader.apply(*(decided(event_id, 0, offset) for offset, event_id in enumerate(ids)))
        await reader.advance_to(2 * WINDOW_MS)
        assert [[kept.position.offset for kept in window.feedback] for window in await reader.closed()] == [
            [ids.index(event_id)] for event_id in sorted(ids)
        ]

    async def test_waiting_feedback_becomes_a_dead_letter_once_its_decision_cannot_come(self, reader: Reader) -> None:
        await reader.apply(happened("a", 10), happened("a", 50, 1))
        await reader.advance_to(10 + EARLY_MS)
        assert await reader.unused() == []
        assert (await reader.advance_to(11 + EARLY_MS)).closed == {DEAD_LETTERS: 1}
        assert await reader.unused() == [("a", 10, "unknown_decision")]
        await reader.advance_to(51 + EARLY_MS)
        assert await reader.unused() == [("a", 10, "unknown_decision"), ("a", 50, "unknown_decision")]

    async def test_feedback_that_waits_just_long_enough_counts(self, reader: Reader) -> None:
        await reader.apply(happened("a", 0))
        await reader.advance_to(EARLY_MS)
        await reader.apply(decided("a", EARLY_MS))
        await reader.advance_to(9 * WINDOW_MS)
        (window,) = await reader.closed()
        assert times(window) == [0]
        assert await reader.unused() == []

    async def test_of_too_much_feedback_the_first_by_place_stays(self, reader: Reader) -> None:
        await reader.apply(decided("a", 0))
        for offset, at in enumerate([50, 40, -EARLY_MS - 1, 30, 20, 10]):
            await reader.apply(happened("a", at, offset), feedback_limit=3)
        await reader.advance_to(2 * WINDOW_MS)
        (window,) = await reader.closed()
        assert times(window) == [10, 20, 30]
        assert sorted(await reader.unused()) == [
            ("a", -EARLY_MS - 1, "early"),
            ("a", 40, "too_many"),
            ("a", 50, "too_many"),
        ]

    async def test_of_too_much_waiting_feedback_the_first_by_place_stays(self, reader: Reader) -> None:
        await reader.apply(*(happened("a", at, offset) for offset, at in enumerate([50, 40, 30, 20, 10])))
        await reader.apply(decided("a", 0), feedback_limit=3)
        await reader.advance_to(2 * WINDOW_MS)
        (window,) = await reader.closed()
        assert times(window) == [10, 20, 30]

    async def test_bodies_are_kept_to_the_byte(self, reader: Reader) -> None:
        body = bytes(range(256)) + b"\x00\r\n12:34:" + "é".encode()
        await reader.apply(decided("a", 0, body=body))
        await reader.apply(happened("a", 1, body=body), happened("b", 1, 1, body=body))
        await reader.advance_to(2 * WINDOW_MS)
        (window,) = await reader.closed()
        assert (window.body, window.feedback[0].body) == (body, body)
        (letter,) = await reader.store.head(0, DEAD_LETTERS, 9)
        assert letter.body == body

    # Early close.

    @pytest.mark.parametrize("before", [True, False])
    async def test_early_close_lowers_the_deadline_to_the_first_closing_feedback(
        self, reader: Reader, before: bool
    ) -> None:
        clicks = [happened("a", at, offset) for offset, at in enumerate([90, 60, WINDOW_MS + 1])]
        decision = decided("a", 0, close_on=(CLICKS,))
        await reader.apply(happened("a", 5, topic=VIEWS), happened("a", 61, 1, topic=VIEWS))
        if before:
            await reader.apply(*clicks)
        await reader.apply(decision)
        if not before:
            await reader.apply(*clicks)
        await reader.advance_to(60)
        assert await reader.closed() == []
        await reader.advance_to(61)
        (window,) = await reader.closed()
        assert window.deadline_ms == START_MS + 60
        assert times(window) == [5, 60]
        assert sorted(await reader.unused()) == [("a", 61, "late"), ("a", 90, "late"), ("a", 501, "late")]

    @pytest.mark.parametrize("before", [True, False])
    async def test_early_close_is_never_before_the_decision_itself(self, reader: Reader, before: bool) -> None:
        click, decision = happened("a", -50), decided("a", 0, close_on=(CLICKS,))
        for item in (click, decision) if before else (decision, click):
            await reader.apply(item)
        await reader.advance_to(1)
        (window,) = await reader.closed()
        assert (window.deadline_ms, times(window)) == (START_MS, [-50])

    @pytest.mark.parametrize("at", [-EARLY_MS - 1, WINDOW_MS + 1])
    @pytest.mark.parametrize("before", [True, False])
    async def test_early_close_is_not_by_feedback_outside_the_window(
        self, reader: Reader, before: bool, at: int
    ) -> None:
        click, decision = happened("a", at), decided("a", 0, close_on=(CLICKS,))
        for item in (click, decision) if before else (decision, click):
            await reader.apply(item)
        await reader.advance_to(2 * WINDOW_MS)
        assert (await reader.closed())[0].deadline_ms == START_MS + WINDOW_MS

    async def test_early_close_is_also_by_feedback_beyond_the_limit(self, reader: Reader) -> None:
        await reader.apply(decided("a", 0, close_on=(CLICKS,)))
        await reader.apply(*(happened("a", 10 + at, at, topic=VIEWS) for at in range(3)), feedback_limit=2)
        await reader.apply(happened("a", 60), feedback_limit=2)
        await reader.advance_to(2 * WINDOW_MS)
        assert (await reader.closed())[0].deadline_ms == START_MS + 60

    @pytest.mark.parametrize("limit", [2, 1000])
    async def test_early_close_is_by_the_rule_of_the_first_by_place_alone(self, reader: Reader, limit: int) -> None:
        await reader.apply(decided("a", 10, partition=1, close_on=(CLICKS,)))
        await reader.apply(*(happened("a", 20 + at, at, topic=VIEWS) for at in range(3)), feedback_limit=limit)
        await reader.apply(happened("a", 60), feedback_limit=limit)
        await reader.apply(decided("a", 0, close_on=(VIEWS,)), feedback_limit=limit)
        await reader.advance_to(21)
        (window,) = await reader.closed()
        assert window.deadline_ms == START_MS + 20

        await reader.apply(decided("b", 1010, 1, partition=1, close_on=(CLICKS,)))
        await reader.apply(*(happened("b", 1020 + at, 9 + at, topic=VIEWS) for at in range(3)), feedback_limit=limit)
        await reader.apply(happened("b", 1060, 9), feedback_limit=limit)
        await reader.apply(decided("b", 1000, 1), feedback_limit=limit)
        await reader.advance_to(9 * WINDOW_MS)
        assert (await reader.closed())[1].deadline_ms == START_MS + 1000 + WINDOW_MS

    # A closed event id is remembered.

    async def test_closed_ids_are_remembered_a_copy_is_a_repeat_and_feedback_is_late(self, reader: Reader) -> None:
        await reader.apply(decided("a", 0))
        await reader.advance_to(WINDOW_MS + 1)
        for offset, at in enumerate([WINDOW_MS + 1, TTL_MS], 1):
            assert (await reader.apply(decided("a", at, offset))).repeats == 1
            assert (await reader.apply(happened("a", at, offset))).late == 1
        await reader.advance_to(9 * TTL_MS)
        assert [window.seq for window in await reader.closed()] == [1]
        assert await reader.unused() == [("a", WINDOW_MS + 1, "late"), ("a", TTL_MS, "late")]

    async def test_closed_ids_are_remembered_while_the_watermark_has_not_passed(self, reader: Reader) -> None:
        await reader.apply(decided("a", 0))
        await reader.advance_to(TTL_MS)
        assert (await reader.apply(decided("a", TTL_MS, 1))).repeats == 1

    @pytest.mark.parametrize("forgotten", [True, False])
    async def test_an_event_id_used_again_after_that_is_a_new_decision(self, reader: Reader, forgotten: bool) -> None:
        await reader.apply(decided("a", 0))
        await reader.advance_to(TTL_MS + 1 if forgotten else TTL_MS - 1)
        await reader.apply(happened("a", TTL_MS + 1), decided("a", TTL_MS + 2, 1))
        await reader.advance_to(9 * TTL_MS)
        assert [(window.seq, times(window)) for window in await reader.closed()] == [(1, []), (2, [TTL_MS + 1])]

    # The outbox.

    async def test_trim_is_by_seq_and_never_by_count(self, reader: Reader) -> None:
        await reader.apply(*(decided(event_id, 0, offset) for offset, event_id in enumerate("abcde")))
        await reader.advance_to(2 * WINDOW_MS)
        for _ in range(3):
            await reader.store.trim(0, "front", 2)
        assert [window.seq for window in await reader.closed()] == [3, 4, 5]
        await reader.store.trim(0, "front", 1)
        assert [window.seq for window in await reader.closed()] == [3, 4, 5]
        await reader.store.trim(0, "front", 5)
        assert await reader.closed() == []

    async def test_the_head_of_an_outbox_is_its_lowest_seqs(self, reader: Reader) -> None:
        ids = [f"{number:02d}" for number in range(12)]
        await reader.apply(*(decided(event_id, 0, offset) for offset, event_id in enumerate(ids)))
        await reader.advance_to(2 * WINDOW_MS)
        assert [entry.seq for entry in await reader.store.head(0, "front", 11)] == list(range(1, 12))
        await reader.store.trim(0, "front", 9)
        assert [entry.seq for entry in await reader.store.head(0, "front", 11)] == [10, 11, 12]

    async def test_the_head_of_an_outbox_ends_with_the_entry_that_reaches_its_bytes(self, reader: Reader) -> None:
        body = bytes(1000)
        await reader.apply(*(decided(event_id, 0, offset, body=body) for offset, event_id in enumerate("abcde")))
        await reader.apply(*(happened(event_id, 0, offset, body=body) for offset, event_id in enumerate("abcdevwxyz")))
        await reader.advance_to(2 * WINDOW_MS)
        for limit_bytes, count in [(1, 1), (3_000, 2), (9_000, 5), (20_000, 5)]:
            head = await reader.store.head(0, "front", 9, limit_bytes)
            assert [entry.seq for entry in head] == list(range(1, count + 1))
        assert len(await reader.store.head(0, "front", 2, 20_000)) == 2
        assert len(await reader.store.head(0, DEAD_LETTERS, 9, 1_500)) == 2

    async def test_a_call_closes_windows_until_they_have_so_many_bytes(self, reader: Reader) -> None:
        body = bytes(1000)
        await reader.apply(*(decided(event_id, at, at, body=body) for at, event_id in enumerate("abcde")))
        await reader.apply(*(happened(event_id, 5, offset, body=body) for offset, event_id in enumerate("aaabbbcde")))
        transactions = [await reader.advance_to(2 * WINDOW_MS, close_bytes=4_001) for _ in range(3)]
        assert [result.closed for result in transactions] == [{"front": 2}, {"front": 3}, {}]
        assert [result.more for result in transactions] == [True, False, False]
        assert transactions[0].watermark_ms == START_MS + WINDOW_MS + 2
        assert [window.event_id for window in await reader.closed()] == list("abcde")

    async def test_a_call_closes_a_window_however_large_it_is(self, reader: Reader) -> None:
        late = [happened(event_id, WINDOW_MS + 1, offset) for offset, event_id in enumerate("ab")]
        await reader.apply(decided("a", 0), decided("b", 0, 1), *late)
        transactions = [await reader.advance_to(2 * WINDOW_MS, close_bytes=1) for _ in range(2)]
        assert [result.closed for result in transactions] == [{"front": 1, DEAD_LETTERS: 1}] * 2

    async def test_a_call_gives_up_waiting_feedback_until_it_has_so_many_bytes(self, reader: Reader) -> None:
        body = bytes(1000)
        ids = ["a", *["b"] * 200, "c"]
        await reader.apply(*(happened(event_id, 0, offset, body=body) for offset, event_id in enumerate(ids)))
        await reader.apply(decided("d", 0))
        transactions: list[TransactionResult] = []
        while not transactions or transactions[-1].more:
            transactions.append(await reader.advance_to(2 * WINDOW_MS, close_bytes=100_000))
        assert [result.closed.get(DEAD_LETTERS, 0) for result in transactions] == [100, 100, 2]
        assert transactions[0].closed["front"] == 1
        assert [event_id for event_id, _, _ in await reader.unused()] == ids

    async def test_a_flood_of_feedback_for_one_decision_takes_several_calls(self, reader: Reader) -> None:
        """What came before its window opened, and what is more than it takes; the outcome is that of one call."""
        early = [happened("a", at, at) for at in range(20)]
        within = [happened("a", EARLY_MS + at, at, topic=VIEWS) for at in range(30)]
        await reader.apply(*early, *within)
        # So few bytes do for one letter.
        await reader.apply(decided("a", EARLY_MS + 100), feedback_limit=3, close_bytes=1)
        assert len(await reader.unused()) == 1
        calls = [await reader.advance_to(9 * WINDOW_MS, feedback_limit=3, close_bytes=5_000)]
        while calls[-1].more:
            assert calls[-1].watermark_ms == START_MS + EARLY_MS + 100 + WINDOW_MS
            calls.append(await reader.advance_to(9 * WINDOW_MS, feedback_limit=3, close_bytes=5_000))
        assert [call.closed.get(DEAD_LETTERS, 0) for call in calls] == [5] * 9 + [1]
        (window,) = await reader.closed()
        assert [event.position.time_ms - START_MS for event in window.feedback] == [EARLY_MS + at for at in range(3)]
        assert sorted(reason for *_, reason in await reader.unused()) == ["early"] * 20 + ["too_many"] * 27

    async def test_seq_goes_on_after_a_trim(self, reader: Reader) -> None:
        await reader.apply(decided("a", 0))
        await reader.advance_to(2 * WINDOW_MS)
        await reader.store.trim(0, "front", 1)
        assert (await reader.store.outboxes(0))["front"] == 1
        await reader.apply(decided("b", 2 * WINDOW_MS, 1))
        await reader.advance_to(9 * WINDOW_MS)
        assert [window.seq for window in await reader.closed()] == [2]

    async def test_dead_letters_are_numbered_and_trimmed_as_outcomes_are(self, reader: Reader) -> None:
        await reader.apply(*(happened("a", at, at) for at in range(3)))
        await reader.advance_to(2 * EARLY_MS)
        assert [letter.seq for letter in await reader.store.head(0, DEAD_LETTERS, 9)] == [1, 2, 3]
        await reader.store.trim(0, DEAD_LETTERS, 2)
        assert [letter.seq for letter in await reader.store.head(0, DEAD_LETTERS, 9)] == [3]
        assert (await reader.store.outboxes(0))[DEAD_LETTERS] == 3

    async def test_an_empty_store_has_nothing(self, reader: Reader) -> None:
        assert await reader.store.outboxes(0) == {}
        assert await reader.store.pending(0) == {}
        assert await reader.store.head(0, "front", 9) == []
        await reader.store.trim(0, "front", 9)


class TestMemoryStore(StoreLaws):
    """The laws over the store in memory."""

    @pytest.fixture
    def store(self) -> JoinStore:
        return MemoryStore()

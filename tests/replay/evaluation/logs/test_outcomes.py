"""Outcomes of all origins become the same rows, whose columns are what the records say."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import bowerbird
from archive.hashes import event_hash, unit_hash
from archive.reader import Archive
from policies.policy_store import PolicyIdentity
from records.codec import encode
from records.errors import BadInput, LossDetected, StateRefused, WrongConfiguration
from records.outcome import Outcome
from replay.evaluation.blocks import Blocks
from replay.evaluation.health.state import State
from replay.evaluation.logs.archive import ArchivedOutcomes
from replay.evaluation.logs.chunk import REWARD_RANGE, LogChunk, silent
from replay.evaluation.logs.json_outcomes import JsonLines
from replay.evaluation.logs.message_outcomes import MessageOutcomes
from replay.evaluation.logs.numbered import Names
from replay.evaluation.logs.outcome_selection import OutcomeOptions
from replay.evaluation.logs.outcome_source import NUMBERS, Outcomes
from replay.evaluation.logs.outcomes import OutcomeLog
from replay.evaluation.logs.segments import segment
from replay.proof.archived_policy import archived_policy, uniform
from tests.policies.asking import pmf_of
from tests.replay.archived import archive_of
from tests.replay.evaluation.logs.rows import named, same, together
from tests.replay.world import Message, World, busy_world

SEGMENTS = ("policy_version", "day", "chosen", "context.taste", "context.taste.none")


@pytest.fixture(scope="module")
def world() -> World:
    return busy_world(120)


@pytest.fixture(scope="module")
def archive(world: World, tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return archive_of(world, tmp_path_factory.mktemp("archive"))


@pytest.fixture
def lines(world: World, tmp_path: Path) -> JsonLines:
    (tmp_path / "log.jsonl").write_bytes(b"".join(encode(outcome) + b"\n" for _, outcome in world.outcomes()))
    return JsonLines(tmp_path / "log.jsonl")


def usable(world: World, policy: str | None = "front", external: bool | None = False) -> list[tuple[Outcome, Any]]:
    return [
        (outcome, json.loads(bytes(outcome.decision)))
        for _, outcome in world.outcomes()
        if outcome.learn
        and policy in (None, outcome.policy)
        and external in (None, outcome.policy_version == "external")
    ]


@pytest.mark.parametrize("target", ["uniform", "front@2", None])
def test_every_column_is_what_the_records_say(world: World, archive: Archive, target: str | None) -> None:
    policy = None if target is None else uniform() if target == "uniform" else archived_policy(archive, target, none)
    judge = OutcomeLog(ArchivedOutcomes(archive), policy, OutcomeOptions("front", segments=SEGMENTS))
    rows = together(judge.blocks())
    log = usable(world)
    assert len(rows) == len(log) > 30
    for row, (outcome, decision) in enumerate(log):
        ids, mu = [action["id"] for action in decision["actions"]], decision["pmf"]
        at = ids.index(decision["chosen"])
        assert (rows.reward[row], rows.propensity[row]) == (outcome.reward, mu[at])
        pi = mu if policy is None else predicted(policy.policy, decision)
        assert rows.target[row] == pytest.approx(pi[at])
        assert rows.weight[row] == pytest.approx(pi[at] / mu[at])
        assert rows.squared_weight is not None
        assert rows.squared_weight[row] == pytest.approx(sum(p * p / m for p, m in zip(pi, mu, strict=True)))
        assert rows.rank is not None
        assert rows.rank[row] == pytest.approx(sum(mu[:at]) + mu[at] / 2)
        assert rows.event_hash is not None
        assert rows.event_hash[row] == event_hash(outcome.event_id)
        assert rows.unit_hash is not None
        assert rows.unit_hash[row] == unit_hash(decision.get("user_id"), outcome.event_id)
        assert rows.time_ms is not None
        assert rows.time_ms[row] == outcome.decision_position.time_ms
    assert rows.unseen is not None
    assert rows.inverse is not None
    assert (rows.unseen.tolist(), rows.inverse.tolist()) == ([0.0] * len(log), [3.0] * len(log))
    assert named(rows.action, judge.names.actions.names) == [decision["chosen"] for _, decision in log]
    assert named(rows.version, judge.names.versions.names) == [f"front@{each.policy_version}" for each, _ in log]
    expected = {
        "policy_version": [each.policy_version for each, _ in log],
        "day": ["1970-01-01"] * len(log),
        "chosen": [decision["chosen"] for _, decision in log],
        "context.taste": [decision["context"]["taste"] for _, decision in log],
        "context.taste.none": ["(none)"] * len(log),
    }
    assert {name: named(rows.segments[name], judge.names.segments[name].names) for name in SEGMENTS} == expected


def none(name: str) -> PolicyIdentity | None:
    return None


def predicted(policy: Any, decision: Any) -> list[float]:
    from policies.features import decode_action, decode_context
    from records.limits import Limits

    offered = [decode_action(json.dumps(action).encode(), Limits()) for action in decision["actions"]]
    return pmf_of(policy, decode_context(json.dumps(decision["context"]).encode(), Limits()), offered)


@pytest.mark.parametrize("target", ["uniform", "front@0", None])
def test_all_origins_give_the_same_rows(
    world: World, archive: Archive, lines: JsonLines, monkeypatch: pytest.MonkeyPatch, target: str | None
) -> None:
    monkeypatch.setattr("replay.evaluation.logs.json_outcomes.BLOCK_BYTES", 7_000)
    monkeypatch.setattr("replay.evaluation.logs.message_outcomes.BLOCK_BYTES", 5_000)
    policy = None if target is None else uniform() if target == "uniform" else archived_policy(archive, target, none)

    def rows(origin: Outcomes) -> tuple[OutcomeLog, list[LogChunk]]:
        judge = OutcomeLog(origin, policy, OutcomeOptions("front", segments=SEGMENTS))
        return judge, list(judge.blocks())

    messages = MessageOutcomes(world.logs["rewards", 0])
    origins: list[Outcomes] = [ArchivedOutcomes(archive), lines, messages]
    (expected_judge, expected), *others = map(rows, origins)
    for judge, found in others:
        same(together(found), together(expected))
        assert [chunk.left_out for chunk in found] == [chunk.left_out for chunk in expected]
        assert judge.names.actions.names == expected_judge.names.actions.names


def test_both_kinds_of_decisions_of_all_policies(world: World, archive: Archive) -> None:
    judge = OutcomeLog(ArchivedOutcomes(archive), None, OutcomeOptions(external=None, mixed=True))
    (block,) = judge.blocks()
    log = usable(world, None, None)
    counts = Counter(named(block.rows.version, judge.names.versions.names))
    assert counts == Counter(f"{outcome.policy}@{outcome.policy_version}" for outcome, _ in log)
    assert len({name.partition("@")[0] for name in counts}) == 2
    assert block.rows.weight.tolist() == [1.0] * len(log)


def origins(world: World, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[], Outcomes]]:
    monkeypatch.setattr("replay.evaluation.logs.json_outcomes.BLOCK_BYTES", 7_000)
    monkeypatch.setattr("replay.evaluation.logs.message_outcomes.BLOCK_BYTES", 5_000)
    archive = archive_of(world, folder / "archive", files=7)
    lines = folder / "log.jsonl"
    lines.write_bytes(b"\n \n".join(encode(outcome) for _, outcome in world.outcomes()) + b"\n\n")
    return {
        "archive": lambda: ArchivedOutcomes(archive),
        "json lines": lambda: JsonLines(lines),
        "messages": lambda: MessageOutcomes(world.logs["rewards", 0]),
    }


@pytest.mark.parametrize("origin", ["archive", "json lines", "messages"])
def test_parts_that_are_read_apart_are_the_same_bits(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, origin: str
) -> None:
    monkeypatch.setattr("replay.evaluation.logs.chunk.BLOCK_ROWS", 16)
    opened = origins(world, tmp_path, monkeypatch)[origin]

    def read(first: int = 0, last: int | None = None) -> list[LogChunk]:
        # What is numbered before is numbered alike in all parts.
        names = Names()
        for version in sorted({f"front@{outcome.policy_version}" for outcome, _ in usable(world)}):
            names.versions.number(version)
        for action in ("a0", "a1", "a2"):
            names.actions.number(action)
        return list(
            OutcomeLog(opened(), uniform(), OutcomeOptions("front", names=names)).blocks(first=first, last=last)
        )

    whole = read()
    assert [chunk.index for chunk in whole] == list(range(len(whole)))
    assert len(whole) > 6
    apart = [*read(0, 2), *read(2, 5), *read(5)]
    assert [(chunk.index, chunk.left_out, chunk.learned) for chunk in apart] == [
        (chunk.index, chunk.left_out, chunk.learned) for chunk in whole
    ]
    for one, other in zip(apart, whole, strict=True):
        same(one.rows, other.rows)
    added: Blocks[State] = Blocks()
    for chunk in reversed(apart):
        added.put(chunk.index, State.of(chunk.rows))
    in_order: Blocks[State] = Blocks()
    for chunk in whole:
        in_order.put(chunk.index, State.of(chunk.rows))
    assert repr(added.total()) == repr(in_order.total())


@pytest.mark.parametrize("origin", ["archive", "json lines", "messages"])
def test_what_lies_before_a_part_is_not_read_as_a_whole(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, origin: str
) -> None:
    opened = origins(world, tmp_path, monkeypatch)[origin]
    columns = (*NUMBERS, "pmf")
    narrow = [set(found.rows.schema.names) == {*NUMBERS} for found in opened().batches(columns, silent, 100)]
    assert narrow == sorted(narrow, reverse=True)
    assert 2 <= sum(narrow) < len(narrow)
    rows = [found.rows.num_rows for found in opened().batches(columns, silent, 100)]
    assert sum(size for size, only in zip(rows, narrow, strict=True) if only) <= 100
    assert sum(rows) == sum(found.rows.num_rows for found in opened().batches(columns, silent))


def test_parts_see_what_is_missing_or_comes_twice_before_them(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("replay.evaluation.logs.chunk.BLOCK_ROWS", 16)
    log = world.logs["rewards", 0]
    twice = World(versions=world.versions, models=world.models)
    again = [*log[:40], *log[20:]]
    twice.logs["rewards", 0] = [message._replace(offset=offset) for offset, message in enumerate(again)]
    archive = archive_of(twice, tmp_path)
    whole = list(OutcomeLog(ArchivedOutcomes(archive), uniform(), OutcomeOptions("front")).blocks())
    part = list(OutcomeLog(ArchivedOutcomes(archive), uniform(), OutcomeOptions("front")).blocks(first=2))
    assert [chunk.left_out for chunk in part] == [chunk.left_out for chunk in whole[2:]]
    assert sum(chunk.left_out.get("repeats", 0) for chunk in part) > 0


def test_only_what_is_wanted_is_filled(archive: Archive) -> None:
    for wanted in (["rank"], ["squared_weight", "action"], ["time_ms", "unit_hash"], []):
        (block,) = OutcomeLog(ArchivedOutcomes(archive), uniform(), OutcomeOptions("front", wanted=wanted)).blocks()
        filled = (
            "squared_weight",
            "unseen",
            "inverse",
            "rank",
            "action",
            "event_hash",
            "unit_hash",
            "time_ms",
            "version",
        )
        assert [name for name in filled if getattr(block.rows, name) is not None] == [
            name for name in filled if name in wanted
        ]


def test_the_rules_tell_what_rewards_are_possible(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for opened in origins(world, tmp_path, monkeypatch).values():
        blocks = OutcomeLog(opened(), None, OutcomeOptions("front", wanted=[REWARD_RANGE])).blocks()
        # Clicks without end and purchases of any value, clipped.
        assert {block.reward_range for block in blocks} == {(-5.0, 5.0)}
        assert {block.reward_range for block in OutcomeLog(opened(), None, OutcomeOptions("front")).blocks()} == {None}


@pytest.mark.parametrize("rule", [None, {}, {"window_s": -1}])
def test_without_a_rule_nobody_knows_what_rewards_are_possible(
    world: World, tmp_path: Path, rule: dict[str, Any] | None
) -> None:
    records = [json.loads(encode(outcome)) for _, outcome in world.outcomes()]
    for record in records:
        del record["decision"]["rule"]
        record["decision"] |= {} if rule is None else {"rule": rule}
    (tmp_path / "log.jsonl").write_text("\n".join(json.dumps(record) for record in records))
    (block,) = OutcomeLog(
        JsonLines(tmp_path / "log.jsonl"), None, OutcomeOptions("front", wanted=[REWARD_RANGE])
    ).blocks()
    assert block.reward_range == (-math.inf, math.inf)


class Counted(Archive):
    """An archive that counts the files whose rows are read."""

    read = 0

    def batches(self, *arguments: Any, **options: Any) -> Iterator[pa.RecordBatch]:
        self.read += 1
        return super().batches(*arguments, **options)


@pytest.mark.parametrize("places", [1, 2])
def test_whether_there_are_lists_is_in_the_footer_of_a_file(world: World, tmp_path: Path, places: int) -> None:
    archive_of(world, tmp_path)
    for statistics in (True, False):
        for file in (tmp_path / "rewards").rglob("*.parquet"):
            table = pq.read_table(file, partitioning=None)
            at = table.schema.get_field_index("places")
            column = pa.array([places] * len(table), table.schema.field(at).type)
            pq.write_table(table.set_column(at, table.schema.field(at), column), file, write_statistics=statistics)
        counted = Counted.at(str(tmp_path))
        assert ArchivedOutcomes(counted).may_have_lists() is (places > 1)
        # Only a file whose footer does not say is read.
        assert bool(counted.read) is not statistics


def test_an_archive_without_rules_is_judged_all_the_same(world: World, tmp_path: Path) -> None:
    archive_of(world, tmp_path)
    file = min((tmp_path / "rewards").rglob("*.parquet"))
    table = pq.read_table(file, partitioning=None)
    at = table.schema.get_field_index("rule")
    pq.write_table(table.set_column(at, "rule", pa.nulls(len(table), pa.string())), file)
    blocks = OutcomeLog(
        ArchivedOutcomes(Archive.at(str(tmp_path))), None, OutcomeOptions("front", wanted=[REWARD_RANGE])
    ).blocks()
    assert {block.reward_range for block in blocks} == {(-math.inf, math.inf)}


def test_missing_outcomes_are_counted_where_a_log_is_only_looked_at(world: World, tmp_path: Path) -> None:
    holed = World(versions=world.versions, models=world.models)
    log = world.logs["rewards", 0]
    holed.logs["rewards", 0] = [*log[:40], *log[60:]]
    origin = ArchivedOutcomes(archive_of(holed, tmp_path))
    (block,) = OutcomeLog(origin, None, OutcomeOptions(external=None, mixed=True, count_missing=True)).blocks()
    assert block.left_out["missing"] == 20
    with pytest.raises(LossDetected, match=r"in rewards/day=.*, offset \d+: found seq"):
        list(OutcomeLog(origin, None, OutcomeOptions("front")).blocks())


# ----- files that are older than the columns of hashes


def test_hashes_of_older_files_are_computed(world: World, tmp_path: Path) -> None:
    def hashes() -> tuple[Any, Any, Any]:
        judge = OutcomeLog(ArchivedOutcomes(Archive.at(str(tmp_path))), uniform(), OutcomeOptions("front"))
        columns = ["event_hash", "unit_hash"]
        lazy = bowerbird.read(str(tmp_path), lazy=True).select(columns).collect()
        return together(judge.blocks()), bowerbird.read(str(tmp_path), columns=columns), lazy

    archive_of(world, tmp_path)
    rows, table, lazy = hashes()
    assert table.column("event_hash").to_pylist() == lazy["event_hash"].to_list()
    file = min((tmp_path / "rewards").rglob("*.parquet"))
    pq.write_table(pq.read_table(file, partitioning=None).drop_columns(["event_hash", "unit_hash"]), file)
    rows_again, table_again, lazy_again = hashes()
    same(rows_again, rows)
    assert table_again.equals(table)
    assert lazy_again.equals(lazy)


# ----- what no join has written


@pytest.mark.parametrize(
    ("message", "column", "value"),
    [
        ("pmf .*: found probabilities with the sum 1.25", "pmf", [0.25, 0.5, 0.5]),
        ("pmf .*: found probabilities with the sum 1, expected numbers from 0 to 1", "pmf", [1.5, -0.25, -0.25]),
        ("pmf .*: found 2 probabilities, expected 3", "pmf", [0.5, 0.5]),
        ("chosen .*: found 'a9', expected the id of exactly one", "chosen", "a9"),
        ("propensity .*: found 0.3, expected .* as the pmf says", "propensity", 0.3),
        ("actions .*: found null", "actions", None),
        ("decided_at .*: found null", "decided_at", None),
    ],
)
def test_a_row_that_contradicts_itself_is_refused(
    world: World, tmp_path: Path, message: str, column: str, value: Any
) -> None:
    archive = archive_of(world, tmp_path)
    file = min((tmp_path / "rewards").rglob("*.parquet"))
    table = pq.read_table(file, partitioning=None)
    rows = table.to_pylist()
    row = next(row for row in rows if row["policy"] == "front" and row["learn"])
    row[column] = value
    pq.write_table(type(table).from_pylist(rows, table.schema), file)
    with pytest.raises(
        StateRefused, match=rf"{message}".replace(" .*:", rf" in archive file .*, offset {row['offset']}:")
    ):
        list(OutcomeLog(ArchivedOutcomes(archive), uniform(), OutcomeOptions("front")).blocks())


def test_texts_that_are_no_utf_8_are_a_damaged_file(world: World, tmp_path: Path) -> None:
    archive = archive_of(world, tmp_path)
    file = min((tmp_path / "rewards").rglob("*.parquet"))
    table = pq.read_table(file, partitioning=None)
    column = table.schema.get_field_index("chosen")
    ends = pa.array(range(len(table) + 1), pa.int32()).buffers()[1]
    spoilt = pa.StringArray.from_buffers(len(table), ends, pa.py_buffer(b"\xff" * len(table)))
    pq.write_table(table.set_column(column, "chosen", spoilt), file)
    with pytest.raises(StateRefused, match=r"archive file .*: found bytes that are damaged"):
        list(OutcomeLog(ArchivedOutcomes(archive), None, OutcomeOptions("front")).blocks())


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        ('{"user": {"age": 7}}', "7"),
        ('{"user": {"age": "x"}}', "x"),
        ('{"user": {"age": true}}', "true"),
        ('{"user": {"age": [1, 2]}}', None),
        ('{"user": {"age": {"deep": 1}}}', None),
        ('{"user": {"age": null}}', None),
        ('{"user": 7}', None),
        ("{}", None),
        ("[]", None),
        ('{"user": ' * 50_000, None),
        (None, None),
        ('{"user": {"age": "' + "x" * 100 + '"}}', "x" * 80),
    ],
)
def test_a_segment_by_a_feature_is_a_short_text_or_none(context: str | None, expected: str | None) -> None:
    rows = pa.record_batch({"context": pa.array([context], pa.string())})
    assert segment("context.user.age", rows).to_pylist() == [expected]


def test_a_policy_must_be_named_where_there_are_several(lines: JsonLines) -> None:
    with pytest.raises(WrongConfiguration, match=r"expected one of those in the log: front, side"):
        list(OutcomeLog(lines, uniform()).blocks())


@pytest.mark.parametrize("name", ["taste", "context.a.b.c", "raw", ""])
def test_no_such_segment(lines: JsonLines, name: str) -> None:
    with pytest.raises(WrongConfiguration, match=r"segment: found .*, expected one of policy_version, "):
        OutcomeLog(lines, uniform(), OutcomeOptions(segments=[name]))


# ----- messages


def test_messages_that_hold_no_outcomes_are_counted(world: World) -> None:
    log = world.logs["rewards", 0]
    hostile = [
        *(
            b"nonsense",
            b"{}",
            b"[1, null, []]",
            b"null",
            b"[null]",
            b'[{"outcome_seq": 1}]',
            b"\xff",
            None,
            b"[" * 100_000,
        ),
        *(
            b'{"reward": 1} null',
            b'{"a": ' * 50_000 + b"1" + b"}" * 50_000,
            b'{"event_id": "\\ud800"}',
            b"",
            b"[]",
            b"7",
        ),
    ]
    messages: list[Message] = []
    for number, message in enumerate(log):
        messages.append(message._replace(offset=2 * number))
        if number < len(hostile):
            messages.append(message._replace(offset=2 * number + 1, value=hostile[number]))
    (found,) = OutcomeLog(MessageOutcomes(messages), uniform(), OutcomeOptions("front")).blocks()
    (expected,) = OutcomeLog(MessageOutcomes(log), uniform(), OutcomeOptions("front")).blocks()
    same(found.rows, expected.rows)
    assert found.left_out["unreadable"] == len(hostile) - 1 + 2
    assert {**found.left_out, "unreadable": 0} == {**expected.left_out, "unreadable": 0}


@pytest.mark.parametrize("target", ["uniform", "front@0"])
def test_a_message_with_spaces_and_lines_between_its_records(world: World, archive: Archive, target: str) -> None:
    log = world.logs["rewards", 0]
    values = [json.dumps(json.loads(message.value or b""), indent=2).encode() for message in log]
    pretty = [message._replace(value=value) for message, value in zip(log, values, strict=True)]
    policy = uniform() if target == "uniform" else archived_policy(archive, target, none)
    found, expected = (
        OutcomeLog(MessageOutcomes(some), policy, OutcomeOptions("front", segments=SEGMENTS)) for some in (pretty, log)
    )
    same(together(found.blocks()), together(expected.blocks()))


def test_no_messages_are_no_blocks() -> None:
    assert list(OutcomeLog(MessageOutcomes([]), uniform()).blocks()) == []


def test_a_value_that_no_join_has_written_is_named_by_its_place(world: World) -> None:
    log = list(world.logs["rewards", 0])
    (outcome,) = json.loads(log[0].value or b"")
    outcome["decision"]["propensity"] = 7
    log[0] = log[0]._replace(value=json.dumps(outcome).encode())
    with pytest.raises(BadInput, match=r"rewards\[0\], offset 0: decision.propensity: found 7.0"):
        list(OutcomeLog(MessageOutcomes(log), uniform(), OutcomeOptions(outcome["placement"])).blocks())


def test_columns_are_arrays_of_their_types(archive: Archive) -> None:
    (block,) = OutcomeLog(ArchivedOutcomes(archive), uniform(), OutcomeOptions("front", segments=["day"])).blocks()
    rows = block.rows
    kinds = {
        **dict.fromkeys(["reward", "propensity", "target", "weight", "squared_weight", "rank"], np.float64),
        **dict.fromkeys(["event_hash", "unit_hash"], np.uint64),
        **dict.fromkeys(["action", "version"], np.int32),
        "time_ms": np.int64,
    }
    for name, kind in kinds.items():
        assert getattr(rows, name).dtype == kind, name
    assert rows.segments["day"].dtype == np.int32

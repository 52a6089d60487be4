"""The rows of the archive: every field a column, every record a row, whatever is in it."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archive.rows import messages_of, rows_of, table_of
from archive.schema import SCHEMAS, TOPICS
from records.codec import encode, items
from records.errors import BadInput
from records.feedback import CountedFeedback
from records.log_identity import LogIdentity
from records.outcome import Outcome
from records.policy_version import PolicyVersion
from records.position import LogPosition
from records.versions_snapshot import LoggedVersion, VersionsSnapshot
from tests.real.loop import decision

EVENT = {"event_id": "visit", "id": "c1", "value": 2, "shop": "Lyon"}


class Message(NamedTuple):
    """A message of a log."""

    value: bytes | None
    topic: str = "decisions"
    partition: int = 2
    offset: int = 41
    time_ms: int = 1_795_478_399_999
    key: bytes | None = b"k"
    headers: Sequence[tuple[str, bytes]] = ()


def rows(topic: str, value: bytes | None, **fields: Any) -> list[dict[str, Any]]:
    return table_of(topic, rows_of(topic, Message(value, **fields))).to_pylist()  # type: ignore[no-any-return]


def outcome(**changes: Any) -> Outcome:
    feedback = CountedFeedback(
        stream="clicks", time_ms=7, partition=1, offset=2, index=3, event=msgspec.Raw(json.dumps(EVENT).encode())
    )
    fields = {
        "event_id": "visit",
        "placement": "front",
        "policy": "front",
        "policy_version": "3-0a1b2c3d",
        "shard": 1,
        "outcome_seq": 12,
        "reward": 2.5,
        "learn": True,
        "why": "window",
        "closed_ms": 1_795_478_400_001,
        "decision_position": LogPosition(5, "decisions", 2, 6, 1),
        "feedback": [feedback, feedback, msgspec.structs.replace(feedback, stream="views")],
        "decision": msgspec.Raw(json.dumps(decision("visit", user_id="u", expires_at_ms=9)).encode()),
    }
    return Outcome(**(fields | changes))  # type: ignore[arg-type]


def test_a_decision_in_columns() -> None:
    record = decision("visit", actions=[{"id": "a", "features": {"item": {"price": 2.50}}}, {"id": "b", "more": 1}])
    (row,) = rows("decisions", json.dumps(record).encode())
    assert row["log_time"].isoformat() == "2026-11-23T23:59:59.999000+00:00"
    assert (row["topic"], row["partition"], row["offset"], row["index"], row["batch"]) == ("decisions", 2, 41, 0, None)
    assert (row["key"], json.loads(row["raw"]), row["problem"]) == (b"k", record, None)
    assert row["pmf"] == [0.5, 0.5]
    assert row["ranking"] == ["a", "b"]
    assert row["actions"] == [{"id": "a", "features": '{"item": {"price": 2.5}}'}, {"id": "b", "features": "{}"}]
    assert json.loads(row["context"]) == record["context"]
    assert json.loads(row["rule"]) == record["rule"]
    for name in ("event_id", "placement", "policy", "policy_version", "chosen", "propensity"):
        assert row[name] == record[name]
    assert (row["user_id"], row["activate"], row["expires_at_ms"]) == (None, True, None)


def test_an_outcome_in_columns() -> None:
    first, row = rows("rewards", encode([outcome(outcome_seq=11), outcome()]))
    assert (first["outcome_seq"], first["index"], row["index"], row["batch"]) == (11, 0, 1, 2)
    assert row["streams"] == ["clicks", "views"]
    assert [event["stream"] for event in row["feedback"]] == ["clicks", "clicks", "views"]
    event = row["feedback"][0]
    assert (event["partition"], event["offset"], event["index"], event["id"], event["value"]) == (1, 2, 3, "c1", 2.0)
    assert json.loads(event["event"]) == EVENT
    assert (row["shard"], row["reward"], row["learn"], row["why"], row["revision"]) == (1, 2.5, True, "window", 0)
    assert row["closed_at"].timestamp() == pytest.approx(1_795_478_400.001)
    cited = [row[f"decision_{name}"] for name in ("topic", "partition", "offset", "index")]
    assert cited == ["decisions", 2, 6, 1]
    assert (row["chosen"], row["pmf"], row["user_id"], row["expires_at_ms"]) == ("a", [0.5, 0.5], "u", 9)
    assert msgspec.json.decode(row["raw"], type=Outcome) == outcome()


def test_versions_in_columns() -> None:
    version = PolicyVersion(
        placements=("front",),
        policy="front",
        number=3,
        version="3-0a1b2c3d",
        kind="vw",
        arguments="-q uA",
        salt="s",
        cut=9,
        last_seqs={"front/0": 5, "front/11": 7},
        digest="d" * 64,
        examples=12,
        published_ms=1000,
    )
    snapshot = VersionsSnapshot(end_offset=7, versions=[LoggedVersion(offset=3, version=version)])
    identity, row, snapshot_row = rows("versions", encode([LogIdentity(log_id="x"), version, snapshot]))
    assert (identity["log_id"], identity["number"]) == ("x", None)
    assert row["last_seqs"] == [
        {"placement": "front", "shard": 0, "outcome_seq": 5},
        {"placement": "front", "shard": 11, "outcome_seq": 7},
    ]
    assert (row["log_id"], row["number"], row["cut"], row["examples"]) == (None, 3, 9, 12)
    # Nobody takes it for one more version.
    assert (snapshot_row["policy"], snapshot_row["number"], snapshot_row["problem"]) == (None, None, None)
    assert snapshot_row["raw"] == encode(snapshot)


def test_dead_letters_are_never_taken_apart() -> None:
    headers = [("topic", b"clicks"), ("partition", b"7"), ("offset", b"9" * 30), ("reason", b"late"), ("x", b"\xff")]
    (row,) = rows("dead-letters", b"[1, 2]", headers=headers)
    assert (row["raw"], row["batch"], row["problem"]) == (b"[1, 2]", None, None)
    assert (row["source_topic"], row["source_partition"], row["source_offset"]) == ("clicks", 7, None)
    assert (row["reason"], row["message"]) == ("late", None)
    assert [(each["name"], each["content"]) for each in row["headers"]] == headers


@pytest.mark.parametrize("topic", ["decisions", "rewards", "versions"])
@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"no json",
        b"[",
        b"\xff\xfe",
        b"{}",
        b"[1, null, []]",
        b'{"v": 2}',
        json.dumps(decision("x", expires_at_ms=2**70)).encode(),
        json.dumps(decision("\ud800")).encode(),
        json.dumps(decision("x", pmf="many")).encode(),
        encode(outcome(shard=2**40)),
        encode(outcome(closed_ms=2**62)),
        encode(outcome(decision=msgspec.Raw(b"[]"))),
        b"[" * 100_000,
    ],
    ids=range(15),
)
def test_what_is_no_record_is_a_row_with_its_bytes_and_the_reason(topic: str, value: bytes | None) -> None:
    good = {"decisions": json.dumps(decision("good")).encode(), "rewards": encode(outcome())}
    good["versions"] = encode(LogIdentity(log_id="x"))
    table = table_of(topic, [*rows_of(topic, Message(good[topic])), *rows_of(topic, Message(value))])
    first, *bad = table.to_pylist()
    assert first["problem"] is None
    assert (first["event_id"] if topic != "versions" else first["log_id"]) is not None
    try:
        expected: list[bytes | None] = list(items(value))
    except BadInput:
        expected = [value]
    assert [row["raw"] for row in bad] == expected
    assert all(row["problem"] for row in bad)


@given(
    st.lists(st.lists(st.sampled_from([b"{}", b'{"a": [1]}', b" 7", b"null"]), max_size=4), max_size=5),
    st.integers(1, 3),
)
def test_messages_come_back_from_their_rows(batches: list[list[bytes]], size: int) -> None:
    messages = [Message(b"[" + b",".join(some) + b"]", offset=number) for number, some in enumerate(batches)]
    messages += [Message(some[0], offset=len(batches) + number) for number, some in enumerate(batches) if some]
    table = table_of("decisions", [row for message in messages for row in rows_of("decisions", message)])
    read_back = list(messages_of("decisions", 2, iter(table.to_batches(size))))
    # An array without a record has no row.
    expected = [message for message in messages if items(message.value)]
    assert [(each.offset, each.time_ms, items(each.value)) for each in read_back] == [
        (each.offset, each.time_ms, items(each.value)) for each in expected
    ]


def test_no_rows_are_a_table_too() -> None:
    for topic in TOPICS:
        assert table_of(topic, []).schema == SCHEMAS[topic]

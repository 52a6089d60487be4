"""Lines of JSON: whatever is in them, the error names file, line and field; and none stops the process."""

import gzip
import json
import lzma
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bowerbird.evaluation_request import EvaluationRequest
from bowerbird.log_formats.log_format import format_for
from records.errors import BadInput, LossDetected, WrongConfiguration
from replay.evaluation.logs import json_outcomes
from replay.evaluation.logs.entries import WITH_CONTEXTS, WITHOUT_CONTEXTS
from replay.evaluation.logs.json_outcomes import JsonLines
from replay.evaluation.logs.outcome_selection import OutcomeOptions
from replay.evaluation.logs.outcomes import OutcomeLog
from replay.evaluation.rows import EvaluationRows
from replay.proof.archived_policy import uniform
from tests.replay.evaluation.logs.rows import same, together


def outcome(seq: int, **fields: Any) -> dict[str, Any]:
    """Return an outcome; names with an underscore before them are of its decision."""
    drawn = {name[1:]: value for name, value in fields.items() if name.startswith("_")}
    decision = {
        "v": 1,
        "event_id": f"event-{seq}",
        "placement": "front",
        "policy": "front",
        "context": {"user": {"age": seq % 3}},
        "actions": [{"id": "a"}, {"id": "b", "features": {"size": 1}}],
        "pmf": [0.25, 0.75],
        "chosen": "b",
        "propensity": 0.75,
        "policy_version": "1-0a1b2c3d",
        "rule": {"window_s": 1.0},
    } | drawn
    return {
        "v": 1,
        "event_id": f"event-{seq}",
        "placement": "front",
        "policy": "front",
        "policy_version": "1-0a1b2c3d",
        "shard": 0,
        "outcome_seq": seq,
        "reward": 1.0,
        "learn": True,
        "why": "window",
        "closed_ms": 5,
        "decision_position": {"time_ms": 1000 + seq, "topic": "decisions", "partition": 0, "offset": seq, "index": 0},
        "feedback": [],
        "decision": decision,
    } | {name: value for name, value in fields.items() if not name.startswith("_")}


def line(seq: int, **fields: Any) -> bytes:
    return json.dumps(outcome(seq, **fields)).encode() + b"\n"


GOOD = b"".join(map(line, range(1, 6)))


def read(file: Path, **fields: Any) -> EvaluationRows:
    return together(OutcomeLog(JsonLines(file), uniform(), OutcomeOptions(**fields)).blocks())


def written(folder: Path, content: bytes, name: str = "log.jsonl") -> Path:
    (folder / name).write_bytes(content)
    return folder / name


@pytest.mark.parametrize("entries", [WITHOUT_CONTEXTS, WITH_CONTEXTS])
def test_a_reward_that_no_model_takes_is_named_by_its_line(tmp_path: Path, entries: str) -> None:
    file = written(tmp_path, GOOD + line(6, reward=1e7) + line(7))
    assert read(file).reward.max() == 1e7
    with pytest.raises(BadInput, match=r"^log\.jsonl, line 6: reward: found 10000000\.0, expected a number within"):
        read(file, wanted=[entries])


def test_a_mark_at_the_beginning_is_no_text(tmp_path: Path) -> None:
    assert len(read(written(tmp_path, b"\xef\xbb\xbf" + GOOD))) == 5


@pytest.mark.parametrize(("name", "pack"), [("a.jsonl", bytes), ("a.jsonl.gz", gzip.compress), ("a.xz", lzma.compress)])
def test_a_file_however_it_is_packed(tmp_path: Path, name: str, pack: Callable[[bytes], bytes]) -> None:
    rows = read(written(tmp_path, pack(GOOD), name))
    assert rows.time_ms is not None
    assert rows.time_ms.tolist() == [1001, 1002, 1003, 1004, 1005]
    assert rows.target.tolist() == [0.5] * 5


@pytest.mark.parametrize(
    "between", [b"\n", b"\r\n", b" \n\t\n", b"\n\n\n"], ids=["a line", "as of Windows", "spaces", "empty lines"]
)
@pytest.mark.parametrize("block", [1, 700, 10**6])
def test_lines_however_they_end_and_wherever_blocks_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, between: bytes, block: int
) -> None:
    expected = read(written(tmp_path, GOOD, "expected.jsonl"))
    monkeypatch.setattr(json_outcomes, "BLOCK_BYTES", block)
    content = between + between.join(GOOD.splitlines())
    same(read(written(tmp_path, content)), expected)
    hostile = written(tmp_path, content + between + line(6, reward="much"))
    number = hostile.read_bytes().count(b"\n")
    with pytest.raises(BadInput, match=rf"log\.jsonl, line {number}: reward: found \"much\", expected a number"):
        read(hostile)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"[" + line(6).strip() + b"]\n", "log.jsonl: found a JSON array, expected JSON lines"),
        (b'{"_label_cost": -1}\n', "log.jsonl: found dsjson, as Vowpal Wabbit reads it, expected a table"),
        (b'{"click": 1, "p": 0.5}\n', "log.jsonl: found a row with the fields click, p, expected an outcome"),
    ],
)
def test_a_file_of_another_kind_is_named_before_an_option_is_missed(tmp_path: Path, content: bytes, says: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(BadInput, match=re.escape(says)):
        read(path)
    request = EvaluationRequest(str(path))
    with pytest.raises(BadInput, match=re.escape(says)):
        format_for(request).target(request)


HOSTILE: list[tuple[str, str, bytes]] = [
    ("no JSON", "line 6: value: found", b"nonsense\n"),
    ("a bare null", "line 6: placement: found null", b"null\n"),
    ("a number", "line 6: value: found 7", b"7\n"),
    ("an array", "line 6: value: found a list", b"[" + line(6).strip() + b"]\n"),
    ("cut short", "line 6: value: found text that is no JSON: it ends too early", line(6)[:200] + b"\n"),
    ("two on a line", "line 6: value: found", line(6).strip() + line(7)),
    ("null behind one", "line 6: value: found", line(6).strip() + b" null\n"),
    ("no UTF-8", "line 6: value: found", line(6).replace(b"event-6", b"\xff\xfe")),
    ("a NUL", "line 6", line(6).replace(b"event-6", b"\0")),
    ("deep", "line 6", b'{"a": ' + b"[" * 100_000 + b"\n"),
    (
        "deep, and beside it all missing",
        "line 6: placement: found null",
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"\n",
    ),
    (
        "a field twice",
        "line 6: shard: found the field twice",
        line(6).replace(b'"shard": 0', b'"shard": 0, "shard": 1'),
    ),
    ("no seq", "line 6: outcome_seq: found null", line(6).replace(b'"outcome_seq"', b'"sex"')),
    ("no decision", "line 6: decision.propensity: found null", line(6).replace(b'"decision"', b'"other"')),
    ("no pmf", "line 6: decision.pmf: found null", line(6).replace(b'"pmf"', b'"pdf"')),
    ("no time", "line 6: decision_position.time_ms: found null", line(6).replace(b'"time_ms"', b'"time"')),
    ("a giant seq", "line 6: outcome_seq: found 1.*, expected an integer", line(10**30)),
    ("a reward as text", 'line 6: reward: found "1", expected a number', line(6, reward="1")),
    ("an endless reward", "line 6: reward: found", line(6, reward=float("inf"))),
    ("a reward that is none", "line 6: reward: found nan", line(6, reward=float("nan"))),
    ("learn as a number", "line 6: learn: found 1, expected true or false", line(6, learn=1)),
    ("propensity 0", "line 6: decision.propensity: found 0.0", line(6, _propensity=0)),
    ("propensity 2", "line 6: decision.propensity: found 2.0", line(6, _propensity=2)),
    ("propensity nan", "line 6: decision.propensity: found nan", line(6, _propensity=float("nan"))),
    ("another propensity", "line 6: decision.propensity: found 0.5, expected 0.75", line(6, _propensity=0.5)),
    ("a sum of 1.5", "line 6: decision.pmf: found probabilities with the sum 1.5", line(6, _pmf=[0.75, 0.75])),
    ("no probability", "line 6: decision.pmf: found no action", line(6, _pmf=[])),
    ("ragged", "line 6: decision.pmf: found 3 probabilities, expected 2", line(6, _pmf=[0.25, 0.75, 0])),
    ("a hole in the pmf", "line 6: decision.pmf: found probabilities", line(6, _pmf=[0.25, None])),
    ("a pmf as text", "line 6: decision.pmf", line(6, _pmf="many")),
    ("unknown action", "line 6: decision.chosen: found 'c'", line(6, _chosen="c")),
    ("an action twice", "line 6: decision.chosen: found 'b'", line(6, _actions=[{"id": "b"}, {"id": "b"}])),
    ("an action without id", "line 6: decision.chosen", line(6, _actions=[{"id": "a"}, {}])),
    ("an action that is null", "line 6: decision.chosen", line(6, _actions=[{"id": "a"}, None])),
    ("actions as text", "line 6: decision.actions", line(6, _actions="b")),
]


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b'{"_label_cost":-1,"_label_probability":0.8,"a":[1]}\n', ["dsjson", "_label_probability", "CSV"]),
        (b'{"click": 1, "p": 0.5}\n', ["a row with the fields click, p", "Parquet or CSV", "--column"]),
    ],
)
def test_a_file_of_another_kind_is_named(tmp_path: Path, content: bytes, parts: list[str]) -> None:
    with pytest.raises(BadInput) as refused:
        read(written(tmp_path, content))
    for part in ("log.jsonl: found ", *parts):
        assert part in str(refused.value)


@pytest.mark.parametrize(("message", "content"), [each[1:] for each in HOSTILE], ids=[each[0] for each in HOSTILE])
def test_a_line_that_is_no_outcome_is_named(tmp_path: Path, message: str, content: bytes) -> None:
    with pytest.raises(BadInput, match=rf"^log\.jsonl, {message}".replace("(", r"\(")):
        read(written(tmp_path, GOOD + content + line(7)))


@pytest.mark.parametrize("content", [b"null\n", b"[null]\n", b"7\n", b'"a"\n', b"\0\n"])
def test_a_file_that_begins_with_no_outcome_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(BadInput, match=r"^log\.jsonl, line 1: "):
        read(written(tmp_path, content + GOOD))


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(WrongConfiguration, match="found no such file, expected JSON lines"):
        read(tmp_path / "none.jsonl")
    for content in (b"no gzip", gzip.compress(GOOD * 50)[:-30]):
        with pytest.raises(BadInput, match=r"log\.jsonl\.gz: found .*, expected JSON lines"):
            read(written(tmp_path, content, "log.jsonl.gz"))
    for content in (b"", b"\n\n  \n"):
        assert list(OutcomeLog(JsonLines(written(tmp_path, content)), None, OutcomeOptions(mixed=True)).blocks()) == []


def test_an_endless_line_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_outcomes, "BLOCK_BYTES", 1000)
    monkeypatch.setattr(json_outcomes, "LONGEST_LINE", 10_000)
    assert len(read(written(tmp_path, GOOD + line(6, text="x" * 8_000)))) == 6
    with pytest.raises(BadInput, match=r"log\.jsonl: found a line of more than 10000 bytes"):
        read(written(tmp_path, GOOD + line(6, text="x" * 12_000)))


def test_an_export_begins_anywhere_and_has_no_holes(tmp_path: Path) -> None:
    file = written(tmp_path, b"".join(map(line, (7, 8, 8, 10))))
    with pytest.raises(LossDetected, match=r"shard 0 in log\.jsonl, line 4: found seq 10, expected seq 9"):
        read(file)
    (block,) = OutcomeLog(JsonLines(file), uniform(), OutcomeOptions(count_missing=True)).blocks()
    assert (len(block.rows), block.left_out) == (3, {"repeats": 1, "missing": 1})


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    content = [
        line(1),
        line(2, learn=False, why="expired"),
        line(3, revision=1),
        line(3, policy_version="external"),
        line(4, _propensity=1e-30, _pmf=[1.0, 1e-30]),
        line(5, placement="side", policy="side"),
    ]
    (block,) = OutcomeLog(JsonLines(written(tmp_path, b"".join(content))), uniform(), OutcomeOptions("front")).blocks()
    assert block.left_out == {"expired": 1, "corrections": 1, "external": 1, "refused": 1}
    assert len(block.rows) == 1


def test_the_progress_ends_with_the_file(tmp_path: Path) -> None:
    progress: list[tuple[int, int]] = []
    list(
        OutcomeLog(JsonLines(written(tmp_path, GOOD)), uniform()).blocks(
            lambda passed, of: progress.append((passed, of))
        )
    )
    assert progress[-1] == (len(GOOD), len(GOOD))

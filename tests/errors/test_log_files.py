"""Readers of logs, whatever the file holds: exit code 2 and a sentence, or an answer."""

import bz2
import gzip
import io
import json
import lzma
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from records.codec import encode
from tests.errors.law import broken, invoked, obeys
from tests.errors.test_doors import STRANGE, places, replaced
from tests.replay.archived import archive_of
from tests.replay.world import busy_world

SUFFIXES = (
    *(".csv", ".tsv", ".txt", *(f".csv{pack}" for pack in (".gz", ".zst", ".zip", ".bz2", ".xz"))),
    *(".jsonl", ".json", ".ndjson.gz", ".json.zst", ".jsonl.zip", ".json.bz2", ".jsonl.xz"),
    *(".parquet", ".arrow", ".feather", ".npy", ".toml", ".xyz", ""),
)
COLUMNS = ("--column", "reward=click", "--column", "propensity=p", "--column", "target=t")
TABLE = {"click": [1.0, 0.0, 0.0], "p": [0.5, 0.25, 0.25], "t": [0.5, 0.25, 0.5], "action": ["a", "b", "b"]}
PACKED: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda content: pa.compress(content, "zstd", asbytes=True),
    ".zip": lambda content: _zipped(content),
}


def _zipped(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("log", content)
    return file.getvalue()


def outcome_lines() -> list[bytes]:
    return [encode(outcome) + b"\n" for _, outcome in busy_world(12).outcomes()]


def contents(suffix: str) -> list[bytes]:
    """Return bytes of many kinds; some are whole for one suffix, and none of them for all."""
    text = b"click,p,t,action\n1,.5,.5,a\n0,.25,.5,b\n" + b"0,.25,.5,b\n" * 40
    lines = b"".join(outcome_lines())
    table = io.BytesIO()
    pq.write_table(pa.table(TABLE), table)
    arrow = io.BytesIO()
    feather.write_feather(pa.table(TABLE), arrow, compression="uncompressed")
    whole = [
        b"",
        b"\0" * 50,
        bytes(range(256)),
        text,
        lines,
        table.getvalue(),
        arrow.getvalue(),
        b"{}\n",
        b"[1, 2]",
        b"\n",
    ]
    whole += [b"click,p\n1,2,3\n", b'"', b"click\n\xff\n", b"click,p,t\n1,nan,\n", b"null\n", b'{"a": NaN}', lines[:-9]]
    packs = [pack(content[:-3]) for pack in PACKED.values() for content in (text, lines)]
    packs += [pack(text)[:-9] for pack in PACKED.values()]
    if (pack := PACKED.get(f".{suffix.rpartition('.')[2]}")) is not None:
        whole += [pack(content) for content in whole] + [b"".join((pack(lines), b"junk"))]
    return whole + packs + [table.getvalue()[:-20], table.getvalue()[:40], arrow.getvalue()[:-8]]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_bytes_of_every_kind_under_every_suffix(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"a log{suffix}"
    for content in contents(suffix):
        file.write_bytes(content)
        options: tuple[str, ...] = () if "json" in suffix else COLUMNS
        obeys(invoked(["log", "describe", str(file), *options]), codes=(0, 2))
    if suffix not in (".toml", "", ".xyz"):
        obeys(invoked(["replay", "evaluate", str(file), "--target", "uniform", *options]), codes=(0, 2))


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet", ".arrow", ".json.gz", ".csv.zip", ".toml", ""])
def test_what_is_no_file(suffix: str, tmp_path: Path) -> None:
    folder = tmp_path / f"folder{suffix}"
    folder.mkdir()
    (tmp_path / f"loop{suffix}").symlink_to(tmp_path / f"loop{suffix}")
    os.mkfifo(tmp_path / f"pipe{suffix}")
    for name in ("folder", "loop", "missing", "a\x1b[2Jb", "x" * 300, "missing/in", "pipe"):
        if (name, suffix) == ("pipe", ".toml"):
            continue  # Settings may come from a pipe.
        path = tmp_path / f"{name}{suffix}"
        for command in (["log", "describe", str(path)], ["replay", "evaluate", str(path), "--target", "uniform"]):
            obeys(invoked(command))


@pytest.mark.slow
def test_a_wrong_value_in_each_field_of_an_outcome(tmp_path: Path) -> None:
    first, *others = [json.loads(line) for line in outcome_lines()]
    file = tmp_path / "log.jsonl"
    kept = "".join(json.dumps(each) + "\n" for each in others)
    some = [None, "\x1b[2J", 10**40, [True]]
    refused = 0
    for path in places(first):
        if "context" in path[:-1] or len(path) > 3:
            continue
        for value in some:
            file.write_text(json.dumps(replaced(first, path, value)) + "\n" + kept)
            refused += bool(obeys(invoked(["log", "describe", str(file)]), codes=(0, 2)))
    assert refused > 60


@pytest.mark.parametrize("column", [*TABLE])
def test_a_column_of_each_type(column: str, tmp_path: Path) -> None:
    types: list[Any] = [
        *(pa.array([None] * 3), pa.array(["a", "\0", "\x1b[2J"]), pa.array([True, None, False]), pa.array([2**62] * 3)),
        *(pa.array([b"a", b"\xff", b""]), pa.array([[1.0], [], None]), pa.array([{"a": 1}] * 3), pa.array([-1.0] * 3)),
        *(pa.array([float("nan"), float("inf"), 1.0]), pa.array([0, 1, 2], pa.timestamp("s")), pa.array([[["a"]]] * 3)),
        *(
            pa.array([1, 2, 3], pa.decimal128(30, 2)),
            pa.array([0, 0, 0], pa.date32()),
            pa.array([1, 2, 3], pa.duration("s")),
        ),
    ]
    file = tmp_path / "log.parquet"
    for array in types:
        pq.write_table(pa.table({**TABLE, column: array}), file)
        obeys(invoked(["log", "describe", str(file), *COLUMNS, "--column", "action=action"]), codes=(0, 2))
        obeys(invoked(["replay", "evaluate", str(file), *COLUMNS, "--column", "action=action"]), codes=(0, 2))


def test_an_archive_with_files_that_are_spoilt(tmp_path: Path) -> None:
    world = busy_world(40)
    archive_of(world, tmp_path)
    for topic in ("rewards", "decisions"):
        for file in [*(tmp_path / topic).rglob("*.parquet")][:3]:
            whole = file.read_bytes()
            for content in (b"", b"\0" * 100, whole[:-30], whole[:60], whole[:100] + b"\xff" * 50 + whole[150:]):
                file.write_bytes(content)
                obeys(invoked(["log", "describe", str(tmp_path)]), codes=(0, 2))
            file.write_bytes(whole)
    for log in tmp_path.glob("_*log.json"):
        for text in ("", "[", "{}", '{"log_id": 3}', "\0"):
            log.write_text(text)
            obeys(invoked(["log", "describe", str(tmp_path)]), codes=(0, 2))


class Message(NamedTuple):
    topic: str
    partition: int
    offset: int
    time_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


def test_rows_of_the_archive_name_what_could_not_be_stored(tmp_path: Path) -> None:
    from archive.rows import rows_of, table_of
    from archive.schema import TOPICS

    for topic in TOPICS:
        for value in STRANGE:
            for document in (value, [value, value], {"event_id": value, "policy": value, "outcome_seq": value}):
                message = Message(topic, 0, 0, -1, b"k", json.dumps(document).encode(), ())
                table = table_of(topic, rows_of(topic, message))
                problems = table.column("problem").to_pylist() if "problem" in table.schema.names else []
                assert not [(each, broken(each)) for each in problems if each and broken(each)]

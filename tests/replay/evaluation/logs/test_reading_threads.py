"""No thread of a library is in a file of Python: where the interpreter ends meanwhile, the process would abort."""

import bz2
import gzip
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from records.codec import encode
from replay.evaluation.logs import opened
from replay.evaluation.logs.chunk import silent
from replay.evaluation.logs.json_outcomes import JsonLines
from replay.evaluation.logs.open_bandit_columns import log_at
from replay.evaluation.logs.open_bandit_log import OpenBanditLog
from replay.evaluation.logs.table_files import table_log
from tests.replay.world import busy_world

TABLE = b"reward;propensity;target\n" + b"1;0,5;0,5\n" * 300_000
OPEN_BANDIT = (
    b"timestamp,item_id,position,click,propensity_score,user_feature_0,user-item_affinity_0,user-item_affinity_1\n"
    + b"2019-11-24 00:00:01+00:00,1,1,1,0.5,u,0,0\n" * 80_000
)
OUTCOMES = b"\n".join(encode(outcome) for _, outcome in busy_world(200).outcomes() if outcome.policy == "front")


def table(path: Path) -> Iterator[Any]:
    return table_log(path).blocks()


def open_bandit(path: Path) -> Iterator[Any]:
    return OpenBanditLog(log_at(path)).blocks()


def json_lines(path: Path) -> Iterator[Any]:
    return iter(JsonLines(path).batches(("placement", "offset"), silent))


CASES: list[tuple[str, bytes, Callable[[Path], Iterator[Any]]]] = [
    ("log.csv", TABLE, table),
    ("log.csv.gz", gzip.compress(TABLE, 1), table),
    ("log.csv.bz2", bz2.compress(TABLE, 1), table),
    ("log.csv.zst", pa.compress(TABLE, "zstd", asbytes=True), table),
    ("log.csv", OPEN_BANDIT, open_bandit),
    ("log.csv.gz", gzip.compress(OPEN_BANDIT, 1), open_bandit),
    ("log.jsonl", OUTCOMES, json_lines),
]


@pytest.mark.parametrize(("name", "content", "read"), CASES, ids=[f"{each[0]}-{each[2].__name__}" for each in CASES])
def test_files_are_read_by_the_thread_that_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes, read: Callable[[Path], Iterator[Any]]
) -> None:
    seen: set[str] = set()
    plain = opened._Counted.read

    def noted(file: Any, size: int | None = -1) -> bytes:
        seen.add(threading.current_thread().name)
        return plain(file, size)

    monkeypatch.setattr(opened._Counted, "read", noted)
    (tmp_path / name).write_bytes(content)
    reading = read(tmp_path / name)
    assert next(reading) is not None
    assert seen == {threading.current_thread().name}

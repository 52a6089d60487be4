"""Reading the archive: by us, by pandas, polars and DuckDB, and where its files are damaged."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import bowerbird
from archive.names import ArchiveFile
from archive.reader import Archive
from archive.rows import rows_of, table_of
from archive.schema import SCHEMAS
from records.errors import StateRefused, WrongConfiguration
from tests.replay.world import World, busy_world

PAGE = Path(__file__).parents[2] / "docs" / "archive.md"


class Message(NamedTuple):
    """A message of a log."""

    topic: str
    partition: int
    offset: int
    time_ms: int
    value: bytes | None
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()


class Files:
    """Writes files of an archive."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        (root / "_log.json").write_text('{"v":1,"log_id":"cluster/log"}')

    def put(self, topic: str, messages: list[Any], first: int, last: int) -> Path:
        """Write messages as a file that is said to hold the offsets from first to last."""
        rows = [row for message in messages for row in rows_of(topic, Message(*message))]
        partition = messages[0].partition if messages else 0
        path = self.root / ArchiveFile(topic, partition, first, last, "1970-01-01").path
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table_of(topic, rows), path, row_group_size=3)
        return path


@pytest.fixture
def files(tmp_path: Path) -> Files:
    (tmp_path / "data").mkdir()
    return Files(tmp_path / "data" / "archive")


@pytest.fixture
def world(files: Files) -> World:
    """Give a world whose logs are archived, five messages a file."""
    made = busy_world()
    for (topic, _), log in made.logs.items():
        if topic in ("decisions", "rewards"):
            for start in range(0, len(log), 5):
                some = log[start : start + 5]
                files.put(topic, some, 2 * start, some[-1].offset + 1)
    return made


def test_every_outcome_is_read_once_and_in_order(files: Files, world: World) -> None:
    log = world.logs["rewards", 0]
    # A crash of the join made it send some again, and two workers archived a range twice.
    repeats = [log[number]._replace(offset=log[-1].offset + 2 + number) for number in range(4)]
    files.put("rewards", repeats, log[-1].offset + 2, repeats[-1].offset)
    files.put("rewards", log[2:7], 4, log[6].offset + 1)
    expected = [outcome.outcome_seq for _, outcome in world.outcomes()]
    table = bowerbird.read(str(files.root))
    assert table.column("outcome_seq").to_pylist() == expected
    assert table.schema.names == [name for name in SCHEMAS["rewards"].names if name not in ("key", "raw")]
    assert bowerbird.read(str(files.root), columns=["reward"]).column("reward").to_pylist() == [
        outcome.reward for _, outcome in world.outcomes()
    ]
    lazy = bowerbird.read(str(files.root), columns=["offset", "outcome_seq"], lazy=True).collect()
    assert lazy.sort("offset")["outcome_seq"].to_list() == expected
    everything = [row for batch in Archive.at(str(files.root)).batches("rewards") for row in batch.to_pylist()]
    assert len(everything) == len(expected) + 4


def test_unreadable_records_are_no_repeats_of_each_other(files: Files) -> None:
    files.put("rewards", [Message("rewards", 0, number, 1, b"no outcome") for number in range(3)], 0, 2)
    assert len(bowerbird.read(str(files.root))) == 3
    assert len(bowerbird.read(str(files.root), lazy=True).collect()) == 3


def test_messages_are_those_of_the_log(files: Files, world: World) -> None:
    archive = Archive.at(str(files.root))
    for partition in range(3):
        log = world.logs["decisions", partition]
        end = log[-1].offset
        messages = list(archive.messages("decisions", partition, log[2].offset, end))
        assert [message.offset for message in messages] == [message.offset for message in log[2:-1]]
        assert [json.loads(message.value or b"") for message in messages] == [
            json.loads(message.value or b"") for message in log[2:-1]
        ]
        assert [message.time_ms for message in messages] == [message.time_ms for message in log[2:-1]]
        assert archive.held("decisions", partition, end) == (0, end + 2)
        assert archive.held("decisions", partition, end + 3) is None


def test_an_empty_archive(files: Files) -> None:
    for topic in SCHEMAS:
        assert len(bowerbird.read(str(files.root), topic)) == 0
        assert len(bowerbird.read(str(files.root), topic, lazy=True).collect()) == 0


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def foreign(path: Path) -> None:
    pq.write_table(pa.table({"x": [1]}), path)


def other_type(path: Path) -> None:
    table = pq.read_table(path, partitioning=None)
    place = table.schema.names.index("reward")
    pq.write_table(table.set_column(place, "reward", pa.array(["much"] * len(table))), path)


def other_offsets(path: Path) -> None:
    table = pq.read_table(path, partitioning=None)
    place = table.schema.names.index("offset")
    pq.write_table(table.set_column(place, "offset", pa.array([10**6] * len(table))), path)


@pytest.mark.parametrize(
    "damage",
    [cut, foreign, other_type, other_offsets, lambda path: path.write_bytes(b""), lambda path: path.write_text("PAR1")],
    ids=["cut", "foreign", "other_type", "other_offsets", "empty", "no_parquet"],
)
def test_a_damaged_file_is_named(files: Files, world: World, damage: Callable[[Path], Any]) -> None:
    path = sorted(files.root.glob("rewards/*/*.parquet"))[1]
    damage(path)
    with pytest.raises(StateRefused, match=re.escape(str(path)) + ".*found.*expected.*copy"):
        bowerbird.read(str(files.root))


@pytest.mark.parametrize(
    ("path", "options", "words"),
    [
        ("nowhere", {}, "_log.json"),
        ("archive", {"topic": "clicks"}, "topic: found clicks, expected one of decisions"),
        ("archive", {"columns": ["outcome_seq", "sequel"]}, "columns: found sequel, expected some of"),
        ("archive", {"prefix": "shop."}, "_shop.log.json"),
        ("ftp://host/archive", {}, "ftp://"),
    ],
)
def test_what_is_no_archive(files: Files, path: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(WrongConfiguration, match=re.escape(words)):
        bowerbird.read(path if "://" in path else str(files.root.parent / path), **options)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"log_id": 7}'])
def test_an_archive_that_does_not_know_its_log(files: Files, content: bytes) -> None:
    (files.root / "_log.json").write_bytes(content)
    with pytest.raises(StateRefused, match=r"_log\.json"):
        bowerbird.read(str(files.root))


def blocks() -> list[str]:
    """Return the Python examples of the page."""
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.mark.parametrize("number", range(5))
def test_the_examples_of_the_page_run(
    files: Files, world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    assert len(blocks()) == 5
    monkeypatch.chdir(files.root.parents[1])
    names: dict[str, Any] = {"bowerbird": bowerbird, "pl": pl}
    if "import duckdb" in blocks()[number]:
        # DuckDB reports what it has not freed at the end of its process, after everything else.
        done = subprocess.run([sys.executable, "-c", blocks()[number]], capture_output=True, text=True, check=True)
        printed = done.stdout
    else:
        exec(blocks()[number], names)
        printed = capsys.readouterr().out
    outcomes = [outcome for _, outcome in world.outcomes()]
    front = [outcome for outcome in outcomes if (outcome.policy, outcome.policy_version) == ("front", "0-00000000")]
    if number == 0:
        assert len(names["outcomes"]) == len(outcomes)
        assert len(names["decisions"].collect()) == sum(
            len(log) for (topic, _), log in world.logs.items() if topic == "decisions"
        )
    elif number == 1:
        frame = names["joined"].agg(join_rate=pl.len() / pl.first("of"), reward=pl.mean("reward")).collect()
        clicked = [outcome for outcome in front if any(event.stream == "clicks" for event in outcome.feedback)]
        (row,) = frame.filter(policy="front", policy_version="0-00000000", streams="clicks").to_dicts()
        assert row["join_rate"] == len(clicked) / len(front)
        assert row["reward"] == pytest.approx(sum(outcome.reward for outcome in clicked) / len(clicked))
    elif number == 2:
        learned = [outcome.reward for outcome in front if outcome.learn]
        table = (
            names["outcomes"][names["outcomes"].learn]
            .groupby(["policy", "policy_version"])
            .reward.agg(["count", "mean"])
        )
        assert table.loc["front", "0-00000000"].to_list() == pytest.approx([len(learned), sum(learned) / len(learned)])
    else:
        assert ("1970-01-01" if number == 3 else "purchases") in printed


def test_the_page_tells_the_schema() -> None:
    """Every column with its type, in the order of the schema; the page is the promise."""
    sections = re.split(r"^### ", PAGE.read_text(), flags=re.MULTILINE)[1:]
    documented = {
        section.split("\n")[0]: re.findall(r"^\| `(\w+)` \| (.+?) \|", section.split("\n## ")[0], re.MULTILINE)
        for section in sections
    }
    place = documented.pop("In every topic")
    assert set(documented) == set(SCHEMAS)
    for topic, columns in documented.items():
        schema = [(field.name, re.sub("item: |element: ", "", str(field.type))) for field in SCHEMAS[topic]]
        wanted = [*place, *columns, *(documented["decisions"] if topic == "rewards" else [])]
        assert sorted(wanted) == sorted(schema)

"""Frames and tables: the same rows from all libraries, and a value that cannot be is named by column and row."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from archive.hashes import event_hash, unit_hash
from records.errors import BadInput, BowerbirdError, WrongConfiguration
from replay.evaluation.logs.columns import Columns, as_log
from replay.evaluation.rows import EvaluationRows
from tests.replay.evaluation.logs.rows import named, same, together, with_column

PAGE = Path(__file__).parents[4] / "docs" / "logs.md"
ROWS = 40
LOG: dict[str, list[Any]] = {
    "reward": [float(number % 3 == 0) for number in range(ROWS)],
    "pmf": [[0.5, 0.25, 0.25] if number % 2 else [0.125, 0.875] for number in range(ROWS)],
    "target_pmf": [[0.0, 0.5, 0.5] if number % 2 else [0.5, 0.5] for number in range(ROWS)],
    "action": [number % 2 + number % 3 // 2 for number in range(ROWS)],
    "unit": [f"user-{number // 4}" for number in range(ROWS)],
    "event": [f"event-{number}" for number in range(ROWS)],
    "version": [f"v{number // 10}" for number in range(ROWS)],
    "time": [1_795_953_600_000 + 1_000 * number for number in range(ROWS)],
    "country": [("fr", "de", None)[number % 3] for number in range(ROWS)],
}
LOG["propensity"] = [pmf[action] for pmf, action in zip(LOG["pmf"], LOG["action"], strict=True)]

FEW = {"reward": [1.0, 0.0], "propensity": [0.5, 0.5]}


def table(**columns: Any) -> pa.Table:
    return pa.table({**LOG, **columns})


def rows(data: Any, columns: Columns | None = None) -> EvaluationRows:
    return together(as_log(data, columns).blocks())


def polars_frame() -> pl.DataFrame:
    frame = pl.DataFrame(LOG)
    return frame.with_columns(pl.col("version").cast(pl.Categorical), pl.col("time").cast(pl.Datetime("ms")))


def pandas_frame() -> pd.DataFrame:
    frame = pd.DataFrame(LOG)
    frame["time"] = pd.to_datetime(frame["time"], unit="ms", utc=True)
    frame["version"] = frame["version"].astype("category")
    return frame


def chunked() -> pa.Table:
    batches = table().to_batches()[0]
    return pa.Table.from_batches([batches.slice(start, 7) for start in range(0, ROWS, 7)])


def views() -> pa.Table:
    return table(unit=pa.array(LOG["unit"], pa.string_view()), pmf=pa.array(LOG["pmf"], pa.large_list(pa.float64())))


ORIGINS: dict[str, Any] = {
    "a mapping": lambda: LOG,
    "arrays": lambda: {**LOG, "reward": np.array(LOG["reward"]), "action": np.array(LOG["action"], dtype=np.int8)},
    "pyarrow": table,
    "chunks": chunked,
    "a reader": lambda: table().to_reader(max_chunksize=3),
    "views": views,
    "polars": polars_frame,
    "pandas": pandas_frame,
    "rewards as truths": lambda: table(reward=[bool(reward) for reward in LOG["reward"]]),
    "dates of another unit": lambda: table(
        time=pa.array(LOG["time"]).cast(pa.timestamp("ms")).cast(pa.timestamp("ns"))
    ),
}


@pytest.mark.parametrize("origin", ORIGINS)
def test_the_same_rows_from_all(origin: str) -> None:
    same(
        rows(ORIGINS[origin](), Columns(segments=["country"])),
        rows(table(), Columns(segments=["country"])),
    )


def test_every_column_is_what_it_says() -> None:
    log = as_log(table(), Columns(segments=["country", "version"]))
    read_rows = together(log.blocks())
    assert log.has_target
    for row, (mu, pi, at) in enumerate(zip(LOG["pmf"], LOG["target_pmf"], LOG["action"], strict=True)):
        assert (read_rows.propensity[row], read_rows.target[row], read_rows.weight[row]) == (
            mu[at],
            pi[at],
            pi[at] / mu[at],
        )
        assert read_rows.squared_weight is not None
        assert read_rows.squared_weight[row] == pytest.approx(sum(p * p / m for p, m in zip(pi, mu, strict=True)))
        assert read_rows.rank is not None
        assert read_rows.rank[row] == pytest.approx(sum(mu[:at]) + mu[at] / 2)
        assert read_rows.unit_hash is not None
        assert read_rows.unit_hash[row] == unit_hash(LOG["unit"][row], "")
        assert read_rows.event_hash is not None
        assert read_rows.event_hash[row] == event_hash(LOG["event"][row])
    assert read_rows.time_ms is not None
    assert read_rows.time_ms.tolist() == LOG["time"]
    assert named(read_rows.version, log.names.versions.names) == LOG["version"]
    assert named(read_rows.action, log.names.actions.names) == [str(action) for action in LOG["action"]]
    countries = named(read_rows.segments["country"], log.names.segments["country"].names)
    assert countries == [country or "(none)" for country in LOG["country"]]
    assert named(read_rows.segments["version"], log.names.segments["version"].names) == LOG["version"]


def test_actions_by_their_names_are_actions_by_their_places() -> None:
    names = [["x", "y", "z"][: len(pmf)] for pmf in LOG["pmf"]]
    chosen = [some[action] for some, action in zip(names, LOG["action"], strict=True)]
    same(rows(table(action=chosen, actions=names)), rows(table()), but=["action"])
    # Without the lists of names nothing tells where in the pmf it stands.
    assert rows({"reward": [1.0], "propensity": [0.5], "action": ["x"], "pmf": [[0.5, 0.5]]}).rank is None


def test_ids_of_actions_are_looked_up_and_are_no_places() -> None:
    """Whole numbers in ``action`` and in ``actions`` are ids, in an order of its own in each row."""
    chance = np.random.default_rng(0)
    offered = np.array([chance.permutation(4) for _ in range(200)])
    place = chance.integers(0, 4, 200)
    prefers = np.array([0.1, 0.2, 0.3, 0.4])
    some = {"reward": place % 2, "actions": offered, "action": offered[np.arange(200), place]}
    for known in ({"pmf": prefers[::-1][offered]}, {"propensity": [0.25] * 200}):
        read_rows = rows({**some, **known, "target_pmf": prefers[offered]})
        assert read_rows.target.tolist() == prefers[some["action"]].tolist()
    texts = {**some, "action": some["action"].astype(str), "actions": [[str(each) for each in row] for row in offered]}
    lists = {"pmf": prefers[::-1][offered], "target_pmf": prefers[offered]}
    by_id, by_name = as_log({**some, **lists}), as_log({**texts, **lists})
    ((one,), (other,)) = [*by_id.blocks()], [*by_name.blocks()]
    same(one.rows, other.rows)
    assert (by_id.names.actions.names, one.taken) == (by_name.names.actions.names, other.taken)


def test_an_action_that_may_be_an_id_or_a_place_is_refused() -> None:
    some = {"reward": [1], "pmf": [[0.5, 0.5]], "action": [1]}
    assert rows({**some, "actions": [["a", "b"]]}).propensity.tolist() == [0.5]
    with pytest.raises(BadInput, match="action: found a number, 1, and actions that are texts with numbers, expected"):
        rows({**some, "actions": [["1", "0"]]})
    with pytest.raises(BadInput, match="action: found '1', expected exactly one of the actions; if it is their index"):
        rows({**some, "actions": [[10, 20]]})
    assert rows({**some, "actions": [["1", "0"]]}, Columns(actions="-")).propensity.tolist() == [0.5]
    assert rows({**some, "actions": [[10, 20]]}, Columns(actions="-")).propensity.tolist() == [0.5]


def test_the_target_is_what_the_columns_tell() -> None:
    few = {"reward": [1.0, 0.0], "propensity": [0.5, 0.25]}
    itself = as_log(few)
    assert not itself.has_target
    assert together(itself.blocks()).weight.tolist() == [1.0, 1.0]
    assert rows({**few, "target": [1.0, 0.5]}).weight.tolist() == [2.0, 2.0]
    weighted = rows({**few, "weight": [3.0, 0.0]})
    assert (weighted.weight.tolist(), weighted.target.tolist()) == ([3.0, 0.0], [1.5, 0.0])
    models = rows({**few, "target": [1.0, 0.5], "model_logged": [0.1, 0.2], "model_target": [0.3, 0.4]})
    assert models.model_logged is not None
    assert models.model_logged.tolist() == [0.1, 0.2]
    partly = rows({"reward": [1.0], "pmf": [[0.5, 0.5]], "action": [1], "target": [1.0]})
    assert (partly.propensity.tolist(), partly.inverse is None, partly.squared_weight) == ([0.5], False, None)


def test_a_weight_that_contradicts_the_target_is_named_before_it_is_used() -> None:
    few = {"reward": [1.0, 0.0], "propensity": [0.5, 0.25], "target": [0.5, 0.5]}
    assert rows({**few, "weight": [1.00001, 2.0]}).weight.tolist() == [1.00001, 2.0]
    contradiction = {**few, "weight": [1.0, 3.0]}
    with pytest.raises(
        BadInput, match=r"row 1: weight: found 3, while target / propensity is 2, .*sample_weight=weight"
    ):
        rows(contradiction)
    assert rows(contradiction, Columns(weight="weight")).weight.tolist() == [1.0, 3.0]
    assert rows(contradiction, Columns(weight="-")).weight.tolist() == [1.0, 2.0]
    counted = rows(contradiction, Columns(sample_weight="weight"))
    assert counted.sample_weight is not None
    assert counted.sample_weight.tolist() == [1.0, 3.0]


def test_blocks_lie_where_the_rows_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("replay.evaluation.logs.chunk.BLOCK_ROWS", 16)
    chunks = list(as_log(table().to_reader(max_chunksize=5)).blocks())
    assert [(chunk.index, len(chunk.rows)) for chunk in chunks] == [(0, 16), (1, 16), (2, 8)]
    same(together(chunks), rows(table()))


def put(column: str, row: int, value: Any) -> dict[str, list[Any]]:
    return {**LOG, column: [value if number == row else each for number, each in enumerate(LOG[column])]}


HOSTILE: list[tuple[str, str, Any]] = [
    ("reward null", "reward: found null", put("reward", 7, None)),
    ("reward nan", "reward: found nan, expected a finite number", put("reward", 7, math.nan)),
    ("reward infinite", "reward: found inf", put("reward", 7, math.inf)),
    (
        "propensity 0",
        "propensity: found 0.0, expected a finite number from 1.35525e-20 to 1",
        put("propensity", 7, 0.0),
    ),
    ("propensity above 1", "propensity: found 1.5", put("propensity", 7, 1.5)),
    ("propensity negative", "propensity: found -0.5", put("propensity", 7, -0.5)),
    ("propensity nan", "propensity: found nan", put("propensity", 7, math.nan)),
    ("propensity null", "propensity: found null", put("propensity", 7, None)),
    ("another propensity", "propensity: found 0.3, expected 0.25, as the pmf says", put("propensity", 7, 0.3)),
    ("a sum of 1.25", "pmf: found probabilities with the sum 1.25", put("pmf", 7, [0.5, 0.5, 0.25])),
    ("a negative probability", "pmf: found probabilities with the sum 1,", put("pmf", 7, [0.5, 1.0, -0.5])),
    ("no action", "pmf: found no action", put("pmf", 7, [])),
    ("pmf null", "pmf: found null", put("pmf", 7, None)),
    ("a hole in the pmf", "pmf: found probabilities with the sum nan", put("pmf", 7, [0.5, None, 0.25])),
    ("ragged", "target_pmf: found 2 values, expected 3, one an action", put("target_pmf", 7, [0.5, 0.5])),
    ("a target of 1.5", "target_pmf: found probabilities with the sum 1.5", put("target_pmf", 7, [0.5, 0.5, 0.5])),
    ("an action beyond", "action: found 3, expected an index from 0 to 2", put("action", 7, 3)),
    ("an action before", "action: found -1", put("action", 7, -1)),
    ("unit null", "unit: found null", put("unit", 7, None)),
    ("time null", "time: found null", put("time", 7, None)),
    ("version null", "version: found null", put("version", 7, None)),
]


@pytest.mark.parametrize(("message", "data"), [each[1:] for each in HOSTILE], ids=[each[0] for each in HOSTILE])
@pytest.mark.parametrize("whole", [True, False], ids=["at once", "in batches"])
def test_a_value_that_cannot_be_is_named(message: str, data: Any, whole: bool) -> None:
    made = pa.table(data)
    with pytest.raises(BadInput, match=rf"^log, row 7: {re.escape(message)}"):
        rows(made if whole else made.to_reader(max_chunksize=5))


def test_texts_that_are_no_utf_8_are_refused() -> None:
    ends = pa.array([0, 1, 3], pa.int32()).buffers()[1]
    texts = pa.StringArray.from_buffers(2, ends, pa.py_buffer(b"a\xff\xfe"))
    with pytest.raises(BadInput, match=r"^log, row 0 or after it: found bytes that are no value"):
        rows(pa.table({"reward": [1.0, 0.0], "propensity": [0.5, 0.5], "unit": texts}))


def test_a_target_beyond_1_is_named() -> None:
    with pytest.raises(BadInput, match=r"^log, row 1: new: found 1.5, expected a finite number from 0 to 1"):
        rows({"reward": [1.0, 0.0], "propensity": [0.5, 0.25], "new": [1.0, 1.5]}, Columns(target="new"))


@pytest.mark.parametrize(
    ("data", "columns", "message"),
    [
        ({"a": [1]}, None, "reward: found no column of this name among a, expected one: name it"),
        ({"reward": [1]}, None, "propensity: found no column"),
        (
            {"reward": [1], "p": [1]},
            Columns(propensity="q"),
            "propensity: found 0 columns q, expected one among reward, p",
        ),
        (LOG, Columns(segments=["city"]), "segment: found 0 columns city"),
        ({"reward": ["1"], "propensity": [1]}, None, "reward: found column reward of string, expected numbers"),
        ({"reward": [1], "propensity": [[1]]}, None, "propensity: found column propensity of list<item: int64>"),
        (
            {"reward": [1], "propensity": [1], "pmf": [1]},
            None,
            "pmf: found column pmf of int64, expected lists of numbers",
        ),
        ({"reward": [1], "propensity": [1], "pmf": [["a"]]}, None, "pmf: found column pmf of list<item: string>"),
        ({"reward": [1], "propensity": [1], "time": [True]}, None, "time: found column time of bool"),
        (
            {"reward": [1], "propensity": [1], "target_pmf": [[1.0]]},
            None,
            "action: found none that has a place in target_pmf, expected a column action",
        ),
        ({"reward": [1], "pmf": [[1.0]], "action": ["a"]}, None, "propensity: found none, expected a column"),
        ({"reward": [1, 2], "propensity": [1]}, None, "log: found no columns"),
        ([1, 2], None, "log: found list, expected a table, a frame"),
        (None, None, "log: found NoneType"),
    ],
)
def test_columns_that_are_none(data: Any, columns: Columns | None, message: str) -> None:
    with pytest.raises(WrongConfiguration, match=re.escape(message)):
        rows(data, columns)


def test_a_column_can_be_ignored() -> None:
    odd = {"reward": [1.0], "propensity": [0.5], "pmf": ["many"]}
    assert rows(odd, Columns(pmf="-")).inverse is None


def test_no_rows_are_no_blocks() -> None:
    assert list(as_log(table().slice(0, 0)).blocks()) == []


def blocks_of_the_page() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.mark.parametrize("number", range(4))
def test_the_examples_of_the_page_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    assert len(blocks_of_the_page()) == 4
    (tmp_path / "foreign.txt").write_text('{"cost": -1, "p": 0.5, "a": "x", "user": "u"}\n' * 25_000)
    monkeypatch.chdir(tmp_path)
    exec(blocks_of_the_page()[number], {})
    assert ["balanced-snips", "[1.5 0.  0. ]", "mean=1.0", "array([1., 2.])"][number] in capsys.readouterr().out


def test_the_page_tells_every_field() -> None:
    cells = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", PAGE.read_text(), re.MULTILINE)
    names = {name for cell in cells for name in cell.split(", ")}
    assert {f"`{name}`" for name in Columns.fields()} <= names


@pytest.mark.parametrize(
    ("time", "says"),
    [
        (["noon"], "row 0: time: found 'noon', expected a time as 2026-11-29T12:00:00Z"),
        ([1_764_000_000], "row 0: time: found 1764000000, which looks like seconds since 1970"),
        (
            [1_764_000_000.5],
            "row 0: time: found 1764000000.5, which looks like seconds since 1970, expected whole numbers",
        ),
        ([1_764_000_000_000_000], "which looks like microseconds since 1970"),
        ([1_764_000_000_000_000_000], "which looks like nanoseconds since 1970"),
        ([1_764_000_000_000, 1_764_000_000], "row 1: time: found 1764000000, which looks like seconds"),
        ([20261130], "found 20261130, which looks like a date as YYYYMMDD, expected whole numbers of ms since 1970"),
        (["20261130"], "found 20261130, which looks like a date as YYYYMMDD"),
        ([202611301200], "found 202611301200, which looks like a date as YYYYMMDDHHMM"),
        ([20261130120000], "found 20261130120000, which looks like a date as YYYYMMDDHHMMSS"),
        ([874_724_710], "found 874724710, which looks like seconds since 1970"),
        ([0, 1_764_000_000], "found 0, which as ms since 1970 is 1970-01-01T00:00:00"),
        ([29_453_760], "found 29453760, which as ms since 1970 is 1970-01-01T08:10:53"),
        ([490_896], "found 490896, which as ms since 1970 is 1970-01-01T00:08:10"),
        ([46_023], "found 46023, which as ms since 1970 is 1970-01-01T00:00:46"),
        ([46_023.25], "found 46023.25, which as ms since 1970 is 1970-01-01T00:00:46"),
        ([202_611], "found 202611, which as ms since 1970 is 1970-01-01T00:03:22"),
        ([-1], "found -1, which as ms since 1970 is 1969-12-31T23:59:59"),
        ([2**62], "which is no time in ms since 1970"),
        ([2.0**70], "which is no time in ms since 1970"),
        ([math.inf], "which is no time in ms since 1970"),
        (["2026-11-29 12:00:00", "2026-11-29T12:00:00Z"], "found times with and without a zone"),
    ],
)
def test_times_in_another_unit_are_refused(time: Any, says: str) -> None:
    some = len(time)
    with pytest.raises(BadInput, match=re.escape(says)):
        rows({"reward": [1] * some, "propensity": [1] * some, "time": time})


@pytest.mark.parametrize(
    "times",
    [pd.to_datetime([1_764_000_000] * 2), ["2026-01-01", "1970-01-01"], pa.array([46_023, 3]).cast(pa.timestamp("ms"))],
)
def test_timestamps_of_numbers_in_another_unit_are_refused(times: Any) -> None:
    with pytest.raises(
        BadInput, match=r"time: found 1970-01-01T00:00:\d\d, expected a time after 1970: numbers become"
    ):
        rows({**FEW, "time": times})


def test_a_unit_that_changes_within_the_log_is_refused() -> None:
    later = table(time=[time // 1000 for time in LOG["time"]])
    both = pa.Table.from_batches([*table().to_batches(), *later.to_batches()])
    with pytest.raises(BadInput, match=f"row {ROWS}: time: found 1795953600, which looks like seconds since 1970"):
        rows(both)


@pytest.mark.parametrize(
    "time", ["2026-11-29T12:00:00Z", "2026-11-29 12:00:00", "2026-11-29T13:00:00+01:00", "1795953600000"]
)
def test_times_as_texts(time: str) -> None:
    read_rows = rows({"reward": [1], "propensity": [1], "time": [time]})
    assert read_rows.time_ms is not None
    assert read_rows.time_ms.tolist() == [1_795_953_600_000]


def test_ids_as_floats_and_truths_are_whole_numbers() -> None:
    log = as_log({"reward": [1, 0], "propensity": [1, 1], "action": [1.0, 0.0], "version": [True, False]})
    list(log.blocks())
    assert (log.names.actions.names, log.names.versions.names) == (["1", "0"], ["1", "0"])
    with pytest.raises(BadInput, match=r"row 1: action: found 0\.5, expected a text or a whole number"):
        rows({"reward": [1, 0], "propensity": [1, 1], "action": [1.0, 0.5]})


def test_what_lies_in_memory_in_other_forms() -> None:
    usual = rows({"reward": [1, 0], "pmf": [[0.5, 0.5], [0.25, 0.75]], "action": [0, 1]})
    matrix = rows({"reward": np.array([1, 0]), "pmf": np.array([[0.5, 0.5], [0.25, 0.75]]), "action": np.array([0, 1])})
    listed = rows([{"reward": 1, "pmf": [0.5, 0.5], "action": 0}, {"reward": 0, "pmf": [0.25, 0.75], "action": 1}])
    lazy = rows(pl.DataFrame({"reward": [1, 0], "pmf": [[0.5, 0.5], [0.25, 0.75]], "action": [0, 1]}).lazy())
    for other in (matrix, listed, lazy):
        assert other.propensity.tolist() == usual.propensity.tolist() == [0.5, 0.75]
        assert other.reward.tolist() == usual.reward.tolist()


ODD: dict[str, Callable[[], Any]] = {
    "mixed objects": lambda: pd.DataFrame({**FEW, "odd": [1, "a"]}),
    "integers beyond 64 bits": lambda: pd.DataFrame({**FEW, "odd": [2**70] * 2}),
    "complex numbers": lambda: pd.DataFrame({**FEW, "odd": np.ones(2, complex)}),
    "half a pair": lambda: pd.DataFrame({**FEW, "odd": ["\ud800", "a"]}, dtype=object),
    "a sparse column": lambda: pd.DataFrame({**FEW, "odd": pd.arrays.SparseArray([0, 1])}),
    "integers of 128 bits": lambda: pl.DataFrame(FEW).with_columns(odd=pl.lit(1).cast(pl.Int128)),
    "a mapping": lambda: {**FEW, "odd": [1, "a"]},
    "rows": lambda: [{"reward": 1.0, "propensity": 0.5, "odd": odd} for odd in (1, "a")],
}


@pytest.mark.parametrize("odd", ODD)
def test_only_columns_that_are_read_must_be_readable(odd: str) -> None:
    data = ODD[odd]()
    assert len(rows(data)) == 2
    with pytest.raises(WrongConfiguration, match=r"\bodd\b"):
        rows(data, Columns(unit="odd"))


def test_names_that_occur_twice_are_left_out() -> None:
    twice = pd.concat([pd.DataFrame(FEW), pd.DataFrame({"x": [1, 2]}), pd.DataFrame({"x": [1, 2]})], axis=1)
    assert len(rows(twice)) == 2
    with pytest.raises(WrongConfiguration, match="unit: found 2 columns x"):
        rows(twice, Columns(unit="x"))


def test_a_series_is_no_table() -> None:
    for series in (pd.Series([1.0]), pl.Series([1.0])):
        with pytest.raises(WrongConfiguration, match="log: found Series, expected a table"):
            rows(series)


def test_arrays_of_other_machines_and_precisions() -> None:
    for kind in (">f8", ">f4", np.longdouble):
        wide = rows(
            {"reward": np.array([1, 0], kind), "pmf": np.full((2, 2), 0.5, kind), "action": np.array([0, 1], ">i4")}
        )
        assert (wide.reward.tolist(), wide.propensity.tolist()) == ([1, 0], [0.5, 0.5])


@pytest.mark.parametrize("odd", [[[1], [2]], [{"a": 1}, {"a": 2}], [b"a", b"b"], pd.cut(np.arange(2), 2)])
def test_a_segment_that_is_no_name_is_refused(odd: Any) -> None:
    with pytest.raises(WrongConfiguration, match=r"segment: found column odd of .*, expected texts, numbers"):
        rows({**FEW, "odd": odd}, Columns(segments=["odd"]))


def test_segments_of_many_types() -> None:
    for values in (pd.Categorical([1, 2]), pa.nulls(2), [True, False], pd.to_datetime(["2026-01-01", "2026-01-02"])):
        assert len(rows({**FEW, "part": values}, Columns(segments=["part"])).segments["part"]) == 2


def test_categories_are_what_they_hold() -> None:
    plain = {"reward": [1.0, 0.0, 2.0], "pmf": [[0.25, 0.75]] * 3, "action": [0, 1, 1]}
    frame = pd.DataFrame(plain)
    frame["action"], frame["reward"] = frame["action"].astype("category"), frame["reward"].astype("category")
    same(rows(frame), rows(plain))
    hole = pa.DictionaryArray.from_arrays(pa.array([0, 1]), pa.array(["a", None]))
    with pytest.raises(BadInput, match=r"row 1: unit: found null"):
        rows(pa.table({**FEW, "unit": hole}))


@pytest.mark.parametrize(
    ("field", "values"),
    [("pmf", ["a", "b"]), ("actions", [1, 2]), ("time", [1, 2]), ("event", [None, "b"]), ("target", [3.0, 4.0])],
)
def test_a_column_that_is_called_like_a_field_by_chance(field: str, values: Any) -> None:
    with pytest.raises(BowerbirdError, match=re.escape(f"; if {field} is something else, --column {field}=-")):
        rows({**FEW, field: values})
    assert len(rows({**FEW, field: values}, with_column(field, "-"))) == 2
    with pytest.raises(BowerbirdError, match="expected") as error:
        rows({**FEW, "other": values}, with_column(field, "other"))
    assert "something else" not in str(error.value)


def test_a_probability_may_be_a_bit_more_than_1() -> None:
    assert rows({**FEW, "target": [1.0000000000000002, 0.5]}).target.tolist() == [1.0, 0.5]
    with pytest.raises(BadInput, match=r"target: found 1\.000001, expected a finite number from 0 to 1"):
        rows({**FEW, "target": [1.000001, 0.5]})

"""Files of tables, the Open Bandit Dataset, dicts of obp; and what is said of a log."""

import gzip
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from records.errors import BadInput, WrongConfiguration
from replay.evaluation.logs.chunk import LogChunk, Progress, gathered, silent
from replay.evaluation.logs.columns import Columns, as_log
from replay.evaluation.logs.description import describe
from replay.evaluation.logs.formats import Format, format_of
from replay.evaluation.logs.numbered import OTHERS, Names, Numbered
from replay.evaluation.logs.obp_feedback import ObpFeedback
from replay.evaluation.logs.open_bandit_columns import log_at
from replay.evaluation.logs.open_bandit_log import ITSELF, OpenBanditLog
from replay.evaluation.logs.spread import Spread
from replay.evaluation.logs.table_files import groups_of, parquet_log, table_log
from tests.replay.evaluation.logs.rows import named, same, together

ROWS = 100
TABLE = pa.table(
    {
        "reward": [float(number % 3 == 0) for number in range(ROWS)],
        "propensity": [0.5, 0.25] * (ROWS // 2),
        "target": [0.25, 0.5] * (ROWS // 2),
        "action": [f"item {number % 7}" for number in range(ROWS)],
        "unit": [str(number // 4) for number in range(ROWS)],
    }
)


# ----- files


def parquet(path: Path) -> None:
    pq.write_table(TABLE, path, row_group_size=8)


def a_folder(path: Path) -> None:
    (path / "day=2").mkdir(parents=True)
    (path / "day=1").mkdir()
    pq.write_table(TABLE.slice(0, 30), path / "day=1" / "x.parquet", row_group_size=8)
    pq.write_table(TABLE.slice(30), path / "day=2" / "a.parquet", row_group_size=8)


def arrow(path: Path) -> None:
    pa.feather.write_feather(TABLE, path, chunksize=8)


def csv(path: Path) -> None:
    pa.csv.write_csv(TABLE, path)


def packed(path: Path) -> None:
    csv(path)
    path.write_bytes(gzip.compress(path.read_bytes()))


FILES = {"a.parquet": parquet, "folder": a_folder, "a.arrow": arrow, "a.csv": csv, "a.csv.gz": packed}


@pytest.mark.parametrize(("name", "write"), FILES.items(), ids=FILES)
def test_the_same_rows_from_all_files(tmp_path: Path, name: str, write: Callable[[Path], None]) -> None:
    write(tmp_path / name)
    log = table_log(tmp_path / name)
    same(together(log.blocks()), together(as_log(TABLE).blocks()))
    assert log.names.actions.names == [f"item {number}" for number in range(7)]


def test_parts_of_parquet_that_are_read_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("replay.evaluation.logs.chunk.BLOCK_ROWS", 16)
    parquet(tmp_path / "a.parquet")
    groups = groups_of(tmp_path / "a.parquet")
    names = Names(actions=Numbered(f"item {number}" for number in range(7)))
    apart = [
        chunk
        for some in (groups[:4], groups[4:10], groups[10:])
        for chunk in parquet_log(tmp_path / "a.parquet", groups=some, names=names).blocks()
    ]
    whole = list(parquet_log(tmp_path / "a.parquet").blocks())
    assert [chunk.index for chunk in apart] == [chunk.index for chunk in whole] == list(range(7))
    for one, other in zip(apart, whole, strict=True):
        same(one.rows, other.rows)


@pytest.mark.parametrize("name", FILES)
def test_some_of_the_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("replay.evaluation.logs.chunk.BLOCK_ROWS", 16)
    FILES[name](tmp_path / name)
    whole = list(table_log(tmp_path / name).blocks())
    for first, last in ((0, 2), (1, 3), (3, None), (6, None), (7, None), (2, 2)):
        names = Names(actions=Numbered(f"item {number}" for number in range(7)))
        some = list(table_log(tmp_path / name, names=names).blocks(first=first, last=last))
        assert [chunk.index for chunk in some] == list(range(7))[first:last]
        for chunk in some:
            same(chunk.rows, whole[chunk.index].rows)


def test_row_groups_before_a_part_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("replay.evaluation.logs.chunk.BLOCK_ROWS", 16)
    a_folder(tmp_path / "folder")
    # Whoever reads the first file fails.
    for file in (tmp_path / "folder" / "day=1").iterdir():
        content = bytearray(file.read_bytes())
        content[4:600] = b"\xff" * 596
        file.write_bytes(bytes(content))
    assert len(list(table_log(tmp_path / "folder").blocks(first=2))) == 5
    with pytest.raises(BadInput, match=r"x\.parquet"):
        list(table_log(tmp_path / "folder").blocks())


def test_only_what_is_needed_is_read_and_in_little_memory(tmp_path: Path) -> None:
    wide = pa.table({"reward": np.ones(200_000), "propensity": np.ones(200_000), "text": ["x" * 500] * 200_000})
    pq.write_table(wide, tmp_path / "a.parquet", row_group_size=10_000)
    del wide
    before = pa.total_allocated_bytes()
    for _ in table_log(tmp_path / "a.parquet").blocks():
        assert pa.total_allocated_bytes() - before < 10e6


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def spoilt(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[30:400] = b"\xff" * 370
    path.write_bytes(bytes(content))


DAMAGE: list[tuple[str, str, Callable[[Path], Any]]] = [
    ("nothing", "found .*, expected an? ", lambda path: path.write_bytes(b"")),
    (
        "text",
        "found .*, expected an? ",
        lambda path: path.write_bytes(b"no table, whatever it is called"),
    ),
    ("cut short", "found .*, expected an? ", cut_short),
    ("spoilt", "found .*, expected an? ", spoilt),
]


@pytest.mark.parametrize(("message", "damage"), [each[1:] for each in DAMAGE], ids=[each[0] for each in DAMAGE])
@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a.csv.gz"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str, message: str, damage: Callable[[Path], None]) -> None:
    FILES[name](tmp_path / name)
    damage(tmp_path / name)
    with pytest.raises(BadInput, match=rf"^{name.replace('.', '[.]')}: {message}"):
        list(table_log(tmp_path / name).blocks())


def test_files_that_are_none(tmp_path: Path) -> None:
    for name in ("a.parquet", "a.arrow", "a.csv", "folder"):
        with pytest.raises(WrongConfiguration, match="found no"):
            table_log(tmp_path / name)
    (tmp_path / "folder").mkdir()
    with pytest.raises(WrongConfiguration, match="found no Parquet file in the folder, expected a table"):
        table_log(tmp_path / "folder")
    pq.write_table(TABLE.drop_columns("reward"), tmp_path / "a.parquet")
    with pytest.raises(WrongConfiguration, match="reward: found no column"):
        table_log(tmp_path / "a.parquet")


def test_files_of_one_folder_have_the_same_columns(tmp_path: Path) -> None:
    a_folder(tmp_path / "folder")
    pq.write_table(TABLE.drop_columns("target"), tmp_path / "folder" / "day=2" / "b.parquet")
    with pytest.raises(BadInput, match=r"b\.parquet: found no column target"):
        list(table_log(tmp_path / "folder").blocks())


def test_a_line_of_a_csv_is_no_number(tmp_path: Path) -> None:
    csv(tmp_path / "a.csv")
    with (tmp_path / "a.csv").open("a") as file:
        file.write('"much",0.5,0.5,"a","b"\n')
    with pytest.raises(BadInput, match=r"a\.csv, line 102: reward: found 'much', expected a number"):
        list(table_log(tmp_path / "a.csv").blocks())


# ----- the Open Bandit Dataset

HEAD = "timestamp,item_id,position,click,propensity_score,user_feature_0,user-item_affinity_0,user-item_affinity_1\n"


def open_bandit(folder: Path, *lines: str) -> Path:
    (folder / "log.csv").write_text(HEAD + "".join(f"{line}\n" for line in lines))
    return folder / "log.csv"


def test_open_bandit_in_columns(tmp_path: Path) -> None:
    file = open_bandit(
        tmp_path, "2019-11-24 00:00:01.5+00:00,1,1,1,0.5,u,0,0", "2019-11-24 01:00:01+01:00,0,2,0,0.25,v,0,0"
    )
    log = OpenBanditLog(log_at(file), np.array([[0.25, 0.5], [0.75, 0.5]]), segments=["position", "user_feature_0"])
    rows = together(log.blocks())
    assert rows.weight.tolist() == [1.5, 2.0]
    one_column = OpenBanditLog(log_at(file), np.array([[0.25], [0.75]]))
    with pytest.raises(WrongConfiguration, match=r"--target: found 1 column, expected .* line 3 .* the position 2"):
        list(one_column.blocks())
    assert rows.time_ms is not None
    assert rows.time_ms.tolist() == [1_574_553_601_500, 1_574_553_601_000]
    assert named(rows.action, log.names.actions.names) == ["1", "0"]
    assert named(rows.segments["user_feature_0"], log.names.segments["user_feature_0"].names) == ["u", "v"]
    assert together(OpenBanditLog(log_at(file), ITSELF).blocks()).weight.tolist() == [1.0, 1.0]
    with pytest.raises(WrongConfiguration, match="segment: found no column city"):
        OpenBanditLog(log_at(file), segments=["city"])


def test_open_bandit_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("replay.evaluation.logs.open_bandit_log.BLOCK_ROWS", 16)
    file = open_bandit(tmp_path, *["2019-11-24 00:00:01+00:00,1,1,1,0.5,u,0,0"] * 40)
    assert [(each.index, len(each.rows)) for each in OpenBanditLog(log_at(file)).blocks()] == [(0, 16), (1, 16), (2, 8)]


def test_a_time_without_a_zone_is_named(tmp_path: Path) -> None:
    good = "2019-11-24 00:00:01+00:00,1,1,1,0.5,u,0,0"
    for bad in ("2019-11-24 00:00:01", "noon", ""):
        with pytest.raises(BadInput, match=r"log\.csv, line 3: timestamp: found .*, expected a time with a zone"):
            list(OpenBanditLog(log_at(open_bandit(tmp_path, good, bad + good[25:]))).blocks())


# ----- obp


def feedback(rounds: int = 30, **changes: Any) -> dict[str, Any]:
    chance = np.random.default_rng(3)
    pi_b = chance.dirichlet(np.ones(4), size=(rounds, 2)).transpose(0, 2, 1)
    action, position = chance.integers(4, size=rounds), chance.integers(2, size=rounds)
    return {
        "n_rounds": rounds,
        "n_actions": 4,
        "action": action,
        "position": position,
        "reward": chance.integers(2, size=rounds),
        "pscore": pi_b[np.arange(rounds), action, position],
        "pi_b": pi_b,
        **changes,
    }


def test_obp_in_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("replay.evaluation.logs.obp_feedback.BLOCK_ROWS", 16)
    log = feedback()
    target = np.random.default_rng(4).dirichlet(np.ones(4), size=(30, 2)).transpose(0, 2, 1)
    chunks = list(ObpFeedback(log, target).blocks())
    assert [chunk.index for chunk in chunks] == [0, 1]
    rows = together(chunks)
    for row, (action, position) in enumerate(zip(log["action"], log["position"], strict=True)):
        mu, pi = log["pi_b"][row, :, position], target[row, :, position]
        assert rows.weight[row] == pi[action] / mu[action]
        assert rows.squared_weight is not None
        assert rows.squared_weight[row] == pytest.approx((pi**2 / mu).sum())
        assert rows.rank is not None
        assert rows.rank[row] == pytest.approx(mu[:action].sum() + mu[action] / 2)
    few = ObpFeedback({name: log[name] for name in ("action", "reward", "pscore")})
    assert together(few.blocks()).weight.tolist() == [1.0] * 30


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        ("found no reward", {"reward": None}),
        ("pscore: found the shape .2,., expected .30,.", {"pscore": [0.5, 0.5]}),
        ("reward: found no numbers", {"reward": ["a"] * 30}),
        ("row 0: reward: found nan", {"reward": [float("nan")] * 30}),
        ("row 0: pscore: found 0.0, expected a probability", {"pscore": [0.0] * 30}),
        ("row 0: pscore: found 1.5", {"pscore": [1.5] * 30}),
        ("row 0: pscore: found 0.25, expected the probability in pi_b", {"pscore": [0.25] * 30}),
        ("row 0: action: found 4", {"action": [4] * 30}),
        ("row 0: action: found 0.5, expected a whole number", {"action": [0.5] * 30}),
        ("row 0: position: found 2", {"position": [2] * 30}),
        ("position: found none, expected that of each row, 0 to 1", {"position": None}),
        ("row 0: pi_b: found", {"pi_b": np.full((30, 4, 2), 0.5)}),
        ("pi_b: found object of shape", {"pi_b": np.full((30, 4, 2), {})}),
        ("pi_b: found float64 of shape .30, 4.", {"pi_b": np.full((30, 4), 0.25)}),
    ],
)
def test_a_feedback_that_is_none(message: str, changes: dict[str, Any]) -> None:
    with pytest.raises((BadInput, WrongConfiguration), match=message):
        list(ObpFeedback(feedback(**changes)).blocks())


def test_a_target_of_another_shape() -> None:
    with pytest.raises(WrongConfiguration, match="pi_b and action_dist: found the shapes"):
        ObpFeedback(feedback(), np.full((30, 5, 2), 0.2))


# ----- numbers and names


def test_what_was_numbered_before_keeps_its_number_and_the_many_share_one() -> None:
    numbered = Numbered(["b"], most=3)
    first = numbered.codes(pa.array(["a", "b", "c", "d", "e", "a"]))
    assert (first.tolist(), numbered.names) == ([1, 0, 2, 3, 3, 1], ["b", "a", "c", OTHERS])
    assert numbered.codes(pa.array(["e", "f"]).dictionary_encode()).tolist() == [3, 3]


def test_the_order_of_a_dictionary_does_not_matter() -> None:
    other = pa.DictionaryArray.from_arrays([2, 0, None], ["x", "unused", "y"])
    assert Numbered().codes(other).tolist() == Numbered().codes(pa.array(["y", "x", None])).tolist() == [0, 1, 2]


@pytest.mark.parametrize("seed", range(3))
def test_quantiles_are_near_and_exact_where_values_repeat(seed: int) -> None:
    chance = np.random.default_rng(seed)
    values = [
        chance.normal(size=5000) * 10.0 ** chance.integers(-9, 9, size=5000),
        chance.choice([0.0, -0.1, 0.3], 999),
    ]
    for some in values:
        spread = Spread()
        for part in np.array_split(some, 7):
            spread.add(part)
        for share in (0.0, 0.01, 0.5, 0.9, 1.0):
            expected = np.quantile(some, share, method="inverted_cdf")
            assert spread.quantile(share) == pytest.approx(expected, rel=0.016)
        assert spread.quantile(0.0) == some.min()
    assert [spread.quantile(share) for share in (0.0, 0.5, 1.0)] == [-0.1, 0.0, 0.3]


def test_the_description_is_what_pandas_says() -> None:
    chance = np.random.default_rng(5)
    pmf = chance.dirichlet(np.ones(3), size=4000)
    action = (chance.random((4000, 1)) > pmf.cumsum(axis=1)).sum(axis=1).clip(0, 2)
    frame = pd.DataFrame(
        {
            "reward": (chance.random(4000) < 0.2) * 2.0,
            "pmf": list(pmf),
            "action": action,
            "version": chance.choice(["v1", "v2"], 4000),
            "time": chance.integers(10**12, 2 * 10**12, size=4000),
        }
    )
    log = as_log(frame, Columns(segments=["version"]))
    description = describe(log, "it", "table")
    assert (description.rows, description.has_pmf, description.actions_a_decision) == (4000, True, 3.0)
    assert (description.from_ms, description.to_ms) == (frame.time.min(), frame.time.max())
    assert description.rewards.mean == pytest.approx(frame.reward.mean())
    assert description.rewards.nonzero == (frame.reward > 0).mean()
    assert description.rewards.quantiles == {"1 %": 0.0, "10 %": 0.0, "50 %": 0.0, "90 %": 2.0, "99 %": 2.0}
    for groups, column in (
        (description.versions, "version"),
        (description.actions, "action"),
        (description.segments["version"], "version"),
    ):
        expected = frame.groupby(frame[column].astype(str)).reward.agg(["count", "mean"])
        assert [group.rows for group in groups] == sorted(expected["count"], reverse=True)
        for group in groups:
            assert group.reward == pytest.approx(expected.loc[group.name, "mean"])
    assert description.propensities.quantiles["50 %"] == pytest.approx(
        np.median(pmf[np.arange(4000), action]), rel=0.02
    )
    assert not any(finding.wrong for finding in description.health)


def test_a_log_whose_propensities_are_others_is_no_healthy_one() -> None:
    chance = np.random.default_rng(6)
    pmf = chance.dirichlet(np.ones(3), size=4000)
    log = as_log(pa.table({"reward": np.ones(4000), "pmf": list(pmf), "action": chance.integers(3, size=4000)}))
    description = describe(log, "it", "table")
    wrong = [finding.says for finding in description.health if finding.wrong]
    assert wrong
    assert not any("action number" in says for says in wrong)


class Chunks:
    """A log of chunks at hand."""

    provides: frozenset[str] = frozenset()

    def __init__(self, chunks: list[LogChunk], names: Names) -> None:
        self._chunks, self.names = chunks, names

    def blocks(self, progress: Progress = silent, first: int = 0, last: int | None = None) -> Iterator[LogChunk]:
        yield from self._chunks


def test_rows_that_the_target_has_learned_from_are_a_fault() -> None:
    log = as_log(TABLE)
    learned = [LogChunk(chunk.index, chunk.rows, {}, 50) for chunk in log.blocks()]
    description = describe(Chunks(learned, log.names), "it", "table")
    assert [finding.name for finding in description.health if finding.wrong and "learned" in finding.says]


def test_nothing_is_described_as_nothing() -> None:
    description = describe(Chunks([], Names()), "it", "table")
    assert (
        description.rows,
        description.from_ms,
        description.rewards.mean,
        description.rewards.least,
        description.health,
    ) == (
        0,
        None,
        None,
        None,
        [],
    )


def test_what_was_left_out_stays_where_a_part_has_no_rows() -> None:
    (part,) = as_log(TABLE).blocks()
    nothing = LogChunk(0, part.rows.where(slice(0, 0)), {"expired": 2}, 0)
    (together_,) = gathered([nothing, LogChunk(0, part.rows, {"expired": 1}, 5), nothing])
    assert (together_.left_out, together_.learned, len(together_.rows)) == ({"expired": 5}, 5, ROWS)
    same(together_.rows, part.rows)


# ----- formats


def test_the_format_is_told_by_the_path(tmp_path: Path) -> None:
    for name, expected in {
        "a": Format.TABLE,
        "b": Format.OPEN_BANDIT,
        "c": Format.BOWERBIRD,
        "d": Format.BOWERBIRD,
    }.items():
        folder = tmp_path / name
        folder.mkdir()
        if name == "a":
            a_folder(folder)
        elif name == "b":
            open_bandit(folder)
        elif name == "c":
            a_folder(folder)
            (folder / "_prefix-log.json").touch()
        assert format_of(str(folder)) is expected
    csv(tmp_path / "a.csv")
    assert format_of(str(tmp_path / "a.csv")) is Format.TABLE
    assert format_of(str(open_bandit(tmp_path))) is Format.OPEN_BANDIT
    for name, expected in {"x.ndjson.xz": Format.JSON_LINES, "x.feather": Format.TABLE, "x.toml": Format.KAFKA}.items():
        assert format_of(name) is expected
    with pytest.raises(WrongConfiguration, match="found nothing there, expected a log"):
        format_of(str(tmp_path / "nothing"))
    for content, says in ((b"", "found an empty file"), (b"a\n", "expected --format"), (b"PAR1", "found Parquet")):
        (tmp_path / "odd").write_bytes(content)
        with pytest.raises(WrongConfiguration, match=says):
            format_of(str(tmp_path / "odd"))

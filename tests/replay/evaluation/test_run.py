"""One process or many, in whatever order they are ready: the same bits, in bounded memory, and an error ends it."""

from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, make_dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.parquet_parts import Part, cut, files_with_rows, read_blocks
from replay.evaluation.blocks import BLOCK_ROWS, Blocks
from replay.evaluation.moments import Moments
from replay.evaluation.resample import Resampled, places
from replay.evaluation.run import digest, processes, run

FILES = (100_000, 300_000, 70_001)


@dataclass(frozen=True, slots=True)
class Both:
    """Moments, and their bootstrap."""

    moments: Moments
    resampled: Resampled

    def __add__(self, other: "Both") -> "Both":
        return Both(self.moments + other.moments, self.resampled + other.resampled)


def summarise(part: Part) -> Blocks[Both]:
    blocks = Blocks[Both]()
    for block, table in read_blocks(part, ("w", "w r")):
        columns = {name: table.column(name).to_numpy() for name in table.column_names}
        rows = places(block * BLOCK_ROWS, len(table))
        blocks.put(block, Both(Moments.of(columns), Resampled.of(columns, rows, resamples=64, seed=1)))
    return blocks


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, int]]:
    return written(tmp_path_factory.mktemp("log"))


def written(folder: Path) -> list[tuple[str, int]]:
    """Return a log that was written into a folder."""
    chance, files = np.random.default_rng(1), []
    for number, rows in enumerate(FILES):
        files.append(str(folder / f"{number}.parquet"))
        weight = chance.lognormal(size=rows)
        pq.write_table(pa.table({"w": weight, "w r": weight * chance.random(rows)}), files[-1], row_group_size=30_000)
    return files_with_rows(files)


@pytest.fixture(scope="module")
def expected(log: list[tuple[str, int]]) -> str:
    """Give the digest of what this thread adds up by itself."""
    return digest(run(cut(log, 1), summarise))


@pytest.mark.parametrize("count", [2, 7])
def test_parts_change_no_bit(log: list[tuple[str, int]], expected: str, count: int) -> None:
    assert digest(run(cut(log, count), summarise)) == expected


@pytest.mark.parametrize("count", [1, 2, 7])
def test_threads_change_no_bit(log: list[tuple[str, int]], expected: str, count: int) -> None:
    with ThreadPoolExecutor(2) as executor:
        assert digest(run(cut(log, count), summarise, executor=executor)) == expected


@pytest.mark.slow
def test_processes_change_no_bit(log: list[tuple[str, int]], expected: str) -> None:
    with processes(2) as executor:
        assert [digest(run(cut(log, count), summarise, executor=executor)) for count in (1, 2, 7)] == [expected] * 3


def test_another_row_changes_the_digest(log: list[tuple[str, int]], expected: str) -> None:
    parts = cut(log, 1)
    short = replace(parts[0].stretches[-1], rows=parts[0].stretches[-1].rows - 1)
    part = replace(parts[0], stretches=(*parts[0].stretches[:-1], short))
    assert digest(run([part], summarise)) != expected


def test_the_sums_are_right(log: list[tuple[str, int]]) -> None:
    summed = run(cut(log, 3), summarise).total()
    table = pq.read_table([file for file, _ in log])
    assert summed is not None
    assert (summed.moments.rows, summed.resampled.rows) == (sum(FILES), sum(FILES))
    for name in ("w", "w r"):
        assert summed.moments.means[name] == pytest.approx(table.column(name).to_numpy().mean(), rel=1e-12)
        errors = np.sqrt(np.diag(summed.moments.comoment)) / sum(FILES)
        spread = summed.resampled.means[name].std()
        # Of 64 resamples the spread is known to a tenth.
        assert spread == pytest.approx(errors[summed.moments.names.index(name)], rel=0.4)


# ----- under way


class Backwards(Executor):
    """Runs what was submitted only when nothing else may be, the last first; so it knows how much was under way."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Future[Any], Callable[[], Any]]] = []
        self.most = 0

    def submit(self, function: Any, /, *arguments: Any, **named: Any) -> Any:
        future: Future[Any] = Future()
        self.waiting.append((future, lambda: function(*arguments, **named)))
        self.most = max(self.most, len(self.waiting))
        return future

    def finish_one(self) -> None:
        future, work = self.waiting.pop()
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(work())
        except Exception as error:
            future.set_exception(error)


@pytest.fixture
def backwards(monkeypatch: pytest.MonkeyPatch) -> Backwards:
    executor = Backwards()

    def wait(futures: set[Future[Any]], return_when: str) -> tuple[set[Future[Any]], set[Future[Any]]]:
        executor.finish_one()
        done = {future for future in futures if future.done()}
        return done, futures - done

    monkeypatch.setattr("replay.evaluation.run.wait", wait)
    return executor


def one(part: int) -> Blocks[Moments]:
    blocks = Blocks[Moments]()
    blocks.put(part, Moments.of({"r": np.random.default_rng(part).lognormal(size=50)}))
    return blocks


def test_what_is_ready_last_is_added_in_its_place(backwards: Backwards) -> None:
    found = run(range(20), one, executor=backwards, ahead=6)
    assert digest(found) == digest(run(range(20), one))
    assert backwards.most == 6


def test_progress_is_told_part_by_part(backwards: Backwards) -> None:
    progress: list[tuple[int, int]] = []
    run(range(5), one, executor=backwards, progress=lambda *numbers: progress.append(numbers))
    assert progress == [(number, 5) for number in range(1, 6)]
    progress.clear()
    run(range(5), one, progress=lambda *numbers: progress.append(numbers))
    assert progress == [(number, 5) for number in range(1, 6)]


def test_an_error_ends_it_and_cancels_what_has_not_begun(backwards: Backwards) -> None:
    begun: list[int] = []

    def fails(part: int) -> Blocks[Moments]:
        begun.append(part)
        if part == 2:
            raise RuntimeError("no such part")
        return one(part)

    with pytest.raises(RuntimeError, match="no such part"):
        run(range(20), fails, executor=backwards, ahead=3)
    assert begun == [2]
    assert all(future.cancelled() for future, _ in backwards.waiting)
    with pytest.raises(RuntimeError, match="no such part"):
        run(range(20), fails)


def test_of_no_part_there_is_no_sum(backwards: Backwards) -> None:
    assert run([], one).total() is None
    assert run([], one, executor=backwards).total() is None


# ----- the digest


class Told(msgspec.Struct):
    """Something that a digest does not know."""

    number: int


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (0.0, -0.0),
        (1, 1.0),
        (1, True),
        ("1", 1),
        (None, "None"),
        (0.1 + 0.2, 0.3),
        (("ab", "c"), ("a", "bc")),
        ((1, (2,)), ((1, 2),)),
        ({"a": 1, "b": 2}, {"a": 2, "b": 1}),
        (np.zeros((2, 3)), np.zeros((3, 2))),
        (np.zeros(2), np.zeros(2, dtype=np.float32)),
        (np.zeros(2, dtype=np.int64), np.zeros(2)),
        (np.array([1.0, 2.0]), np.nextafter(np.array([1.0, 2.0]), 3)),
        (Moments.of({"r": np.ones(2)}), Moments.of({"s": np.ones(2)})),
    ],
)
def test_what_differs_has_another_digest(left: Any, right: Any) -> None:
    assert digest(left) != digest(right)


def test_what_is_equal_has_the_same_digest_however_it_lies_in_memory() -> None:
    numbers = np.arange(6.0).reshape(2, 3)
    assert digest(numbers) == digest(np.asfortranarray(numbers)) == digest(numbers.astype(">f8"))
    assert digest([np.float64(1.5)]) == digest((1.5,))


def test_a_digest_is_the_same_for_ever() -> None:
    state = Moments.of({"w": np.array([1.0, 2.0]), "w r": np.array([0.0, 2.0])})
    assert digest(state)[:12] == "a5d30426b9b1"


def test_a_digest_does_not_depend_on_the_name_of_a_class() -> None:
    one, other = (make_dataclass(name, ["least", "largest"]) for name in ("Reach", "InfluenceBound"))
    assert digest(one(1.0, 2.0)) == digest(other(1.0, 2.0)) != digest(make_dataclass("Reach", ["least"])(1.0))


@pytest.mark.parametrize("wrong", [object(), {1.0}, np.array(["a"]), Told(1)])
def test_a_digest_of_what_it_does_not_know_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="expected numbers"):
        digest(wrong)

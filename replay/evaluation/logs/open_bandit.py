"""Reads the Open Bandit Dataset: decisions that a fashion site logged, with their propensities and clicks.

The dataset's ``random`` folders were logged by drawing each item with the same probability, which makes them fit to
evaluate any policy. Saito, Aihara, Matsutani, Narita 2021, Open Bandit Dataset and Pipeline, arXiv:2008.07146,
section 3.
"""

import csv
import gzip
import lzma
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

from records.errors import BadInput

Number = TypeVar("Number", int, float)

COMPRESSIONS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open}


class Item(NamedTuple):
    """What can be shown. ``number`` is ``item_feature_0``, ``hashes`` are the other features."""

    id: int
    number: float
    hashes: tuple[str, ...]


class LoggedDecision(NamedTuple):
    """One item that was shown, and whether it was clicked.

    Attributes
    ----------
    position
        Where on the page it was shown: 1 to 3.
    propensity
        The probability with which the item was drawn for this position.
    user
        ``user_feature_0`` and so on: hashes.
    affinities
        How often the user clicked each item before, in the order of the items.
    """

    time: datetime
    item_id: int
    position: int
    clicked: bool
    propensity: float
    user: tuple[str, ...]
    affinities: tuple[float, ...]


def read_items(path: Path) -> list[Item]:
    """Return the items of an ``item_context`` file, in the order of their ids.

    Raises
    ------
    BadInput
        A row is not as the dataset describes it; the error names line and column.
    """
    items = [
        Item(
            row.number("item_id", int),
            row.number("item_feature_0", float),
            row.all_of("item_feature_", start=1),
        )
        for row in _rows(path)
    ]
    if [item.id for item in items] != list(range(len(items))):
        raise BadInput("bad_log", f"{path.name}: item_id", "ids with holes", "0, 1, 2, ...")
    return items


def read_decisions(path: Path) -> Iterator[LoggedDecision]:
    """Yield the decisions of a log, in its order, which is that of time.

    Raises
    ------
    BadInput
        A row is not as the dataset describes it; the error names line and column.
    """
    for row in _rows(path):
        propensity = row.number("propensity_score", float)
        if not 0 < propensity <= 1:
            raise row.bad("propensity_score", "a probability above 0")
        yield LoggedDecision(
            row.time("timestamp"),
            row.number("item_id", int),
            row.number("position", int),
            row.number("click", int) == 1,
            propensity,
            row.all_of("user_feature_"),
            tuple(float(count) for count in row.all_of("user-item_affinity_")),
        )


class _Row(NamedTuple):
    file: str
    line: int
    columns: dict[str, str]

    def bad(self, column: str, expected: str) -> BadInput:
        found = repr(self.columns.get(column))[:80]
        return BadInput("bad_log", f"{self.file}, line {self.line}: {column}", found, expected)

    def number(self, column: str, kind: Callable[[str], Number]) -> Number:
        try:
            return kind(self.columns[column])
        except (KeyError, TypeError, ValueError):
            raise self.bad(column, "a number") from None

    def time(self, column: str) -> datetime:
        try:
            return datetime.fromisoformat(self.columns[column])
        except (KeyError, TypeError, ValueError):
            raise self.bad(column, "a time (ISO 8601)") from None

    def all_of(self, prefix: str, start: int = 0) -> tuple[str, ...]:
        found: list[str] = []
        while (value := self.columns.get(f"{prefix}{start + len(found)}")) is not None:
            found.append(value)
        if not found:
            raise self.bad(f"{prefix}{start}", "a column of this name")
        return tuple(found)


def _rows(path: Path) -> Iterator[_Row]:
    with _opened(path) as file:
        reader = csv.DictReader(file)
        for columns in reader:
            yield _Row(path.name, reader.line_num, columns)


@contextmanager
def _opened(path: Path) -> Iterator[IO[str]]:
    opener = COMPRESSIONS.get(path.suffix, open)
    with opener(path, "rt", encoding="utf-8", newline="") as file:
        yield file

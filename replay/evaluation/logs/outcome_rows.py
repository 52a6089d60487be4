"""Outcomes by column, whose values are validated before use."""

from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from records.limits import PMF_TOLERANCE
from replay.evaluation.logs.pmf import Numbers, Pmfs, flat
from replay.evaluation.rows import Codes, Flags, Floats


class Place(Protocol):
    """Where some rows were read; a row is known by its ``offset``."""

    def where(self, offset: int) -> str:
        """Return in words where a row stands."""

    def bad(self, column: str, offset: int, found: str, expected: str) -> Exception:
        """Return the error for a value that none of those who write outcomes has written."""


class Encoded(NamedTuple):
    """A column of texts: the number of each row's, and which text has which number."""

    codes: Codes
    names: list[str]

    def has(self, name: str) -> Flags:
        """Tell which rows have a text."""
        found: Flags = np.zeros(len(self.codes), dtype=np.bool_)
        for code, each in enumerate(self.names):
            if each == name:
                found |= self.codes == code
        return found


class OutcomeRows:
    """Outcomes, a column for each field as in the archive (docs/archive.md).

    Parameters
    ----------
    batch
        Texts may be dictionaries, and actions without their features. ``offset`` is the position of a row.
    place
        Where they were read.
    """

    def __init__(self, batch: "pa.RecordBatch", place: Place) -> None:
        self.batch, self._place = batch, place

    def __len__(self) -> int:
        return int(self.batch.num_rows)

    def where(self, flags: Any) -> "OutcomeRows":
        """Return some of the rows."""
        return OutcomeRows(self.batch.filter(flags), self._place)

    def with_column(self, name: str, values: "Floats | pa.Array") -> "OutcomeRows":
        """Return the rows with one more column, of numbers or of Arrow's."""
        column = pa.array(values) if isinstance(values, np.ndarray) else values
        return OutcomeRows(self.batch.append_column(name, column), self._place)

    def bad(self, column: str, row: int, found: str, expected: str) -> Exception:
        """Return the error for a value."""
        return self._place.bad(column, self.batch.column("offset")[row].as_py(), found, expected)

    def where_is(self, row: int) -> str:
        """Return in words where a row stands."""
        return self._place.where(self.batch.column("offset")[row].as_py())

    def whole(self, name: str) -> Any:
        """Return a column without holes."""
        column = self.batch.column(name)
        if column.null_count:
            raise self.bad(name, pc.index(column.is_null(), True).as_py(), "null", "a value")
        return column

    def numbers(self, name: str) -> NDArray[Any]:
        """Return a column of numbers."""
        return np.asarray(self.whole(name).to_numpy(zero_copy_only=False))

    def between(self, name: str, above: float, most: float) -> Floats:
        """Return a column of numbers above one number, and not above the other."""
        values = self.numbers(name)
        right = np.isfinite(values) & (values > above) & (values <= most)
        if not right.all():
            row = int(np.argmin(right))
            raise self.bad(name, row, str(values[row]), f"a number above {above} and up to {most}")
        return values

    def texts(self, name: str) -> Encoded:
        """Return a column of texts."""
        return _encoded(self.whole(name))

    def flags(self, name: str) -> Flags:
        """Return a column of truths."""
        return np.asarray(self.whole(name).to_numpy(zero_copy_only=False), dtype=np.bool_)

    def times(self, name: str) -> Numbers:
        """Return a column of times, in ms since 1970."""
        return np.asarray(self.whole(name).cast(pa.int64()))

    def hashes(self, name: str) -> NDArray[np.uint64] | None:
        """Return a column of hashes; None where a row has none."""
        column = self.batch.column(name)
        return None if column.null_count else np.asarray(column)

    def counts(self) -> Numbers:
        """Return how many actions each row could choose from."""
        counts = np.asarray(pc.list_value_length(self.whole("pmf"))).astype(np.int64)
        if len(counts) and counts.min() < 1:
            raise self.bad("pmf", int(np.argmin(counts)), "no action", "a probability an action")
        return counts

    def pmfs(self) -> Pmfs:
        """Return the logged probabilities of all actions."""
        self.counts()
        pmfs = Pmfs.of(self.batch.column("pmf"))
        if not (honest := pmfs.honest()).all():
            row = int(np.argmin(honest))
            found = pmfs.sums(pmfs.values)[row]
            raise self.bad("pmf", row, f"probabilities with the sum {found:.9g}", "numbers from 0 to 1 with the sum 1")
        return pmfs

    def action_ids(self, counts: Numbers) -> "pa.Array":
        """Return the ids of the actions of all rows, one after the other; of each row as many as ``counts``."""
        parts, offsets = flat(self.whole("actions"))
        there = np.diff(offsets)
        if not (alike := there == counts).all():
            row = int(np.argmin(alike))
            raise self.bad("pmf", row, f"{counts[row]} probabilities", f"{there[row]}, one an action")
        return parts.field("id")

    def chosen(self, pmfs: Pmfs) -> Numbers:
        """Return the index of the logged action among the actions of its row."""
        ids = _encoded(self.action_ids(pmfs.counts).fill_null(""))
        chosen = self.texts("chosen")
        numbers = {name: number for number, name in enumerate(ids.names)}
        sought = np.array([numbers.get(name, -1) for name in chosen.names], dtype=np.int32)[chosen.codes]
        hits = ids.codes == pmfs.each(sought)
        once = pmfs.sums(hits.astype(np.int64)) == 1
        if not once.all():
            row = int(np.argmin(once))
            raise self.bad("chosen", row, repr(chosen.names[chosen.codes[row]]), "the id of exactly one of the actions")
        return np.asarray(np.flatnonzero(hits) - pmfs.starts)

    def agree(self, pmfs: Pmfs, chosen: Numbers) -> None:
        """Refuse a propensity that is not the one that the pmf gives to the logged action."""
        logged, propensity = pmfs.at(chosen), self.numbers("propensity")
        right = np.abs(logged - propensity) <= PMF_TOLERANCE * np.maximum(logged, propensity)
        if not right.all():
            row = int(np.argmin(right))
            raise self.bad("propensity", row, str(propensity[row]), f"{logged[row]}, as the pmf says")


def _encoded(column: "pa.Array") -> Encoded:
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    names = column.dictionary.to_pylist()
    if len(set(names)) < len(names):
        # Other writers may have a text in a dictionary twice.
        column = column.cast(column.type.value_type).dictionary_encode()
        names = column.dictionary.to_pylist()
    return Encoded(np.asarray(column.indices).astype(np.int32), names)

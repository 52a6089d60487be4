"""Rows of a table with named columns, which are validated before use."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from policies.policy import SMALLEST_PROPENSITY
from records.errors import BadInput, WrongConfiguration
from records.limits import PMF_TOLERANCE
from replay.evaluation.logs.pmf import Numbers, Pmfs, flat
from replay.evaluation.rows import Floats

Bad = Callable[[str, int, str, str], BadInput]
"""Makes the error for a value: the field, the row, what was found, what was expected."""

_types = pa.types
_NUMBER = (_types.is_integer, _types.is_floating, _types.is_decimal)
_TEXT = (_types.is_string, _types.is_large_string, _types.is_dictionary, _types.is_integer)
_LISTS = (_types.is_list, _types.is_large_list, _types.is_fixed_size_list)
NUMBERS = (
    *("propensity", "mean_propensity", "target", "weight", "sample_weight", "pdrop"),
    *("model_logged", "model_target"),
)
"""Fields whose columns are of numbers; a reward may be a truth, too."""
_SEGMENTS = (*_NUMBER, *_TEXT, _types.is_boolean, _types.is_temporal, _types.is_null)
_KINDS: dict[str, tuple[tuple[Callable[[Any], bool], ...], str]] = {
    "reward": ((*_NUMBER, _types.is_boolean), "numbers"),
    **dict.fromkeys(NUMBERS, (_NUMBER, "numbers")),
    **dict.fromkeys(["pmf", "target_pmf"], (_LISTS, "lists of numbers")),
    "actions": (_LISTS, "lists of texts or whole numbers"),
    **dict.fromkeys(
        ["action", "event", "unit", "version"],
        ((*_TEXT, _types.is_boolean, _types.is_floating), "texts or whole numbers"),
    ),
    "time": (
        (_types.is_timestamp, _types.is_date, *_TEXT, _types.is_floating),
        "times, texts as 2026-11-29T12:00:00Z, or whole numbers of ms since 1970",
    ),
}

_BIT = 1e-9
"""By which a probability may exceed 1."""
_WEIGHT_TOLERANCE = 1e-4
"""By which a weight may differ from target / propensity: both may have been rounded."""
_FROM_MS, _TO_MS = 631_152_000_000, 4_102_444_800_000
"""1990 and 2100: numbers that mean another time in ms are hardly ms."""
_YEAR_MS = 365 * 86_400_000
LOG_TIMES = b"times of the log"
"""Among the metadata of a schema: its times are those of a broker."""
_UNITS = (("seconds", 10**3), ("microseconds", 10**-3), ("nanoseconds", 10**-6))
_CALENDAR = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
"""How a date is written as a number, by its digits."""
TIMES = "whole numbers of ms since 1970, a column of timestamps, or texts as 2026-11-29T12:00:00Z"


def _looks_like(time: float) -> str:
    """Return what a number that is no plausible time in ms looks like, or what it would be.

    Examples
    --------
    >>> _looks_like(20261130), _looks_like(1_795_953_600)
    ('looks like a date as YYYYMMDD', 'looks like seconds since 1970')
    >>> _looks_like(46_000)
    'as ms since 1970 is 1970-01-01T00:00:46'
    """
    text = f"{time:.0f}"
    with suppress(ValueError, KeyError):
        written = _CALENDAR[len(text)]
        if 1990 <= datetime.strptime(text, written).year < 2100:
            return f"looks like a date as YYYYMMDD{'HHMMSS'[: len(text) - 8]}"
    for unit, ms in _UNITS:
        if _FROM_MS <= time * ms < _TO_MS:
            return f"looks like {unit} since 1970"
    with suppress(OverflowError, ValueError):
        return f"as ms since 1970 is {(datetime(1970, 1, 1) + timedelta(milliseconds=time)).isoformat()[:19]}"
    return "is no time in ms since 1970"


def _is_time(text: str) -> bool:
    for kind in (pa.int64(), pa.timestamp("ns"), pa.timestamp("ns", "UTC")):
        try:
            pa.scalar(text).cast(kind)
        except pa.ArrowInvalid:
            continue
        return True
    return False


def check_types(schema: "pa.Schema", found: Mapping[str, str], segments: Sequence[str] = ()) -> None:
    """Refuse columns of a kind that their fields cannot have.

    Raises
    ------
    WrongConfiguration
        There is one.
    """
    for name, column in found.items():
        kind = plain_type(schema.field(column).type)
        are, expected = _KINDS[name]
        right = any(is_it(kind) for is_it in are)
        if right and name in ("pmf", "target_pmf", "actions"):
            inner = plain_type(kind.value_type)
            right = any(is_it(inner) for is_it in (_TEXT if name == "actions" else _NUMBER))
        if not right:
            expected += by_chance(name, column)
            raise WrongConfiguration(f"{name}: found column {column} of {kind}, expected {expected}")
    for column in segments:
        kind = plain_type(schema.field(column).type)
        kind = plain_type(kind.value_type) if _types.is_dictionary(kind) else kind
        if not any(is_it(kind) for is_it in _SEGMENTS):
            expected = "texts, numbers, truths or times (in pandas: .astype(str))"
            raise WrongConfiguration(f"segment: found column {column} of {kind}, expected {expected}")


def by_chance(name: str, column: str) -> str:
    """Return how to leave a field out whose column may only be called so."""
    if name in ("reward", "propensity") or name != column:
        return ""
    return f"; if {name} is something else, --column {name}=-"


def plain_type(kind: "pa.DataType") -> "pa.DataType":
    """Return the equivalent plain type of a column type: views, extensions and categories have the same values."""
    if isinstance(kind, pa.BaseExtensionType):
        return plain_type(kind.storage_type)
    if _types.is_string_view(kind):
        return pa.large_string()
    if _types.is_dictionary(kind) and not _is_text(values := plain_type(kind.value_type)):
        return values
    return kind


def _is_text(kind: "pa.DataType") -> bool:
    return bool(_types.is_string(kind) or _types.is_large_string(kind))


def plain(column: "pa.Array") -> "pa.Array":
    """Return a column as one of :func:`plain_type`; a dictionary of texts holds no null."""
    while isinstance(column, pa.ExtensionArray):
        column = column.storage
    if _types.is_dictionary(column.type):
        values = plain(column.dictionary)
        if not _is_text(values.type):
            return values.take(column.indices)
        if values.null_count:
            return values.take(column.indices).dictionary_encode()
        return pa.DictionaryArray.from_arrays(column.indices, values)
    kind = plain_type(column.type)
    return column if kind == column.type else column.cast(kind)


def group_of(kind: "pa.DataType") -> str:
    """Return what values of a type are: types of one group are read alike.

    Examples
    --------
    >>> group_of(pa.int8()), group_of(pa.list_(pa.float32())), group_of(pa.dictionary(pa.int8(), pa.string()))
    ('numbers', 'lists of numbers', 'texts')
    """
    kind = plain_type(kind)
    if any(is_it(kind) for is_it in _LISTS):
        return f"lists of {group_of(kind.value_type)}"
    if _types.is_boolean(kind) or any(is_it(kind) for is_it in _NUMBER):
        return "numbers"
    if _is_text(kind) or _types.is_dictionary(kind):
        return "texts"
    return "times" if _types.is_timestamp(kind) or _types.is_date(kind) else str(kind)


class ColumnRows:
    """Some rows of a table.

    Parameters
    ----------
    columns
        The column of each field that there is.
    first
        The place in the log of the first of them.
    bad
        Makes the error for a value.
    """

    def __init__(self, columns: "Mapping[str, pa.Array]", first: int, bad: Bad) -> None:
        self._columns, self._first, self._bad = columns, first, bad

    def __contains__(self, name: str) -> bool:
        return name in self._columns

    def check_weight(self, weight: Floats, ratio: Floats) -> None:
        """Refuse a weight that is not target / propensity where no one named it as the importance weight."""
        wrong = np.flatnonzero(np.abs(weight - ratio) > _WEIGHT_TOLERANCE * np.maximum(1.0, ratio))
        if len(wrong):
            at = int(wrong[0])
            found = f"{weight[at]:g}, while target / propensity is {ratio[at]:g}"
            expected = (
                "these to agree: --column sample_weight=weight if the row counts as so many decisions, weight=weight "
                "if it is the importance weight, weight=- to leave it out"
            )
            raise self.bad("weight", at, found, expected)

    def bad(self, name: str, row: int, found: str, expected: str) -> BadInput:
        """Return the error for a value."""
        return self._bad(name, self._first + row, found, expected)

    def column(self, name: str) -> "pa.Array":
        """Return a column without holes."""
        column = self._columns[name]
        if column.null_count:
            raise self.bad(name, pc.index(column.is_null(), True).as_py(), "null", "a value")
        return column

    def between(self, name: str, least: float, most: float) -> Floats:
        """Return a column of finite numbers within bounds."""
        values = np.asarray(self.column(name).cast(pa.float64(), safe=False))
        if most == 1:
            # A sum of probabilities may be the least bit more.
            values = np.where((values > 1) & (values <= 1 + _BIT), 1.0, values)
        right = np.isfinite(values) & (values >= least) & (values <= most)
        if not right.all():
            row = int(np.argmin(right))
            span = "a finite number" if np.isinf([least, most]).all() else f"a finite number from {least:g} to {most:g}"
            raise self.bad(name, row, str(values[row]), span)
        return values

    def ids(self, name: str) -> "pa.Array":
        """Return a column of texts or whole numbers; floats and truths as the whole numbers that they are."""
        column = self.column(name)
        if _types.is_boolean(column.type):
            return column.cast(pa.int8())
        if not _types.is_floating(column.type):
            return column
        values = np.asarray(column.cast(pa.float64()))
        right = (values == np.floor(values)) & (np.abs(values) < 2**53)
        if not right.all():
            row = int(np.argmin(right))
            raise self.bad(name, row, str(values[row]), "a text or a whole number")
        return pa.array(values.astype(np.int64))

    def texts(self, name: str) -> "pa.Array":
        """Return a column of texts; whole numbers as they are written."""
        return self.ids(name).cast(pa.large_string())

    def times(self, of_the_log: bool = False) -> NDArray[np.int64]:
        """Return the times in ms since 1970; those without a zone are of UTC.

        Numbers that as ms would be a time before 1990 or after 2100 are refused: they are in another unit. So are
        timestamps of 1970, unless they are ``of_the_log``: nobody has converted those.
        """
        column = self.column("time")
        if _types.is_floating(column.type):
            self._refuse_not_ms(np.asarray(column.cast(pa.float64())))
            column = self.ids("time")
        if _types.is_dictionary(column.type):
            column = column.cast(pa.large_string())
        if _types.is_string(column.type) or _types.is_large_string(column.type):
            column = self._parsed_times(column)
        if not _types.is_integer(column.type):
            column = column.cast(pa.timestamp("ms", getattr(column.type, "tz", None)), safe=False)
            times = np.asarray(column.cast(pa.int64()))
            if not of_the_log:
                self._refuse_epoch(times)
            return times
        self._refuse_not_ms(np.asarray(column))
        return np.asarray(column).astype(np.int64)

    def _refuse_epoch(self, times: NDArray[np.int64]) -> None:
        """Refuse timestamps of 1970, which were made of numbers in another unit."""
        if (wrong := (times >= 0) & (times < _YEAR_MS)).any():
            row = int(np.argmax(wrong))
            found = (datetime(1970, 1, 1) + timedelta(milliseconds=int(times[row]))).isoformat()[:19]
            expected = (
                "a time after 1970: numbers become timestamps by their unit, as in pandas.to_datetime(x, unit='s')"
            )
            raise self.bad("time", row, found, expected)

    def _refuse_not_ms(self, times: "NDArray[Any]") -> None:
        if (right := (times >= _FROM_MS) & (times < _TO_MS)).all():
            return
        row = int(np.argmin(right))
        raise self.bad("time", row, f"{times[row]}, which {_looks_like(float(times[row]))}", TIMES)

    def _parsed_times(self, column: "pa.Array") -> "pa.Array":
        """Return texts as whole numbers, or as timestamps of ISO 8601 with or without a zone."""
        for kind in (pa.int64(), pa.timestamp("ns"), pa.timestamp("ns", "UTC")):
            try:
                return column.cast(kind)
            except pa.ArrowInvalid:
                continue
        for row, text in enumerate(column.to_pylist()):
            if not _is_time(text):
                raise self.bad("time", row, repr(text), "a time as 2026-11-29T12:00:00Z, or ms since 1970")
        raise self.bad(
            "time", 0, "times with and without a zone, or in several forms", "one form: all with a zone, or none"
        )

    def pmfs(self, name: str) -> Pmfs | None:
        """Return the probabilities of all actions, if given."""
        if name not in self:
            return None
        self.lengths(name)
        pmfs = Pmfs.of(self.column(name))
        if not (honest := pmfs.honest()).all():
            row = int(np.argmin(honest))
            found = f"probabilities with the sum {pmfs.sums(pmfs.values)[row]:.9g}"
            raise self.bad(name, row, found, "numbers from 0 to 1 with the sum 1")
        return pmfs

    def lengths(self, name: str) -> Numbers:
        """Return how long the lists of a column are; none is empty."""
        counts = np.asarray(pc.list_value_length(self.column(name))).astype(np.int64)
        if len(counts) and counts.min() < 1:
            raise self.bad(name, int(np.argmin(counts)), "no action", "a value per action")
        return counts

    def alike(self, name: str, pmfs: Pmfs, counts: Numbers) -> None:
        """Refuse lists of another length than those of ``pmfs``."""
        if not (right := counts == pmfs.counts).all():
            row = int(np.argmin(right))
            raise self.bad(name, row, f"{counts[row]} values", f"{pmfs.counts[row]}, one an action")

    def chosen(self, pmfs: Pmfs | None) -> Numbers | None:
        """Return the index of the logged action in the lists; None if unknown."""
        if pmfs is None or "action" not in self:
            return None
        if self.named():
            return self._chosen_by_name(pmfs)
        column = self.ids("action")
        if not _types.is_integer(column.type):
            return None
        chosen = np.asarray(column).astype(np.int64)
        if not (right := (chosen >= 0) & (chosen < pmfs.counts)).all():
            row = int(np.argmin(right))
            raise self.bad("action", row, str(chosen[row]), f"an index from 0 to {pmfs.counts[row] - 1}")
        return chosen

    def named(self) -> bool:
        """Return whether ``action`` is one of ``actions``, and not an index: both are texts, or both are numbers.

        Raises
        ------
        BadInput
            It is a number, and ``actions`` are texts with numbers: it could be either.
        """
        if not {"action", "actions"} <= {*self._columns}:
            return False
        if not _types.is_integer(self.ids("action").type):
            return True
        names = plain(flat(self.column("actions"))[0])
        if _types.is_integer(names.type):
            return True
        if len(names) and pc.all(pc.utf8_is_digit(names.cast(pa.large_string()))).as_py():
            found = f"a number, {self.ids('action')[0]}, and actions that are texts with numbers"
            expected = "one type in both if it is one of them; if it is their index, --column actions=-"
            raise self.bad("action", 0, found, expected)
        return False

    def _chosen_by_name(self, pmfs: Pmfs) -> Numbers:
        names, offsets = flat(self.column("actions"))
        self.alike("actions", pmfs, np.diff(offsets))
        names = plain(names).cast(pa.large_string()).fill_null("").dictionary_encode()
        sought = pc.index_in(self.texts("action"), value_set=names.dictionary).fill_null(-1)
        hits = np.asarray(names.indices) == pmfs.each(np.asarray(sought))
        once = pmfs.sums(hits.astype(np.int64)) == 1
        if not once.all():
            row = int(np.argmin(once))
            expected = "exactly one of the actions"
            if _types.is_integer(self.ids("action").type):
                expected += "; if it is their index, --column actions=-"
            raise self.bad("action", row, repr(self.texts("action")[row].as_py()), expected)
        return np.asarray(np.flatnonzero(hits) - pmfs.starts)

    def propensity(self, pmfs: Pmfs | None, chosen: Numbers | None) -> Floats:
        """Return the logged probability of the logged action."""
        from_pmf = None if pmfs is None or chosen is None else pmfs.at(chosen)
        if "propensity" in self:
            logged = self.between("propensity", SMALLEST_PROPENSITY, 1)
            if from_pmf is not None:
                right = np.abs(from_pmf - logged) <= PMF_TOLERANCE * logged
                if not right.all():
                    row = int(np.argmin(right))
                    raise self.bad("propensity", row, str(logged[row]), f"{from_pmf[row]}, as the pmf says")
            return logged
        if from_pmf is None:
            raise WrongConfiguration(
                "propensity: found none, expected a column; or an action that has a place in pmf: its index from 0, or "
                "its name and a column actions"
            )
        if not (right := from_pmf >= SMALLEST_PROPENSITY).all():
            row = int(np.argmin(right))
            raise self.bad("pmf", row, f"{from_pmf[row]} for the logged action", "at least 2^-66")
        return from_pmf

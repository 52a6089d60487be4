"""Columns by which rows belong together although the log names no unit: slates of other tools, sessions, users."""

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from archive.hashes import event_hashes
from replay.evaluation.logs.column_rows import plain, plain_type
from replay.evaluation.rows import Hashes

POSITION = "position"
"""A column of this name that repeatedly counts 0, 1, 2, ... (or from 1) indicates slates without an id."""
SLATES = ("slate_id", "slate", "impression_id", "ranking_id", "list_id", "request_id", "query_id", "qid", "search_id")
USERS = ("session_id", "user_id", "userid", "user", "visitor_id", "customer_id", "person_id", "household_id")
TIMES = ("timestamp", "time_ms", "ts", "datetime", "date", "event_time", "created_at", "decided_at", "shown_at")
FEWEST = 30
"""Fewer rows that count their positions do so by chance."""


def unit_like(there: Iterable[str], taken: Iterable[str]) -> str | None:
    """Return the column that most probably names units; None without one.

    Parameters
    ----------
    there
        The names of all columns.
    taken
        Those that are something else.

    Examples
    --------
    >>> unit_like(["reward", "slate_id", "position"], ["reward"]), unit_like(["reward", "position"], ["reward"])
    ('slate_id', 'position')
    """
    free = {name.lower(): name for name in there if name not in set(taken)}
    return next((free[name] for name in (*USERS, *SLATES, POSITION) if name in free), None)


def time_like(there: Sequence[str], named: str) -> str | None:
    """Return the column that seems to be the time; None if one is, is ``named``, or is said not to be there.

    >>> time_like(["reward", "Timestamp"], ""), time_like(["day", "ts"], "day"), time_like(["time", "ts"], "")
    ('Timestamp', None, None)
    """
    if named or "time" in there:
        return None
    free = {name.lower(): name for name in there if there.count(name) == 1}
    return next((free[name] for name in TIMES if name in free), None)


def groups_in(batch: "pa.RecordBatch", name: str, first: int) -> Hashes | None:
    """Return a number for each row that rows of one unit (or slate) share; None if unknown.

    Parameters
    ----------
    batch, name
        The rows, and the column of :func:`unit_like`.
    first
        The place in the log of the first row.
    """
    column = plain(batch.column(name))
    places = first + np.arange(len(column), dtype=np.uint64)
    kind = plain_type(column.type)
    if name.lower() == POSITION:
        try:
            numbers = pc.cast(column.cast(pa.large_string()), pa.int64())
        except pa.ArrowInvalid:
            return None
        return None if numbers.null_count else _runs(np.asarray(numbers), places)
    if not (pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return None
    texts = column.cast(pa.large_string())
    hashes = np.asarray(event_hashes(texts.fill_null("")))
    return np.where(np.asarray(texts.is_null()), places, hashes) if texts.null_count else hashes


def _runs(positions: NDArray[np.int64], places: Hashes) -> Hashes:
    """Return the place where the row's count of positions began; the row's own where positions are not counted."""
    if len(positions) < FEWEST:
        return places
    starts = np.ones(len(positions), dtype=np.bool_)
    starts[1:] = positions[1:] != positions[:-1] + 1
    least = int(positions.min())
    if least not in (0, 1) or (positions[1:][starts[1:]] != least).any():
        return places
    begun: Hashes = places[np.flatnonzero(starts)[np.cumsum(starts) - 1]]
    return begun


def says(name: str, rows_each: float) -> str:
    """Return what is found, and what to do."""
    named = f"--column unit={name}, in Python columns={{'unit': '{name}'}}"
    if name.lower() == POSITION:
        what, named = (
            "slate, as the column position counts them,",
            "--column unit=..., of a column that names the slate",
        )
    else:
        what = name
    slates = "; a propensity must be that of the action at its position" if name.lower() not in USERS else ""
    return (
        f"the rows of one {what} ({rows_each:.2g} each) are taken as independent decisions: name the unit with "
        f"{named}, or unit=- if they are{slates}"
    )

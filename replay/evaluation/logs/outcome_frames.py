"""Outcomes of an archive in memory, as ``bowerbird.read`` returns them: made a table like any other."""

from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc

from policies.policy import SMALLEST_PROPENSITY
from records.errors import WrongConfiguration, shorten
from records.fields import EXTERNAL
from replay.evaluation.logs.chunk import no_rows
from replay.evaluation.logs.column_rows import LOG_TIMES
from replay.evaluation.logs.frames import as_table

_OUTCOME = {
    *("event_id", "placement", "policy", "policy_version", "chosen", "propensity"),
    *("reward", "learn", "places", "why", "decided_at"),
}
_ARCHIVED = {"log_time", "partition", "offset", "batch"}
_FIELDS = {"action": "chosen", "event": "event_id", "time": "decided_at", "version": "policy_version"}
"""Which column of an outcome is which field of a table."""


def table_of_outcomes(data: Any, placement: str | None, external: bool) -> Any:
    """Return the outcomes that an archive's path would give, with the columns of a table; other data as it is.

    What :class:`replay.evaluation.logs.outcomes.OutcomeLog` leaves out is left out: what is unreadable, corrections,
    rows that are not to be learned, lists, refused propensities, decisions that are still open, and the decisions of
    another system, or, with ``external``, all but those. :func:`bowerbird.read` has left out repeats.

    Raises
    ------
    WrongConfiguration
        There are outcomes of several placements and none was named, or none of the named one; or rows of an archive
        that are no outcomes.
    BadInput
        All decisions are still open.
    """
    names = set(_names(data))
    if not names >= _OUTCOME:
        if names >= _ARCHIVED:
            raise WrongConfiguration(
                "log: found rows of an archive without the columns of an outcome, expected outcomes: all columns that "
                "bowerbird.read(PATH) returns, or the path itself"
            )
        if placement is not None or external:
            given = "placement" if placement is not None else "external"
            raise WrongConfiguration(f"{given}: expected none with data in memory but outcomes of bowerbird.read")
        return data
    frame = cast(Any, as_table(data))
    # Polars gives texts by its own method that every function of Arrow takes, and views by the protocol.
    table = frame.to_arrow() if hasattr(frame, "to_arrow") else pa.table(frame)
    if "problem" in names:
        table = table.filter(pc.is_null(table.column("problem")))
    if "revision" in names:
        table = table.filter(pc.equal(pc.fill_null(table.column("revision"), 0), 0))
    is_external = pc.equal(table.column("policy_version"), EXTERNAL)
    kept = pc.and_(pc.fill_null(table.column("learn"), False), is_external if external else pc.invert(is_external))
    kept = pc.and_(kept, pc.equal(pc.fill_null(table.column("places"), 1), 1))
    kept = pc.and_(kept, pc.fill_null(pc.greater_equal(table.column("propensity"), SMALLEST_PROPENSITY), True))
    own = pc.equal(table.column("placement"), _whose(table.filter(kept), placement))
    # The windows of all the placement's outcomes tell how far the log is complete, whatever is learned of them.
    table, kept = table.filter(own), kept.filter(own)
    windows = table.filter(pc.equal(table.column("why"), "window")).column("decided_at")
    closed = pc.fill_null(pc.less_equal(table.column("decided_at"), pc.max(windows)), False)
    used = table.filter(pc.and_(kept, closed))
    if not len(used) and (still_open := pc.sum(kept).as_py()):
        raise no_rows({"open": still_open})
    return _as_fields(used)


def _names(data: Any) -> list[str]:
    """Return the names of the columns of a table or a frame; none of anything else."""
    if type(data).__name__ == "LazyFrame":
        return list(data.collect_schema().names())
    names = getattr(data, "column_names", getattr(data, "columns", ()))
    return [name for name in names if isinstance(name, str)]


def _whose(table: "pa.Table", placement: str | None) -> str:
    there = sorted(str(name) for name in pc.unique(table.column("placement")).to_pylist())
    if placement is None and len(there) > 1:
        raise WrongConfiguration(f"placement: found none, expected one of those in the log: {', '.join(there)}")
    if placement is not None and there and placement not in there:
        raise WrongConfiguration(
            f"placement: found no outcome of {shorten(placement)}, expected one of those in the log: {', '.join(there)}"
        )
    return placement or (there[0] if there else "")


def _as_fields(table: "pa.Table") -> "pa.Table":
    """Return outcomes with a column for each field that a table has; columns that are there already stay."""
    if "time" not in table.column_names:
        table = table.replace_schema_metadata({LOG_TIMES: b""})
    for field, column in _FIELDS.items():
        if field not in table.column_names and column in table.column_names:
            table = table.append_column(field, table.column(column))
    if "user_id" in table.column_names and "unit" not in table.column_names:
        table = table.append_column("unit", pc.coalesce(table.column("user_id"), table.column("event_id")))
    if "actions" in table.column_names:
        index = table.column_names.index("actions")
        ids = [_ids(chunk) for chunk in table.column("actions").chunks]
        table = table.set_column(index, "actions", pa.chunked_array(ids, pa.large_list(pa.large_string())))
    return table


def _ids(actions: "pa.Array") -> "pa.Array":
    """Return lists of ids for lists of actions."""
    actions = actions.cast(pa.large_list(actions.type.value_type))
    values = actions.flatten()
    ids = values.field("id").cast(pa.large_string()) if pa.types.is_struct(values.type) else values
    lengths = pc.fill_null(pc.list_value_length(actions), 0).to_numpy(zero_copy_only=False)
    return pa.LargeListArray.from_arrays(pa.array([0, *lengths.cumsum().tolist()], pa.int64()), ids)

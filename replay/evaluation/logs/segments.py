"""What outcomes can be cut into: a column of theirs, the day, or a feature of the context.

==========================  ====================================================================
``policy_version``          the version that decided
``placement``               the placement that asked
``policy``                  the policy that decided
``why``                     why its window closed: ``window`` or ``early``
``chosen``                  the action
``day``                     of the decision, UTC
``context.NAME``            a feature outside of any namespace, as ``context.country``
``context.SPACE.NAME``      a feature of a namespace, as ``context.user.country``
==========================  ====================================================================
"""

from typing import Any

import msgspec
import pyarrow as pa

from records.errors import WrongConfiguration, shorten

OF_COLUMNS = ("policy_version", "placement", "policy", "why", "chosen")
_MOST_CHARACTERS = 80

_context = msgspec.json.Decoder(dict[str, Any])


def segment_column(name: str) -> str:
    """Return the column that a segment is made of.

    Raises
    ------
    WrongConfiguration
        There is no such segment.

    Examples
    --------
    >>> segment_column("day"), segment_column("context.user.country")
    ('decided_at', 'context')
    """
    if name in OF_COLUMNS:
        return name
    if name == "day":
        return "decided_at"
    if name.startswith("context.") and name.count(".") < 3:
        return "context"
    known = ", ".join((*OF_COLUMNS, "day", "context.SPACE.NAME"))
    raise WrongConfiguration(f"segment: found {shorten(name)}, expected one of {known}")


def segment(name: str, rows: "pa.RecordBatch") -> "pa.Array":
    """Return the segment of each row as text, null where it has none."""
    column = rows.column(segment_column(name))
    if name == "day":
        import pyarrow.compute as pc

        return pc.strftime(column, "%Y-%m-%d")
    if not name.startswith("context."):
        return column
    path = name.split(".")[1:]
    return pa.array([_feature(context, path) for context in column.to_pylist()], pa.string())


def _feature(context: str | None, path: list[str]) -> str | None:
    try:
        found: Any = _context.decode(context or "{}")
    except (msgspec.DecodeError, RecursionError):
        return None
    for step in path:
        found = found.get(step) if isinstance(found, dict) else None
    if found is None or isinstance(found, dict | list):
        return None
    return (found if isinstance(found, str) else msgspec.json.encode(found).decode())[:_MOST_CHARACTERS]

"""Tables that lie in memory: frames of any library, mappings of names to arrays, lists of rows."""

from collections.abc import Mapping
from typing import Any, Protocol, cast

import numpy as np
import pyarrow as pa

from records.errors import WrongConfiguration, shorten


class ArrowStream(Protocol):
    """What has columns: a table of pyarrow, a reader of batches, a frame of pandas or polars."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Give a stream of record batches (the Arrow PyCapsule interface)."""


def as_table(data: Any) -> ArrowStream:
    """Return what a caller has in memory as something with columns.

    Raises
    ------
    WrongConfiguration
        It has none.
    """
    if isinstance(data, Mapping):
        columns = {str(name): _as_column(str(name), values) for name, values in data.items()}
        lengths = {name: len(column) for name, column in columns.items()}
        if len({*lengths.values()}) > 1:
            found = ", ".join(f"{name} of {length}" for name, length in lengths.items())
            raise WrongConfiguration(f"log: found no columns of one length: {shorten(found)}, expected one")
        return cast(ArrowStream, pa.table(columns))
    if type(data).__name__ == "LazyFrame" and hasattr(data, "collect"):
        data = data.collect()
    if isinstance(data, list | tuple) and data and all(isinstance(row, Mapping) for row in data):
        names = dict.fromkeys(name for row in data for name in row)
        return as_table({name: [row.get(name) for row in data] for name in names})
    if not hasattr(data, "__arrow_c_stream__"):
        expected = "a table, a frame, a mapping of names to arrays, a list of rows as mappings, or the path of a log"
        raise WrongConfiguration(f"log: found {type(data).__name__}, expected {expected}")
    return cast(ArrowStream, data)


def _as_column(name: str, values: Any) -> "pa.Array":
    if isinstance(values, np.ndarray) and values.ndim == 2 and values.shape[1]:
        return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
    try:
        # One value is no column.
        return values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        found = f"an array of shape {values.shape}" if isinstance(values, np.ndarray) else type(values).__name__
        expected = "an array of values of one kind"
        raise WrongConfiguration(f"log: found no columns: {shorten(name)} is {found}, expected {expected}") from None

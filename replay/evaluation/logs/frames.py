"""Tables that lie in memory: frames of any library, mappings of names to arrays, lists of rows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, cast

import numpy as np
import pyarrow as pa

from records.errors import WrongConfiguration, shorten


class ArrowStream(Protocol):
    """What has columns: a table of pyarrow, a reader of batches, a frame of pandas or polars."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Give a stream of record batches (the Arrow PyCapsule interface)."""


Read = Callable[[list[str]], Sequence[str]]
"""Returns the names of the columns that are read, by the names of all; those that it returns occur once."""


def as_table(data: Any, read: Read = list) -> ArrowStream:
    """Return what a caller has in memory as something with columns.

    Parameters
    ----------
    data
        A table, a frame, a mapping of names to arrays, or a list of rows.
    read
        Other columns need not be there: they may hold what no column of Arrow can.

    Raises
    ------
    WrongConfiguration
        It has no columns, or one that is read holds what cannot be read.
    """
    if isinstance(data, Mapping):
        return _table(data, read)
    if type(data).__name__ == "LazyFrame" and hasattr(data, "collect"):
        data = data.collect()
    if isinstance(data, list | tuple) and data and all(isinstance(row, Mapping) for row in data):
        names = dict.fromkeys(name for row in data for name in row)
        return _table({name: [row.get(name) for row in data] for name in names}, read)
    if read is not list and ((hasattr(data, "iloc") and hasattr(data, "columns")) or hasattr(data, "get_columns")):
        return _of_frame(data, read)
    if not hasattr(data, "__arrow_c_stream__"):
        raise _no_columns(data)
    return cast(ArrowStream, data)


def stream_of(data: Any, read: Read) -> "tuple[pa.Schema, Iterator[pa.RecordBatch]]":
    """Return the columns that are read of what a caller has in memory; errors are those of :func:`as_table`."""
    data = as_table(data, read)
    try:
        stream = pa.RecordBatchReader.from_stream(data)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        raise _no_columns(data) from None
    names = stream.schema.names
    places = [names.index(name) for name in read(names)]
    return pa.schema([stream.schema.field(place) for place in places]), (batch.select(places) for batch in stream)


def _no_columns(data: Any) -> WrongConfiguration:
    expected = "a table, a frame, a mapping of names to arrays, a list of rows as mappings, or the path of a log"
    return WrongConfiguration(f"log: found {type(data).__name__}, expected {expected}")


def _of_frame(data: Any, read: Read) -> ArrowStream:
    """Return the columns of a frame of pandas or polars, each read by itself."""
    names = [str(name) for name in data.columns]
    found = {}
    for name in read(names):
        if hasattr(data, "iloc"):
            found[name] = _as_column(name, data.iloc[:, names.index(name)])
        else:
            found[name] = _as_column(name, data.get_column(name))
    return cast(ArrowStream, pa.table(found))


def _table(data: Mapping[Any, Any], read: Read) -> ArrowStream:
    named = {str(name): values for name, values in data.items()}
    columns = {name: _as_column(name, named[name]) for name in read([*named])}
    lengths = {name: len(column) for name, column in columns.items()}
    if len({*lengths.values()}) > 1:
        found = ", ".join(f"{name} of {length}" for name, length in lengths.items())
        raise WrongConfiguration(f"log: found no columns of one length: {shorten(found)}, expected one")
    return cast(ArrowStream, pa.table(columns))


def _as_column(name: str, values: Any) -> "pa.Array | pa.ChunkedArray":
    try:
        if isinstance(values, pa.Array | pa.ChunkedArray):
            return values
        if hasattr(values, "to_arrow"):
            return values.to_arrow()
        if isinstance(values, np.ndarray):
            values = _native(values)
            if values.ndim == 2 and values.shape[1]:
                return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
        # One value is no column.
        return pa.array(values, from_pandas=hasattr(values, "iloc") or None)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        kind = f"{type(values).__name__} of {values.dtype}" if hasattr(values, "dtype") else type(values).__name__
        found = f"an array of shape {values.shape}" if isinstance(values, np.ndarray) else kind
        expected = "an array of values of one kind"
        raise WrongConfiguration(f"log: found no columns: {shorten(name)} is {found}, expected {expected}") from None


def _native(values: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """Return numbers in the form of this machine, with at most 64 bits."""
    if values.dtype == np.longdouble:
        return values.astype(np.float64)
    return values if values.dtype.isnative else values.astype(values.dtype.newbyteorder("="))
